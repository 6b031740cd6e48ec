//go:build unix && !linux

package sidecar

import (
	"context"
	"os/exec"
	"sync"
	"syscall"
)

// family is the program that runs and what has stayed in its process group: what has left it is not found here.
type family struct {
	mu    sync.Mutex
	group int
}

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (f *family) adopt(context.Context) error { return nil }

func (f *family) start(cmd *exec.Cmd) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	f.group = cmd.Process.Pid
	return nil
}

func (f *family) ended() {}

func (f *family) signal(sig syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = syscall.Kill(-f.group, sig) // who has ended needs none
}

func (f *family) left() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return syscall.Kill(-f.group, 0) == nil
}
