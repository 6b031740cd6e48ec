package election

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wonRound is a round of r's that has won the lock as client-go would have, and its context.
func wonRound(t *testing.T, r *replica, n int) (*round, context.Context, context.CancelFunc) {
	t.Helper()
	round := r.election.newRound(t.Context(), n)
	if !r.election.enter(round) {
		t.Fatal("drained")
	}
	start := time.Now()
	if err := round.guard.begin(round.ctx, r.c.store.read()); err != nil {
		t.Fatal(err)
	}
	round.guard.finish(nil, start)
	ctx, cancel := context.WithCancel(round.ctx)
	return round, ctx, cancel
}

// client-go starts OnStartedLeading on a goroutine, and calls OnStoppedLeading whether or not it has run.
func TestTheFlagIsOffAfterTheRoundInWhateverOrderTheCallbacksCome(t *testing.T) {
	t.Run("started-then-stopped", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			round, ctx, cancel := wonRound(t, r, 1)
			go round.started(ctx)
			synctest.Wait()
			if !r.election.Leading() {
				t.Fatal("the flag is not on")
			}
			l := r.election.Leadership()
			cancel()
			round.stopped()
			if err := r.idle(); err != nil || r.election.Leadership() != nil || l.Context.Err() == nil {
				t.Error("the term goes on", err)
			}
			<-round.finished
			<-l.Term.Ended()
		})
	})
	t.Run("stopped-then-started", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			round, ctx, cancel := wonRound(t, r, 1)
			cancel()
			round.stopped()
			round.started(ctx)
			if err := r.idle(); err != nil {
				t.Error(err)
			}
			if landed := c.store.landed(); len(landed) > 0 {
				t.Errorf("a round that was over has claimed: %v", landed)
			}
		})
	})
	t.Run("stopped-while-it-claims", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			round, ctx, cancel := wonRound(t, r, 1)
			r.store.set(func(_ context.Context, _ call, do func() error) error {
				err := do() // the claim succeeds,
				cancel()    // but the round is over before that is known
				round.stopped()
				return err
			})
			round.started(ctx)
			if err := r.idle(); err != nil {
				t.Error(err)
			}
			if !r.election.ghost(c.store.read()) {
				t.Error("nobody would resign the claim")
			}
		})
	})
	t.Run("stopped-between-the-claim-and-the-flag", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			round, ctx, cancel := wonRound(t, r, 1)
			r.store.onClaimed = func() {
				cancel()
				round.stopped() // clears a flag that is not set yet
			}
			round.started(ctx)
			if err := r.idle(); err != nil {
				t.Error("the round is over, and yet", err)
			}
			if told := r.told(); len(told) > 0 {
				t.Errorf("a round that was over has led: %v", told)
			}
		})
	})
	t.Run("at-the-same-time", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			for n := range 200 {
				round, ctx, cancel := wonRound(t, r, n)
				go round.started(ctx)
				go func() {
					cancel()
					round.stopped()
				}()
				<-round.finished
				synctest.Wait()
				if err := r.idle(); err != nil {
					t.Fatal(err)
				}
				r.election.leave()
			}
		})
	})
	t.Run("stopped-in-the-next-round", func(t *testing.T) {
		bubble(t, 1, func(c *cluster) {
			t := c.t
			r := c.replicas[0]
			old, _, cancelOld := wonRound(t, r, 1)
			cancelOld()
			round, ctx, cancel := wonRound(t, r, 2)
			go round.started(ctx)
			synctest.Wait()
			old.stopped()
			if !r.election.Leading() {
				t.Error("the last round's callback has ended this one's term")
			}
			cancel()
			<-round.finished
		})
	})
}

// S10: what counts is the record as it was before the write that won the round, not as the callback finds it.
func TestADelayedCallbackCannotUsurpANewerLeader(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		round, ctx, cancel := wonRound(t, r, 1)
		defer cancel()
		c.store.overwrite(Record{Pod: "pod-9", BootID: "x", ClaimID: "x/1"})
		newer := c.store.read()
		round.started(ctx) // late, and its context is still alive
		if err := r.idle(); err != nil {
			t.Error(err)
		}
		if now := c.store.read(); now != newer {
			t.Errorf("the record is %+v, was %+v", now, newer)
		}
		if round.ctx.Err() == nil {
			t.Error("the round goes on")
		}
	})
}

