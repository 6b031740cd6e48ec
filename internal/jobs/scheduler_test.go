package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/store"
)

func TestJobsRunWhileTheFlagIsOn(t *testing.T) {
	t.Parallel()
	var c, ticks counter
	etcd := etcdtest.Start(t)
	follower := start(t, etcd, "leasehold-1", these(c.job("a", time.Millisecond)))
	leader := start(t, etcd, "leasehold-0", these(ticks.job("b", time.Millisecond)))
	leader.lead()
	ticks.reaches(t, 3)
	if n := c.runs.Load(); n != 0 {
		t.Errorf("a follower has run a job %d times", n)
	}
	follower.lead()
	c.reaches(t, 2)
	follower.flag.Store(false) // and nothing else: the flag alone decides
	follower.settles("a")
	before := c.runs.Load()
	follower.stop()
	leader.stop()
	leader.lead()
	now := ticks.runs.Load()
	ticks.reaches(t, now+3) // three ticks later
	if n := c.runs.Load(); n > before+1 {
		t.Errorf("%d runs after the flag was off", n-before)
	}
}

func TestAJobEndsWithItsTerm(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan error, 1)
	r := start(t, etcdtest.Start(t), "leasehold-0", these(Job{
		Name: "long", Interval: time.Hour, Run: func(ctx context.Context, l Leader) (string, error) {
			close(began)
			<-ctx.Done()
			w := &store.Write{ID: store.NewID()}
			w.Put(store.Entry{Key: "late"})
			_, err := l.Term.Write(context.Background(), w)
			ended <- err
			return "", ctx.Err()
		},
	}))
	r.lead()
	<-began
	r.flag.Store(false)
	l := r.leads.Swap(nil)
	l.leader.Term.End()
	l.cancel()
	if err := <-ended; !errors.Is(err, store.ErrNotLeading) {
		t.Errorf("a job writes after its term: %v", err)
	}
	if s := r.status("long"); s.Runs != 0 {
		t.Errorf("a run that was cut off is recorded: %+v", s)
	}
}

func TestAJobThatWasCutOffIsRunByTheNextTerm(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 2)
	var cut counter
	r := start(t, etcdtest.Start(t), "leasehold-0", these(Job{
		Name: "long", Interval: time.Hour, Run: func(ctx context.Context, _ Leader) (string, error) {
			began <- struct{}{}
			if cut.runs.Add(1) == 1 {
				<-ctx.Done()
			}
			return "", ctx.Err()
		},
	}))
	r.lead()
	<-began
	r.stop()
	r.lead()
	r.shows("long", func(s Status) bool { return s.Runs == 1 && s.Epoch == 2 })
}

func TestANewLeaderCarriesOn(t *testing.T) {
	t.Parallel()
	const interval = 2 * time.Second
	var c0, c1, never counter
	etcd := etcdtest.Start(t)
	a := start(t, etcd, "leasehold-0", these(c0.job("a", interval), never.job("b", time.Hour)))
	b := start(t, etcd, "leasehold-1", these(c1.job("a", interval), never.job("b", time.Hour)))
	a.lead()
	first := a.shows("a", ran(1))
	a.shows("b", ran(1))
	if first.Pod != a.pod || first.Epoch != 1 || first.Result != "run 1" || first.Error != "" || first.Every != "2s" ||
		!first.NextRun.Equal(first.LastRun.Add(interval)) {
		t.Errorf("the first run is %+v", first)
	}
	a.stop()
	b.lead()
	second := b.shows("a", ran(2))
	if second.LastRun.Before(first.NextRun) || second.LastRun.After(first.NextRun.Add(time.Second)) {
		t.Errorf("it ran at %s under the old leader, and at %s under the new one", first.LastRun, second.LastRun)
	}
	if second.Pod != b.pod || second.Epoch != 2 || c0.runs.Load() != 1 || c1.runs.Load() != 1 {
		t.Errorf("the second run is %+v", second)
	}
	if n := never.runs.Load(); n != 1 {
		t.Errorf("the hourly job has run %d times", n)
	}
	if onBoth := a.status("a"); onBoth.Runs != 2 {
		t.Errorf("the old leader shows %+v", onBoth)
	}
}

func TestALongGapBringsNoBurst(t *testing.T) {
	t.Parallel()
	var c, other counter
	etcd := etcdtest.Start(t)
	r := start(t, etcd, "leasehold-0", these(c.job("hourly", time.Hour), other.job("tick", time.Millisecond)))
	l := r.lead()
	due := Status{Name: "hourly", Runs: 5, LastRun: time.Now().Add(-10 * time.Hour), NextRun: time.Now().Add(-9 * time.Hour)}
	r.shows("hourly", ran(1))
	r.settles("hourly")
	if err := r.record(testContext(t), due, l.leader); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.lead()
	r.shows("hourly", ran(6))
	other.reaches(t, other.runs.Load()+3)
	if n := c.runs.Load(); n != 2 {
		t.Errorf("%d runs to make up for the gap", n-1)
	}
}

// The old leader's clock was ahead: what it noted as the next run is further away than an interval.
func TestAClockThatWasAheadStopsNoJob(t *testing.T) {
	t.Parallel()
	var c counter
	etcd := etcdtest.Start(t)
	r := start(t, etcd, "leasehold-0", these(c.job("hourly", time.Hour)))
	l := r.lead()
	r.shows("hourly", ran(1))
	r.settles("hourly")
	ahead := Status{Name: "hourly", Runs: 1, LastRun: time.Now().Add(4 * time.Hour), NextRun: time.Now().Add(5 * time.Hour)}
	if err := r.record(testContext(t), ahead, l.leader); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.lead()
	r.shows("hourly", ran(2))
}

