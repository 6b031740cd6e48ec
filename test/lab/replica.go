package lab

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

// Replica is a server in a process of its own. Its methods may be called from any goroutine.
type Replica struct {
	Ordinal   int
	Name      string
	URL       string // of the public API
	Data, Log string // paths of the folder and of the file

	command []string
	env     []string

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{} // closed when the process has ended
}

// NewReplica is a server of another kind, that runs by a command of its own.
func NewReplica(name, log string, command ...string) *Replica {
	return &Replica{Name: name, Log: log, command: command, env: os.Environ()}
}

// Start starts the process. It must not run already.
func (r *Replica) Start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // childAttributes counts on the thread
		r.live(started)
	}()
	return <-started
}

// live is one process, from its start to its end.
func (r *Replica) live(started chan<- error) {
	log, err := os.OpenFile(r.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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

// Do does something to the process, such as Kill.
func (r *Replica) Do(what func(*os.Process) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return fmt.Errorf("%s has not been started", r.Name)
	}
	if err := what(r.process); err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	return nil
}

// Terminate sends SIGTERM.
func Terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// Kill sends SIGKILL.
func Kill(p *os.Process) error { return p.Kill() }

// AwaitEnd waits until the process has ended, for 45 s at most.
func (r *Replica) AwaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", r.Name, ctx.Err())
	}
}

// Destroy ends the process, frozen or not, and returns when it has ended.
func (r *Replica) Destroy() {
	if err := r.Do(Kill); err == nil || errors.Is(err, os.ErrProcessDone) {
		_ = r.AwaitEnd(context.Background()) // which kill -9 sees to
	}
}

// Running tells whether the process has been started and has not ended.
func (r *Replica) Running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}