// A claim that took so long that the lock may be another's by now.
func TestAClaimThatComesTooLateDoesNotSetTheFlag(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		round, ctx, cancel := wonRound(t, r, 1)
		defer cancel()
		time.Sleep(c.timing.LeaseDuration - margin)
		term, err := round.claim(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r.election.setLeading(ctx, &Leadership{Context: ctx, Term: term, round: round}) {
			t.Error("the flag is on without a valid lock")
		}
	})
}

// A claim that succeeds all the same when its round is over.
func TestOnlyARoundThatGoesOnSetsTheFlag(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		old, oldCtx, cancelOld := wonRound(t, r, 1)
		defer cancelOld()
		round, ctx, cancel := wonRound(t, r, 2)
		term, err := round.claim(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r.election.setLeading(oldCtx, &Leadership{Context: oldCtx, Term: term, round: old}) {
			t.Error("the flag is on for a round before this one")
		}
		cancel()
		if r.election.setLeading(ctx, &Leadership{Context: ctx, Term: term, round: round}) {
			t.Error("the flag is on for a round that is over")
		}
	})
}

// client-go's Run does not wait for OnStartedLeading, so one could outlive its round and meddle with the next.
func TestRunWaitsForTheCallback(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		var answered atomic.Bool
		r.store.set(only("claim", func(context.Context, call, func() error) error {
			time.Sleep(time.Minute) // whatever its context says
			answered.Store(true)
			return errInjected
		}))
		c.start()
		time.Sleep(time.Second)
		r.stop()
		if !answered.Load() {
			t.Error("Run has returned before the callback")
		}
	})
}

// L6: whatever keeps the flag off ends the round.
func TestARoundThatMayNotLeadDoesNotGoOn(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		round, ctx, cancel := wonRound(t, r, 1)
		defer cancel()
		r.election.mu.Lock()
		r.election.drained = true
		r.election.mu.Unlock()
		round.started(ctx)
		if round.ctx.Err() == nil {
			t.Error("the round goes on renewing")
		}
		if err := r.idle(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheGuardKnowsUntilWhenTheLockIsOurs(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		guard := newGuard(r.election.takeover, "", func(err error) { t.Errorf("lost: %v", err) })
		before := time.Now()
		r.store.set(late(time.Second))
		r.lock.set(late(time.Second))
		if err := guard.Create(t.Context(), c.heldBy(r.pod, r.boot, c.timing.LeaseDuration).LeaderElectionRecord); err != nil {
			t.Fatal(err)
		}
		want := before.Add(c.timing.LeaseDuration - margin)
		if got := guard.validity(); !got.Equal(want) {
			t.Errorf("valid for %s from before the calls, want %s", got.Sub(before), want.Sub(before))
		}
		r.lock.set(failing)
		if err := guard.Update(t.Context(), c.heldBy(r.pod, r.boot, c.timing.LeaseDuration).LeaderElectionRecord); err == nil {
			t.Error("no error")
		}
		if got := guard.validity(); !got.Equal(want) {
			t.Error("a failed renewal has changed the validity")
		}
	})
}

func TestTheGuardReadsATwinAsSomebodyElse(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		var lost error
		guard := newGuard(r.election.takeover, "", func(err error) { lost = err })
		for boot, want := range map[string]string{r.boot: r.pod, "": r.pod + "/", "boot-old": r.pod + "/boot-old"} {
			c.locks.overwrite(c.heldBy(r.pod, boot, 1<<30*time.Second))
			got, _, err := guard.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got.HolderIdentity != want {
				t.Errorf("boot %q: the holder is %q, want %q", boot, got.HolderIdentity, want)
			}
			if got.LeaseDurationSeconds != 60 {
				t.Errorf("a lease of %d s", got.LeaseDurationSeconds)
			}
		}
		if lost != nil {
			t.Errorf("a round that has not won was lost: %v", lost)
		}
		// And once it has won, a twin has taken the lock away, and its lock is not released.
		guard.finish(nil, time.Now())
		c.locks.overwrite(c.heldBy(r.pod, "boot-twin", c.timing.LeaseDuration))
		if _, _, err := guard.Get(t.Context()); err != nil || !errors.Is(lost, errTakenAway) {
			t.Errorf("lost: %v, %v", lost, err)
		}
		if err := guard.Update(t.Context(), c.heldBy("", "", time.Second).LeaderElectionRecord); !errors.Is(err, errNotOurs) {
			t.Errorf("released a twin's lock: %v", err)
		}
	})
}
