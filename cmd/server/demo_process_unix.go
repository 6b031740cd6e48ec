//go:build unix && !linux

package main

import "syscall"

// childAttributes has Ctrl-C reach the demo alone, which then stops the replicas.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
