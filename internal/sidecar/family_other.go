//go:build !unix

package sidecar

import (
	"context"
	"os/exec"
	"sync"
	"syscall"
)

// family is the program that runs: there are no signals here that reach what comes of it, and none that ask it to end.
type family struct {
	mu      sync.Mutex
	program *exec.Cmd
}

func attributes() *syscall.SysProcAttr { return nil }

func (f *family) adopt(context.Context) error { return nil }

func (f *family) start(cmd *exec.Cmd) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.program = cmd
	return cmd.Start()
}

func (f *family) ended() {}

func (f *family) signal(syscall.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.program.Process.Kill() // who has ended needs none
}

func (f *family) left() bool { return false }
