package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// moves has the store's own leadership go where it is moved to: there the replica goes first. best is where it goes
// if nobody is named.
func (c *cluster) moves(best func(from *replica) *replica) {
	for _, r := range c.all() {
		var target *replica
		r.prepare = func(to string) (string, error) {
			target = best(r)
			for _, other := range c.all() {
				if other.pod == to {
					target = other
				}
			}
			return target.pod, nil
		}
		r.moveStore = func(context.Context) error {
			for _, other := range c.all() {
				other.first.Store(other == target)
			}
			return nil
		}
	}
}

func (r *replica) stepDown(to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return r.election.StepDown(ctx, to)
}

// succeeds waits until r leads after old has given leadership up for that reason, and expects r to have told so.
func (r *replica) succeeds(old *replica, reason string) {
	r.c.t.Helper()
	within(r.c.t, holdBack-2*poll, r.leads)
	l := r.election.Leadership()
	if b := l.Began; b.From != old.pod || b.To != r.pod || b.Epoch != l.Term.Epoch() || b.Reason != reason {
		r.c.t.Errorf("it began with %+v", b)
	}
	told := old.told()
	if last := told[len(told)-1]; last.To != "" || last.Reason != reason || !last.Handover {
		r.c.t.Errorf("%s tells %+v", old.name(), last)
	}
}

// Whenever it is asked for, and whenever the others happen to try: the named pod leads, nobody else.
func TestATransferGoesToTheNamedPod(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		t := c.t
		c.moves(func(*replica) *replica { return nil })
		c.start()
		old := c.leader()
		for i := range 30 {
			time.Sleep(time.Duration(i*137) * time.Millisecond)
			others := c.but(old)
			next := others[i%2]
			// The others hear of the release late, and the third tries all the time.
			next.lock.watchGate.set(late(100 * time.Millisecond))
			third := c.but(old, next)[0]
			third.election.restartCampaign()
			if err := old.stepDown(next.pod); err != nil {
				t.Fatal(err)
			}
			// In the same instant the successor may have claimed already.
			if r := c.store.read(); (r.Reason != Transfer || r.Successor != next.pod) && r.Pod != next.pod {
				t.Errorf("the record is %+v", r)
			}
			for range 10 {
				time.Sleep(poll)
				third.election.restartCampaign()
			}
			next.succeeds(old, Transfer)
			next.lock.watchGate.set(nil)
			old = next
		}
	})
}

func TestATransferToNobodyInParticularGoesToTheBest(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		t := c.t
		best := map[*replica]*replica{c.replicas[0]: c.replicas[1], c.replicas[1]: c.replicas[2], c.replicas[2]: c.replicas[0]}
		c.moves(func(from *replica) *replica { return best[from] })
		c.start()
		old := c.leader()
		if err := old.stepDown(""); err != nil {
			t.Fatal(err)
		}
		best[old].succeeds(old, Transfer)
	})
}

func TestWhoSteppedDownDoesNotTakeItBackButCampaignsAgain(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.moves(func(from *replica) *replica { return c.but(from)[0] })
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		if err := old.stepDown(""); err != nil {
			t.Fatal(err)
		}
		next.succeeds(old, Transfer)
		always(t, time.Minute, func() error { return errors.Join(old.idle(), next.leads()) })
		next.vanish()
		within(t, c.longestTakeover(), old.leads)
	})
}

// The successor is gone before it can take over.
func TestWithoutASuccessorWhoSteppedDownLeadsAgain(t *testing.T) {
	for name, others := range map[string]int{"alone": 0, "others-are-gone": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1+others, func(c *cluster) {
				t := c.t
				c.moves(func(*replica) *replica { return &replica{pod: "pod-9"} })
				old := c.replicas[0]
				old.start()
				within(t, time.Second, old.leads)
				if err := old.stepDown(""); err != nil {
					t.Fatal(err)
				}
				always(t, 2*c.timing.RetryPeriod-poll, old.idle)
				within(t, time.Second, old.leads)
				if b := old.election.Leadership().Began; b.From != old.pod || b.Epoch != 2 || b.Why != "nobody else took over" {
					t.Errorf("%+v", b)
				}
			})
		})
	}
}

