package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	restartAfter = 3 * time.Second
	// stopLimit is from SIGTERM to kill. All three stop at once, so a leader may have no majority left to hand
	// over to, and takes some seconds to give that up.
	stopLimit   = 10 * time.Second
	comeUpLimit = time.Minute
	pollEvery   = 50 * time.Millisecond
	pollTimeout = time.Second
)

// supervised is a replica in a process of its own. It is started again when it ends, as a kubelet would.
type supervised struct {
	name, url  string
	log        string // path of the file
	executable string
	args       []string
	client     *http.Client
	screen     *screen

	mu      sync.Mutex
	process *os.Process // nil while none runs
	ready   bool        // this process has caught up
	ended   string      // why the last one ended; "" while none has
}

func newSupervised(p *place, ordinal int, executable string, client *http.Client, s *screen) *supervised {
	name := replicaName(ordinal)
	var peers []string
	for i := range demoReplicas {
		peers = append(peers, fmt.Sprintf("%s=127.0.0.1:%d:%d", replicaName(i), p.internal(i), p.peer(i)))
	}
	return &supervised{
		name: name, url: "http://" + loopback(p.public[ordinal]), log: filepath.Join(p.dir, name+".log"),
		executable: executable, client: client, screen: s,
		args: []string{
			"serve", "--name", name, "--data-dir", filepath.Join(p.dir, name), "--peers", strings.Join(peers, ","),
			"--listen", loopback(p.public[ordinal]), "--listen-internal", loopback(p.internal(ordinal)),
			"--listen-peer", loopback(p.peer(ordinal)), "--listen-client", "",
			"--leader-elect-resource-lock", lockStore, "--leader-elect-lease-duration", "4s",
			"--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "500ms", "--log-format", "console",
		},
	}
}

func replicaName(ordinal int) string { return fmt.Sprintf("leasehold-%d", ordinal) }

// run keeps the replica running until ctx is done, and stops it then.
func (r *supervised) run(ctx context.Context) {
	// On Linux a process ends with the thread that started it, and this goroutine is to be that thread's only one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for again := false; ; again = true {
		cause := r.live(ctx, again)
		if ctx.Err() != nil {
			return
		}
		r.screen.ended(r.name, cause)
		if !pause(ctx, restartAfter) {
			return
		}
	}
}

// live is one process, from its start to its end. It returns how that came.
func (r *supervised) live(ctx context.Context, again bool) (cause string) {
	defer func() { r.over(cause) }()
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, r.executable, r.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	r.begun(cmd.Process)
	if again {
		r.screen.restarted(r.name, cmd.Process.Pid)
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	running, end := context.WithCancel(ctx)
	defer end()
	watching.Go(func() { r.watchReady(running, again) })
	_ = cmd.Wait() // the state says more
	return cmd.ProcessState.String()
}

func (r *supervised) begun(p *os.Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = p
}

func (r *supervised) over(cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process, r.ready, r.ended = nil, false, cause
}

// watchReady notes when the process has caught up, or returns when ctx is done.
func (r *supervised) watchReady(ctx context.Context, again bool) {
	for !succeeds(ctx, r.client, r.url+"/readyz") {
		if !pause(ctx, pollEvery) {
			return
		}
	}
	r.mu.Lock()
	r.ready = r.process != nil
	r.mu.Unlock()
	if again {
		r.screen.caughtUp(r.name)
	}
}

// kill is kill -9. It returns the PID that it killed, 0 if there was none.
func (r *supervised) kill() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	r.ready = false
	_ = r.process.Kill() // it has ended already, then
	return r.process.Pid
}

// replicaStatus is a replica as the screen shows it.
type replicaStatus struct {
	name, url string
	pid       int // 0 while no process runs
	ready     bool
	ended     string
	epoch     uint64 // under which it leads; 0 if it does not
}

func (r *supervised) status() replicaStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := replicaStatus{name: r.name, url: r.url, ready: r.ready, ended: r.ended}
	if r.process != nil {
		st.pid = r.process.Pid
	}
	return st
}

// late is the error of a replica that is not ready in time.
func (r *supervised) late() error {
	return fmt.Errorf("%s did not come up within %s; %s", r.name, comeUpLimit, r.lastWords())
}

// lastWords quotes the end of the log.
func (r *supervised) lastWords() string {
	const most = 5
	text, err := os.ReadFile(r.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if err != nil || lines[0] == "" {
		return fmt.Sprintf("its log, %s, is empty", r.log)
	}
	return fmt.Sprintf("its log, %s, ends with:\n  %s", r.log, strings.Join(lines[max(0, len(lines)-most):], "\n  "))
}

// succeeds tells whether a GET is answered with 200.
func succeeds(ctx context.Context, client *http.Client, url string) bool {
	resp, err := get(ctx, client, url)
	return err == nil && resp.Status == http.StatusOK
}
