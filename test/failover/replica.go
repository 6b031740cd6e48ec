package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// endLimit is how long a replica may take to end after SIGTERM.
const endLimit = 45 * time.Second

// replica is a server in a process of its own.
type replica struct {
	ordinal int
	name    string
	url     string
	command []string
	env     []string
	log     string // path of the file

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// start starts the process. It must not run already.
func (r *replica) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // childAttributes counts on the thread
		r.live(started)
	}()
	return <-started
}

// live is one process, from its start to its end.
func (r *replica) live(started chan<- error) {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		started <- err
		return
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), r.command[0], r.command[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, log, log
	cmd.SysProcAttr = childAttributes(syscall.SIGKILL)
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	ended := make(chan struct{})
	r.mu.Lock()
	r.process, r.ended = cmd.Process, ended
	r.mu.Unlock()
	started <- nil
	_ = cmd.Wait() // how it ended is in the log
	close(ended)
}

// do does something to the process.
func (r *replica) do(what func(*os.Process) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return fmt.Errorf("%s has not been started", r.name)
	}
	if err := what(r.process); err != nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return nil
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
func kill(p *os.Process) error      { return p.Kill() }

// awaitEnd waits until the process has ended.
func (r *replica) awaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", r.name, ctx.Err())
	}
}

// destroy ends the process, frozen or not, and returns when it has ended.
func (r *replica) destroy() {
	if err := r.do(kill); err == nil || errors.Is(err, os.ErrProcessDone) {
		_ = r.awaitEnd(context.Background()) // which kill -9 sees to
	}
}