// A third takes over where the named pod does not: a moment later than it would otherwise, and no more.
func TestASuccessorThatDoesNotComeHoldsNobodyBackForLong(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		t := c.t
		c.moves(func(*replica) *replica { return nil })
		c.start()
		old := c.leader()
		gone, third := c.but(old)[0], c.but(old)[1]
		gone.vanish()
		third.election.restartCampaign()
		if err := old.stepDown(gone.pod); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * poll)
		third.election.restartCampaign() // tries too early
		within(t, holdBack, third.leads)
	})
}

func TestATransferThatIsRefusedChangesNothing(t *testing.T) {
	unfit := errors.New("it is behind")
	for name, test := range map[string]struct {
		set  func(old *replica)
		to   string
		want error
	}{
		"unfit":      {func(old *replica) { old.prepare = func(string) (string, error) { return "", unfit } }, "pod-1", unfit},
		"itself":     {func(*replica) {}, "pod-0", ErrLeadsAlready},
		"move-fails": {func(old *replica) { old.moveStore = func(context.Context) error { return errInjected } }, "pod-1", ErrNotMoved},
		"move-hangs": {
			func(old *replica) {
				old.moveStore = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
			}, "pod-1", ErrNotMoved,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(c *cluster) {
				t := c.t
				old := c.replicas[0]
				old.start()
				within(t, time.Second, old.leads)
				c.start()
				test.set(old)
				l := old.election.Leadership()
				if err := old.stepDown(test.to); !errors.Is(err, test.want) {
					t.Errorf("StepDown: %v, want %v", err, test.want)
				}
				if landed := c.store.landed(); len(landed) != 1 {
					t.Errorf("the store was written: %v", landed)
				}
				always(t, time.Minute, old.leads)
				if old.election.Leadership() != l || l.Context.Err() != nil {
					t.Error("that is another leadership")
				}
			})
		})
	}
}

func TestOnlyALeaderStepsDown(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		leader := c.leader()
		if err := c.but(leader)[0].stepDown(""); !errors.Is(err, ErrNotLeading) {
			t.Errorf("StepDown: %v", err)
		}
		always(t, time.Minute, leader.leads)
	})
}

// A resignation that hangs is made in the end, and says why.
func TestATransferWhoseResignationHangs(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.moves(func(from *replica) *replica { return c.but(from)[0] })
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		old.store.set(only("resign", hanging))
		if err := old.stepDown(""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("StepDown: %v", err)
		}
		old.store.set(nil)
		next.stop()
		within(t, 2*c.timing.RetryPeriod, func() error {
			if r := c.store.read(); r.Pod == old.pod && (!r.Resigned || r.Reason != Transfer) {
				return fmt.Errorf("the record is %+v", r)
			}
			return nil
		})
	})
}

func TestAHandoverDuringATransferDrains(t *testing.T) {
	for name, moved := range map[string]error{"moved": nil, "not-moved": errInjected} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(c *cluster) {
				t := c.t
				c.start()
				old := c.leader()
				next := c.but(old)[0]
				proceed, first := make(chan struct{}), true
				old.moveStore = func(context.Context) error {
					if !first {
						return nil
					}
					first = false
					<-proceed
					return moved
				}
				stepped, handed := make(chan error, 1), make(chan error, 1)
				go func() { stepped <- old.stepDown(next.pod) }()
				synctest.Wait()
				go func() { handed <- old.election.Handover(t.Context()) }()
				synctest.Wait()
				if err := old.leads(); err != nil {
					t.Error(err)
				}
				close(proceed)
				if err := <-stepped; !errors.Is(err, moved) {
					t.Errorf("StepDown: %v", err)
				}
				if err := <-handed; err != nil {
					t.Errorf("Handover: %v", err)
				}
				want := Transfer
				if moved != nil {
					want = Graceful
				}
				// In the same instant the successor may have claimed already.
				if r := c.store.read(); (r.Reason != want || !r.Resigned) && r.Pod != next.pod {
					t.Errorf("the record is %+v", r)
				}
				within(t, holdBack+100*time.Millisecond, next.leads)
				if b := next.election.Leadership().Began; b.Reason != want {
					t.Errorf("it began with %+v", b)
				}
				next.stop()
				always(t, time.Minute, func() error { return errors.Join(old.idle(), c.free()) })
			})
		})
	}
}

