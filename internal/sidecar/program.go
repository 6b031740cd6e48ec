package sidecar

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// lookEvery is how often it is looked whether anything is left of a command that has ended.
const lookEvery = 20 * time.Millisecond

// Program is the Command that is a program: it and all that comes of it are ended together. There can be one in a process.
type Program struct {
	path   string
	args   []string
	env    []string
	family *family
}

// NewProgram finds the program, on the PATH if need be, and makes this process the one that its orphans come to. What it
// runs has name in $LEASEHOLD_NAME and its term's epoch in $LEASEHOLD_EPOCH. Orphans are waited for until ctx is done.
func NewProgram(ctx context.Context, path string, args []string, name string) (*Program, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, err
	}
	p := &Program{path: found, args: args, env: append(os.Environ(), "LEASEHOLD_NAME="+name), family: &family{}}
	return p, p.family.adopt(ctx)
}

// Start implements Command.
func (p *Program) Start(epoch uint64) (Running, error) {
	// No context: it would kill the program alone, and not what has come of it.
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // see above
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(p.env[:len(p.env):len(p.env)], "LEASEHOLD_EPOCH="+strconv.FormatUint(epoch, 10))
	cmd.SysProcAttr = attributes()
	r := &programRun{family: p.family, exited: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error, 1)
	go r.run(cmd, started)
	return r, <-started
}

type programRun struct {
	family       *family
	exited, done chan struct{}
	state        string // once exited is closed

	mu   sync.Mutex
	kill bool
}

// run keeps its thread to itself, and to the end: Linux kills the program when the thread ends that has started it, which
// is to be when this process does, and not before.
func (r *programRun) run(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	if err := r.family.start(cmd); err != nil {
		started <- err
		return
	}
	started <- nil
	_ = cmd.Wait() // the state says it
	r.state = cmd.ProcessState.String()
	r.family.ended()
	close(r.exited)
	for r.family.left() {
		if r.killed() {
			r.family.signal(syscall.SIGKILL) // it may have started something since
		}
		time.Sleep(lookEvery)
	}
	close(r.done)
}

func (r *programRun) killed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kill
}

// Exited implements Running.
func (r *programRun) Exited() <-chan struct{} { return r.exited }

// Done implements Running.
func (r *programRun) Done() <-chan struct{} { return r.done }

// State implements Running.
func (r *programRun) State() string { return r.state }

// Terminate implements Running.
func (r *programRun) Terminate() { r.family.signal(syscall.SIGTERM) }

// Kill implements Running.
func (r *programRun) Kill() {
	r.mu.Lock()
	r.kill = true
	r.mu.Unlock()
	r.family.signal(syscall.SIGKILL)
}
