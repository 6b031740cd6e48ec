package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/klog/v2"

	"github.com/leasehold/leasehold/internal/election"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// poll is how often conditions are looked at; inside a bubble it costs no time.
const poll = 10 * time.Millisecond

func within(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(poll) {
		err := f()
		if err == nil {
			return
		}
		if time.Since(start) >= limit {
			t.Fatalf("not after %s: %v", limit, err)
		}
	}
}

func always(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	for start := time.Now(); time.Since(start) < limit; time.Sleep(poll) {
		if err := f(); err != nil {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
	}
}

// --- the API server ---

// apiServer holds one Lease, compares and swaps it by its version, and tells watches.
type apiServer struct {
	mu      sync.Mutex
	version int
	lease   *coordinationv1.Lease
	watches []*watcher
	onWrite func(before, after string) // the holders, under mu
}

func holderOf(l *coordinationv1.Lease) string {
	if l == nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func (s *apiServer) put(l *coordinationv1.Lease, kind watch.EventType) *coordinationv1.Lease {
	s.version++
	before := holderOf(s.lease)
	s.lease = l.DeepCopy()
	s.lease.ResourceVersion = strconv.Itoa(s.version)
	if s.onWrite != nil {
		s.onWrite(before, holderOf(s.lease))
	}
	for _, w := range s.watches {
		w.send(kind, s.lease)
	}
	return s.lease.DeepCopy()
}

// take has somebody outside hold the Lease.
func (s *apiServer) take(holder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease.DeepCopy()
	l.Spec.HolderIdentity = &holder
	l.Annotations = nil
	s.put(l, watch.Modified)
}

func (s *apiServer) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease
	s.put(l, watch.Deleted)
	s.lease = nil
}

func (s *apiServer) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return holderOf(s.lease)
}

// client is one process's way to the API server.
type client struct {
	coordinationclient.LeaseInterface
	server *apiServer
	cut    atomic.Bool // requests hang and watches are silent
}

func (c *client) Leases(string) coordinationclient.LeaseInterface { return c }

var leaseResource = coordinationv1.Resource("leases")

func (c *client) call(ctx context.Context, do func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, election.DefaultTiming.RenewDeadline/3)
	defer cancel()
	if c.cut.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return do()
}

func (c *client) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	return c.call(ctx, func() (*coordinationv1.Lease, error) {
		if c.server.lease == nil {
			return nil, apierrors.NewNotFound(leaseResource, name)
		}
		return c.server.lease.DeepCopy(), nil
	})
}

func (c *client) Create(ctx context.Context, l *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return c.call(ctx, func() (*coordinationv1.Lease, error) {
		if c.server.lease != nil {
			return nil, apierrors.NewAlreadyExists(leaseResource, l.Name)
		}
		return c.server.put(l, watch.Added), nil
	})
}

func (c *client) Update(ctx context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return c.call(ctx, func() (*coordinationv1.Lease, error) {
		if c.server.lease == nil || c.server.lease.ResourceVersion != l.ResourceVersion {
			return nil, apierrors.NewConflict(leaseResource, l.Name, errors.New("another version"))
		}
		return c.server.put(l, watch.Modified), nil
	})
}

func (c *client) Watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	if c.cut.Load() {
		return nil, errors.New("cut off")
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	w := &watcher{c: c, events: make(chan watch.Event, 10000)}
	c.server.watches = append(c.server.watches, w)
	if c.server.lease != nil {
		w.send(watch.Added, c.server.lease)
	}
	context.AfterFunc(ctx, w.Stop)
	return w, nil
}

// watcher is a watch. It says nothing while its client is cut off.
type watcher struct {
	c      *client
	events chan watch.Event
	over   bool // guarded by the server's mu
}

func (w *watcher) ResultChan() <-chan watch.Event { return w.events }

func (w *watcher) Stop() {
	w.c.server.mu.Lock()
	defer w.c.server.mu.Unlock()
	if !w.over {
		w.over = true
		close(w.events)
	}
}

// send is called with the server's mu held.
func (w *watcher) send(kind watch.EventType, l *coordinationv1.Lease) {
	if !w.over && !w.c.cut.Load() {
		w.events <- watch.Event{Type: kind, Object: l.DeepCopy()}
	}
}

// --- the command ---

// fakeCommand is one process's command. What it does is set before it starts.
type fakeCommand struct {
	site       *site
	pod        string
	obeysAfter time.Duration // SIGTERM; never if negative
	endsAfter  time.Duration // by itself, if positive
	immortal   bool          // even SIGKILL does nothing, for a while
	failure    error         // of a start
	starts     []time.Time
	epochs     []uint64
	killed     atomic.Int32
	last       *fakeRun
}

type fakeRun struct {
	c    *fakeCommand
	once sync.Once
	done chan struct{}
}

