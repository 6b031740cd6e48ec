package main

import "syscall"

// childAttributes has Ctrl-C reach the demo alone, which then stops the replicas, and has the kernel end the
// replicas when the demo ends in whatever way.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