// Nobody waits until the record says that the leader has resigned, which may take a while; and yet it did not fail.
func TestAHandoverIsNoFailure(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.moves(func(from *replica) *replica { return c.but(from)[0] })
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		old.store.set(only("resign", func(_ context.Context, _ call, do func() error) error {
			time.Sleep(resignLimit / 2)
			return do()
		}))
		if err := old.election.Handover(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(t, holdBack+100*time.Millisecond, next.leads)
		if b := next.election.Leadership().Began; b.Reason != Graceful {
			t.Errorf("it began with %+v", b)
		}
	})
}

// The process ends whether or not a transfer does.
func TestAHandoverDoesNotWaitForATransferForEver(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		old.store.set(only("resign", hanging))
		stepped := make(chan error, 1)
		go func() { stepped <- old.stepDown(next.pod) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), resignLimit-time.Second)
		defer cancel()
		if err := old.election.Handover(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Handover: %v", err)
		}
		within(t, holdBack+100*time.Millisecond, next.leads)
		if err := <-stepped; err == nil {
			t.Error("StepDown: no error")
		}
		next.stop()
		always(t, time.Minute, old.idle)
	})
}

func TestATransferDuringAHandoverFindsNobodyLeading(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		proceed := make(chan struct{})
		old.moveStore = func(context.Context) error { <-proceed; return nil }
		handed, stepped := make(chan error, 1), make(chan error, 1)
		go func() { handed <- old.election.Handover(t.Context()) }()
		synctest.Wait()
		go func() { stepped <- old.stepDown(next.pod) }()
		synctest.Wait()
		close(proceed)
		if err := <-handed; err != nil {
			t.Errorf("Handover: %v", err)
		}
		if err := <-stepped; !errors.Is(err, ErrNotLeading) {
			t.Errorf("StepDown: %v", err)
		}
		next.takesOver(old)
	})
}

// takesOver waits until r leads after a graceful handover.
func (r *replica) takesOver(old *replica) {
	r.c.t.Helper()
	within(r.c.t, holdBack+100*time.Millisecond, r.leads)
	if b := r.election.Leadership().Began; b.From != old.pod || b.Reason != Graceful {
		r.c.t.Errorf("%+v", b)
	}
}

func TestTwoTransfersAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		first, wantFirst, wantSecond error
	}{
		"the-first-is-done":    {nil, nil, ErrNotLeading},
		"the-first-is-refused": {errInjected, errInjected, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(c *cluster) {
				t := c.t
				c.start()
				old := c.leader()
				next := c.but(old)[0]
				proceed, calls := make(chan struct{}), 0
				old.moveStore = func(context.Context) error {
					if calls++; calls > 1 {
						return nil
					}
					<-proceed
					return test.first
				}
				results := [2]chan error{make(chan error, 1), make(chan error, 1)}
				for i := range results {
					go func() { results[i] <- old.stepDown(next.pod) }()
					synctest.Wait()
				}
				impatient, cancel := context.WithCancel(t.Context())
				cancel()
				if err := old.election.StepDown(impatient, ""); !errors.Is(err, ErrBusy) {
					t.Errorf("a third that does not wait: %v", err)
				}
				close(proceed)
				for i, want := range []error{test.wantFirst, test.wantSecond} {
					if err := <-results[i]; !errors.Is(err, want) {
						t.Errorf("transfer %d: %v, want %v", i, err, want)
					}
				}
				within(t, holdBack+100*time.Millisecond, next.leads)
			})
		})
	}
}