func (c *fakeCommand) Start(epoch uint64) (Running, error) {
	c.site.mu.Lock()
	defer c.site.mu.Unlock()
	c.starts, c.epochs = append(c.starts, time.Now()), append(c.epochs, epoch)
	if c.failure != nil {
		return nil, c.failure
	}
	for other := range c.site.running {
		c.site.violation("the command of %s is started while that of %s runs", c.pod, other)
	}
	c.site.running[c.pod] = true
	r := &fakeRun{c: c, done: make(chan struct{})}
	c.last = r
	if c.endsAfter > 0 {
		time.AfterFunc(c.endsAfter, r.end)
	}
	return r, nil
}

func (c *fakeCommand) log() (starts []time.Time, epochs []uint64) {
	c.site.mu.Lock()
	defer c.site.mu.Unlock()
	return append([]time.Time(nil), c.starts...), append([]uint64(nil), c.epochs...)
}

func (r *fakeRun) end() {
	r.once.Do(func() {
		r.c.site.mu.Lock()
		delete(r.c.site.running, r.c.pod)
		r.c.site.mu.Unlock()
		close(r.done)
	})
}

func (r *fakeRun) Exited() <-chan struct{} { return r.done }
func (r *fakeRun) Done() <-chan struct{}   { return r.done }
func (r *fakeRun) State() string           { return "exit status 3" }

func (r *fakeRun) Terminate() {
	if r.c.obeysAfter >= 0 {
		time.AfterFunc(r.c.obeysAfter, r.end)
	}
}

func (r *fakeRun) Kill() {
	r.c.killed.Add(1)
	if r.c.immortal {
		time.AfterFunc(time.Minute, r.end)
		return
	}
	r.end()
}

// --- the site ---

// site is processes that share a Lease, and a watch over what must never be: two commands that run, or a Lease that
// changes hands while a command of the last holder runs, or while its file may be believed.
type site struct {
	t       *testing.T
	server  *apiServer
	members []*member

	mu       sync.Mutex
	running  map[string]bool
	broken   []string
	expected bool // a violation is what the test is for
}

type member struct {
	*Sidecar
	pod     string
	client  *client
	command *fakeCommand
	cancel  context.CancelFunc
	done    chan struct{}
}

func (s *site) violation(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

func (s *site) violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// bubble runs f in virtual time with n processes, none of which has started.
func bubble(t *testing.T, n int, f func(s *site)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, server: &apiServer{}, running: map[string]bool{}}
		s.server.onWrite = s.watchOver
		for i := range n {
			s.add(fmt.Sprintf("pod-%d", i))
		}
		defer s.tearDown() // also where f fails
		f(s)
	})
}

func (s *site) tearDown() {
	for _, m := range s.members {
		m.client.cut.Store(false)
		m.stop()
	}
	for _, v := range s.violations() {
		if !s.expected {
			s.t.Error(v)
		}
	}
}

// watchOver is called with every write of the Lease.
func (s *site) watchOver(before, after string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before == after {
		return
	}
	for pod := range s.running {
		s.violation("the Lease goes from %q to %q while the command of %s runs", before, after, pod)
	}
	for _, m := range s.members {
		m.file.mu.Lock()
		promised := m.file.promised
		m.file.mu.Unlock()
		if m.pod == before && time.Now().Before(promised) {
			s.violation("the Lease goes from %q to %q while the file of %s may be believed", before, after, m.pod)
		}
	}
}

func (s *site) add(pod string) {
	c := &client{server: s.server}
	command := &fakeCommand{site: s, pod: pod}
	side, err := New(Config{
		Pod: pod, BootID: "boot-" + pod, Namespace: "n", Lease: "l", Leases: c, Watches: c, Timing: election.DefaultTiming,
		Command: command, Grace: 10 * time.Second, File: filepath.Join(s.t.TempDir(), "leader"),
		Log: zaptest.NewLogger(s.t).Named(pod), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.members = append(s.members, &member{Sidecar: side, pod: pod, client: c, command: command})
}

func (s *site) start() {
	for _, m := range s.members {
		ctx, cancel := context.WithCancel(context.Background())
		m.cancel, m.done = cancel, make(chan struct{})
		go func() {
			defer close(m.done)
			if err := m.Run(ctx); err != nil {
				s.t.Error(err)
			}
		}()
	}
}

// stop ends the process in good order, and waits for it.
func (m *member) stop() {
	if m.cancel == nil {
		return
	}
	m.cancel()
	<-m.done
}

func (s *site) runs() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pod := range s.running {
		return pod
	}
	return ""
}

// leader waits until the command runs at one of the processes, but for those.
func (s *site) leader(limit time.Duration, but ...*member) *member {
	s.t.Helper()
	var found *member
	within(s.t, limit, func() error {
		pod := s.runs()
		for _, m := range s.members {
			if m.pod == pod && (len(but) == 0 || but[0] != m) {
				found = m
				return nil
			}
		}
		return fmt.Errorf("the command runs at %q", pod)
	})
	return found
}
