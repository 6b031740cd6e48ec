package jobs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/store"
)

// The tests run the schedulers of several replicas over one etcd member. A replica leads when a test says so;
// only the store decides what its leadership is worth.

// leadership is what one term gives to jobs.
type leadership struct {
	ctx    context.Context
	cancel context.CancelFunc
	leader Leader
}

// replica is a store and a scheduler, and the flag between them.
type replica struct {
	*Scheduler
	t      *testing.T
	pod    string
	store  *store.Store
	flag   atomic.Bool
	leads  atomic.Pointer[leadership]
	claims int
}

// start starts a replica of the given name that runs the jobs that make makes for it.
func start(t *testing.T, etcd *embed.Etcd, pod string, makeJobs func(*store.Store) []Job) *replica {
	t.Helper()
	client := v3client.New(etcd.Server)
	t.Cleanup(func() { _ = client.Close() })
	st, err := store.Open(testContext(t), store.Config{
		KV: client, Watcher: client, ClusterID: uint64(etcd.Server.Cluster().ID()), Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	r := &replica{t: t, pod: pod, store: st}
	r.Scheduler = New(Config{
		Jobs: makeJobs(st), Leading: r.flag.Load, Leadership: r.leadership, State: st.GetState,
		Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() {
		r.stop()
		cancel()
		running.Wait()
	})
	return r
}

func these(jobs ...Job) func(*store.Store) []Job {
	return func(*store.Store) []Job { return jobs }
}

func (r *replica) leadership() (context.Context, Leader, bool) {
	l := r.leads.Load()
	if l == nil {
		return nil, Leader{}, false
	}
	return l.ctx, l.leader, true
}

// lead claims leadership on what the leader record says now, and sets the flag.
func (r *replica) lead() *leadership {
	r.t.Helper()
	ctx := testContext(r.t)
	seen, err := r.store.ReadLeader(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.claims++
	term, err := r.store.Claim(ctx, seen, store.Claimant{Pod: r.pod, BootID: "boot", ID: fmt.Sprintf("%s/%d", r.pod, r.claims)})
	if err != nil {
		r.t.Fatalf("%s claims: %v", r.pod, err)
	}
	l := &leadership{leader: Leader{Pod: r.pod, Term: term}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	r.leads.Store(l)
	r.flag.Store(true)
	return l
}

// stop clears the flag and ends what was given to the jobs.
func (r *replica) stop() {
	r.flag.Store(false)
	if l := r.leads.Swap(nil); l != nil {
		l.cancel()
		l.leader.Term.End()
	}
}

// status is what r's store knows of a job.
func (r *replica) status(name string) Status {
	r.t.Helper()
	all, err := r.Statuses(testContext(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s Status) bool { return s.Name == name })
	if i < 0 {
		r.t.Fatalf("there is no job %s", name)
	}
	return all[i]
}

// shows waits until the status of a job is as it should be.
func (r *replica) shows(name string, want func(Status) bool) (last Status) {
	r.t.Helper()
	eventually(r.t, func() error {
		if last = r.status(name); !want(last) {
			return fmt.Errorf("%s is %+v", name, last)
		}
		return nil
	})
	return last
}

// settles waits until no run of a job is under way: a run is recorded a moment before it is over.
func (r *replica) settles(name string) {
	r.t.Helper()
	eventually(r.t, func() error {
		if !r.jobs[name].busy.TryLock() {
			return fmt.Errorf("%s still runs on %s", name, r.pod)
		}
		r.jobs[name].busy.Unlock()
		return nil
	})
}

func ran(n int64) func(Status) bool { return func(s Status) bool { return s.Runs >= n } }

// counter is a job that counts its runs.
type counter struct{ runs atomic.Int64 }

func (c *counter) job(name string, interval time.Duration) Job {
	return Job{Name: name, Interval: interval, Run: func(context.Context, Leader) (string, error) {
		return fmt.Sprintf("run %d", c.runs.Add(1)), nil
	}}
}

func (c *counter) reaches(t *testing.T, n int64) {
	t.Helper()
	eventually(t, func() error {
		if got := c.runs.Load(); got < n {
			return fmt.Errorf("%d runs", got)
		}
		return nil
	})
}

// eventually polls until f returns nil, and prints why not yet when time is up.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	err := f()
	for deadline := time.Now().Add(20 * time.Second); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// testContext ends with the test, or after 30 s.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