func TestOneBadJobStopsNoOther(t *testing.T) {
	t.Parallel()
	var good counter
	r := start(t, etcdtest.Start(t), "leasehold-0", these(
		Job{Name: "panics", Interval: time.Millisecond, Run: func(context.Context, Leader) (string, error) { panic("at the disco") }},
		Job{Name: "fails", Interval: time.Millisecond, Run: func(context.Context, Leader) (string, error) {
			return "half done", errors.New("no disk")
		}},
		Job{Name: "hangs", Interval: time.Millisecond, Run: func(ctx context.Context, _ Leader) (string, error) {
			<-ctx.Done()
			return "", nil
		}},
		good.job("good", time.Millisecond),
	))
	r.lead()
	panicked, failed := r.shows("panics", ran(2)), r.shows("fails", ran(2))
	r.shows("good", ran(2))
	if panicked.Error != "panic: at the disco" || panicked.Failures != panicked.Runs {
		t.Errorf("the panic is recorded as %+v", panicked)
	}
	if failed.Error != "no disk" || failed.Result != "half done" || failed.Failures != failed.Runs {
		t.Errorf("the failure is recorded as %+v", failed)
	}
}

func TestTwoLeadersNeverBothRecord(t *testing.T) {
	t.Parallel()
	began, deposed := make(chan struct{}), make(chan struct{})
	var once counter
	etcd := etcdtest.Start(t)
	a := start(t, etcd, "leasehold-0", these(Job{Name: "a", Interval: time.Hour, Run: func(context.Context, Leader) (string, error) {
		if once.runs.Add(1) == 1 {
			close(began)
		}
		<-deposed
		return "by the old leader", nil
	}}))
	b := start(t, etcd, "leasehold-1", these(Job{Name: "a", Interval: time.Hour, Run: func(context.Context, Leader) (string, error) {
		return "by the new one", nil
	}}))
	a.lead()
	<-began
	b.lead() // a knows nothing of it: its flag stays on
	b.shows("a", ran(1))
	close(deposed)
	a.settles("a")
	if s := b.status("a"); s.Runs != 1 || s.Result != "by the new one" || s.Pod != b.pod {
		t.Errorf("recorded is %+v", s)
	}
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	var c counter
	began, free := make(chan struct{}), make(chan struct{})
	etcd := etcdtest.Start(t)
	jobs := these(c.job("hourly", time.Hour), Job{Name: "slow", Interval: time.Hour, Run: func(context.Context, Leader) (string, error) {
		close(began)
		<-free
		return "", nil
	}})
	leader, follower := start(t, etcd, "leasehold-0", jobs), start(t, etcd, "leasehold-1", jobs)
	leader.lead()
	before := leader.shows("hourly", ran(1))
	leader.settles("hourly")
	got, err := leader.RunNow(testContext(t), "hourly")
	if err != nil || got.Runs != 2 || got.Result != "run 2" || !got.NextRun.After(before.NextRun) {
		t.Errorf("the run is %+v, %v", got, err)
	}
	if s := leader.status("hourly"); s.Runs != 2 {
		t.Errorf("recorded is %+v", s)
	}
	<-began
	for name, c := range map[string]struct {
		r    *replica
		want error
	}{"slow": {leader, ErrRunning}, "dance": {leader, ErrUnknownJob}, "hourly": {follower, ErrNotLeading}} {
		if _, err := c.r.RunNow(testContext(t), name); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	close(free)
	leader.shows("slow", ran(1))
}

func TestARunWhoseCallerLeavesIsRecorded(t *testing.T) {
	t.Parallel()
	var runs counter
	began := make(chan struct{}, 9)
	r := start(t, etcdtest.Start(t), "leasehold-0", these(Job{Name: "a", Interval: time.Hour, Run: func(ctx context.Context, _ Leader) (string, error) {
		if runs.runs.Add(1) == 1 {
			return "", nil
		}
		began <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}}))
	r.lead()
	r.shows("a", ran(1))
	r.settles("a")
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		<-began
		cancel()
	}()
	if _, err := r.RunNow(ctx, "a"); err != nil {
		t.Error(err)
	}
	if s := r.status("a"); s.Runs != 2 || s.Failures != 1 || !strings.Contains(s.Error, "canceled") {
		t.Errorf("recorded is %+v", s)
	}
}

func TestAMalformedStateIsAnError(t *testing.T) {
	t.Parallel()
	var c counter
	r := start(t, etcdtest.Start(t), "leasehold-0", these(c.job("a", time.Hour)))
	l := r.lead()
	r.shows("a", ran(1))
	r.settles("a")
	w := &store.Write{ID: store.NewID()}
	w.PutState(stateName("a"), []byte("{"))
	if _, err := l.leader.Term.Write(testContext(t), w); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Statuses(testContext(t)); err == nil || !strings.Contains(err.Error(), "malformed state of job a") {
		t.Errorf("the statuses: %v", err)
	}
	if _, err := r.RunNow(testContext(t), "a"); err == nil {
		t.Error("it runs all the same")
	}
}
