package election

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// other is another client that takes part in the election.
type other struct {
	name    string
	leading atomic.Bool
	kill    func() // ends it from one moment to the next
}

func (o *other) leads() error {
	if !o.leading.Load() {
		return fmt.Errorf("%s does not lead", o.name)
	}
	return nil
}

func (o *other) idle() error {
	if o.leading.Load() {
		return fmt.Errorf("%s leads", o.name)
	}
	return nil
}

// TestBesidePython holds elections with the ConfigMapLock of Python's kubernetes package.
func TestBesidePython(t *testing.T) {
	t.Parallel()
	besideOthers(t, objectPlace(ConfigMaps()), startPython)
}

// TestBesideClientGo holds elections with client-go's elector as everybody uses it.
func TestBesideClientGo(t *testing.T) {
	t.Parallel()
	besideOthers(t, leasePlace, startClientGo)
}

func besideOthers(t *testing.T, open func(*testing.T, *apiServer) *place, start func(p *place, name string) *other) {
	t.Helper()
	if testing.Short() {
		t.Skip("elections beside other clients take a minute")
	}
	for _, server := range []string{"here", "real"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			inTurns(open(t, anAPIServer(t, server)), start)
		})
	}
}

// turn is longer than anybody's lease: all have the same.
const turn = 6 * time.Second

// inTurns has one of us and one of them lead, one after the other, because the one before is killed, or releases the lock.
// There are never two.
func inTurns(p *place, start func(p *place, name string) *other) {
	t := p.t
	them := start(p, "them-1")
	within(t, time.Minute, them.leads)
	us := mortal(t, p.lock("pod-0", "boot-a"), "boot-a")
	waits(t, us, them, them.leads, us.idle)

	them.kill()
	takesOver(t, us.leads, us, them)
	them = start(p, "them-2")
	waits(t, us, them, us.leads, them.idle)

	us.kill()
	takesOver(t, them.leads, us, them)
	us = mortal(t, p.lock("pod-0", "boot-b"), "boot-b")
	waits(t, us, them, them.leads, us.idle)

	them.kill()
	takesOver(t, us.leads, us, them)
	them = start(p, "them-3")
	waits(t, us, them, us.leads, them.idle)
	us.stop() // which releases the lock
	takesOver(t, them.leads, us, them)
	them.kill()
}

// waits has both run for longer than a lease: nothing may change.
func waits(t *testing.T, us *mortalCandidate, them *other, is ...func() error) {
	t.Helper()
	always(t, turn, func() error {
		for _, f := range is {
			if err := f(); err != nil {
				return err
			}
		}
		return notBoth(us, them)
	})
}

// takesOver waits for somebody to lead, and for there never to be two meanwhile.
func takesOver(t *testing.T, leads func() error, us *mortalCandidate, them *other) {
	t.Helper()
	within(t, time.Minute, func() error {
		if err := notBoth(us, them); err != nil {
			t.Fatal(err)
		}
		return leads()
	})
}

func notBoth(us *mortalCandidate, them *other) error {
	if us.leads() == nil && them.leads() == nil {
		return fmt.Errorf("both %s and %s lead", us.pod, them.name)
	}
	return nil
}

// mortalLock is a lock whose process can die: its requests never arrive any more.
type mortalLock struct {
	resourcelock.Interface
	dead atomic.Bool
}

var errDead = errors.New("its process is dead")

func (l *mortalLock) call(ctx context.Context, do func() error) error {
	if l.dead.Load() {
		<-ctx.Done()
		return errDead
	}
	return do()
}

func (l *mortalLock) Get(ctx context.Context) (record *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	err = l.call(ctx, func() error {
		record, raw, err = l.Interface.Get(ctx)
		return err
	})
	return record, raw, err
}

func (l *mortalLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.call(ctx, func() error { return l.Interface.Create(ctx, record) })
}

func (l *mortalLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.call(ctx, func() error { return l.Interface.Update(ctx, record) })
}

// ourLock is one of ours that can die.
type ourLock struct {
	Lock
	mortal *mortalLock
}

func (l ourLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return l.mortal.Get(ctx)
}

func (l ourLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.mortal.Create(ctx, record)
}

func (l ourLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.mortal.Update(ctx, record)
}

// mortalCandidate is a candidate that can die.
type mortalCandidate struct {
	*candidate
	lock *mortalLock
}

// mortal starts one, with a store of its own: nothing but the lock keeps it from leading beside others.
func mortal(t *testing.T, l Lock, boot string) *mortalCandidate {
	t.Helper()
	m := &mortalLock{Interface: l}
	return &mortalCandidate{follow(t, NewStrictLock(ourLock{l, m}), boot, &storeServer{}), m}
}

func (c *mortalCandidate) kill() { c.lock.dead.Store(true) }

// leads is whether it does, as far as anybody can see: a dead process does nothing, whatever its flag says.
func (c *mortalCandidate) leads() error {
	if c.lock.dead.Load() {
		return errDead
	}
	return c.candidate.leads()
}

func startClientGo(p *place, name string) *other {
	t := p.t
	t.Helper()
	o := &other{name: name}
	lock := &mortalLock{Interface: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: p.at.namespace, Name: p.at.name}, Client: p.at.clients.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}}
	o.kill = func() {
		lock.dead.Store(true)
		o.leading.Store(false)
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: short.LeaseDuration, RenewDeadline: short.RenewDeadline, RetryPeriod: short.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { o.leading.Store(!lock.dead.Load()) },
			OnStoppedLeading: func() { o.leading.Store(false) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		elector.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return o
}

// findPython is a Python that has the kubernetes package: Debian's, or the first on the PATH.
func findPython(t *testing.T) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import kubernetes.leaderelection").Run() == nil {
			return python
		}
	}
	t.Skip("no python3 with its kubernetes package is here: on Debian, apt-get install python3-kubernetes")
	panic("not reached")
}

//go:embed testdata/elect.py
var electPy string

func startPython(p *place, name string) *other {
	t := p.t
	t.Helper()
	python := findPython(t)
	kubeconfig := os.Getenv("KUBECONFIG")
	if p.api != nil {
		kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
		if err := p.api.WriteKubeconfig(kubeconfig); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), python, "-c", electPy, kubeconfig, p.at.namespace, p.at.name, name)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &other{name: name}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			o.leading.Store(lines.Text() == "leads")
		}
		_ = cmd.Wait() // it is killed
		o.leading.Store(false)
	}()
	o.kill = func() {
		_ = cmd.Process.Kill() // fails if it has ended, which the test finds out
		<-done
	}
	t.Cleanup(o.kill)
	return o
}
