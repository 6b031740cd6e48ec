package lab

import (
	"os"
	"syscall"
)

// CanFreeze tells whether Freeze and Thaw do anything here.
const CanFreeze = true

// childAttributes has Ctrl-C reach this program alone, and has the kernel send the child the signal when the thread
// that started it ends.
func childAttributes(s syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: s}
}

// Freeze sends SIGSTOP.
func Freeze(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// Thaw sends SIGCONT.
func Thaw(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
