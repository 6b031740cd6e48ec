package main

import (
	"os"
	"syscall"
)

const canFreeze = true

// childAttributes has Ctrl-C reach this program alone, and has the kernel send the child the signal when the thread
// that started it ends.
func childAttributes(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: s}
}

func freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }
func thaw(p *os.Process) error   { return p.Signal(syscall.SIGCONT) }