func TestEvidenceIsTheReasonOfATakeover(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		c.store.overwrite(Record{Pod: "pod-9", BootID: "x", ClaimID: "x/1"})
		round, ctx, cancel := wonRound(t, r, 1)
		defer cancel()
		round.guard.evidence = Crash
		go round.started(ctx)
		synctest.Wait()
		if b := r.election.Leadership().Began; b.Reason != Crash || b.From != "pod-9" {
			t.Errorf("%+v", b)
		}
		cancel()
		<-round.finished
	})
}

// fetches are the times at which a replica has moved the store's own leadership to itself.
type fetches struct {
	mu sync.Mutex
	at []time.Time
}

func (f *fetches) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.at)
}

// fetches has r's moves end with result, and counts them.
func (r *replica) fetches(result error) *fetches {
	f := &fetches{}
	r.fetch = func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded || !r.election.Leading() {
			r.c.t.Error("a move without a limit, or of one that does not lead")
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.at = append(f.at, time.Now())
		r.elsewhere.Store(result != nil)
		return result
	}
	return f
}

func TestTheStoresLeadershipFollowsTheLeader(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		leader := c.leader()
		other := c.but(leader)[0]
		other.elsewhere.Store(true)
		none, moved := other.fetches(nil), leader.fetches(nil)
		always(t, time.Minute, leader.leads)
		if len(none.times())+len(moved.times()) > 0 {
			t.Errorf("moved by a follower at %v, without need at %v", none.times(), moved.times())
		}
		for i := range 3 { // and then rests
			start := time.Now()
			leader.elsewhere.Store(true)
			within(t, restAfterMove+keepEvery, func() error {
				if n := len(moved.times()); n != i+1 {
					return fmt.Errorf("%d moves", n)
				}
				return nil
			})
			at := moved.times()
			if at[i].Sub(start) < keepAfter || i > 0 && at[i].Sub(at[i-1]) < restAfterMove {
				t.Errorf("moved at %v", at)
			}
		}
		// Gone for a moment only.
		time.Sleep(restAfterMove)
		for range 20 {
			leader.elsewhere.Store(true)
			time.Sleep(keepEvery + poll)
			leader.elsewhere.Store(false)
			time.Sleep(keepEvery + poll)
		}
		if at := moved.times(); len(at) != 3 {
			t.Errorf("moved for a moment's absence: %v", at)
		}
	})
}

func TestAMoveThatFailsIsNotRepeatedAtOnce(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		c.start()
		leader := c.leader()
		tried := leader.fetches(errInjected)
		leader.elsewhere.Store(true)
		always(t, 5*time.Minute, leader.leads)
		at := tried.times()
		for i := range len(at) - 1 {
			if at[i+1].Sub(at[i]) < restAfterFailed {
				t.Errorf("tried at %v", at)
			}
		}
		if len(at) < 4 {
			t.Errorf("tried %d times", len(at))
		}
	})
}

func TestTheStoresLeadershipIsNotFetchedDuringAHandover(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		leader := c.leader()
		next := c.but(leader)[0]
		fetched := leader.fetches(nil)
		proceed := make(chan struct{})
		leader.moveStore = func(context.Context) error {
			leader.elsewhere.Store(true) // moved, but the answer takes its time
			<-proceed
			return nil
		}
		stepped := make(chan error, 1)
		go func() { stepped <- leader.stepDown(next.pod) }()
		always(t, 5*time.Second, leader.leads)
		close(proceed)
		if err := <-stepped; err != nil {
			t.Error(err)
		}
		within(t, time.Second, next.leads)
		time.Sleep(time.Minute)
		if at := fetched.times(); len(at) > 0 {
			t.Errorf("fetched at %v", at)
		}
	})
}
