package election

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/fake"
)

const (
	// soon is how long a takeover may take once the store's leadership is on the replica that takes over: the probes, and
	// room for one attempt.
	soon = time.Second
	// later is how long it may take where the leader has answered with the store's leadership there already.
	later = soon + answeredPatience
)

// elect starts the cluster and returns the leader, and another replica, which the store's leadership is on from now on.
func (c *cluster) elect() (old, next *replica) {
	c.t.Helper()
	c.start()
	old = c.leader()
	next = c.but(old)[0]
	next.first.Store(true)
	return old, next
}

func TestALeaderThatIsGoneIsReplacedBeforeItsLockRunsOut(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(c *cluster, old *replica)
	}{
		"killed": {func(_ *cluster, old *replica) {
			old.vanish()
			old.answers.set(refusing)
		}},
		"frozen or cut off": {func(_ *cluster, old *replica) { old.vanish() }},
		"restarted": {func(c *cluster, old *replica) {
			old.vanish()
			c.add(old.pod, old.boot+"-new")
			c.start()
		}},
		"its disk stalls": {func(_ *cluster, old *replica) { old.undecided.Store(int64(3 * time.Second)) }},
		"gave up, and could not release the lock": {func(_ *cluster, old *replica) {
			old.lock.set(only("update", failing))
			old.store.lastTerm().end(errors.New("a batch got no answer"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(c *cluster) {
				old, next := c.elect()
				test.happens(c, old)
				within(c.t, soon+followTick, next.leads)
			})
		})
	}
}

// Between the reading of the lock and its writing may lie a pause, in which the store's leadership goes elsewhere. What this replica
// has found out says nothing any more.
func TestWhoStoppedTakingOverMeanwhileTakesNothing(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		time.Sleep(c.timing.RetryPeriod / 10) // and so it will not renew the lock for a while
		old.answers.set(hanging)
		reads := make(chan struct{})
		next.store.set(only("read", func(_ context.Context, _ call, do func() error) error {
			if !next.takingOver() || !next.first.CompareAndSwap(true, false) {
				return do()
			}
			old.answers.set(nil)
			close(reads)
			next.store.set(nil)
			return do()
		}))
		within(c.t, later, func() error {
			select {
			case <-reads:
				return nil
			default:
				return errors.New("it does not take over")
			}
		})
		always(c.t, 3*c.timing.LeaseDuration, old.leads)
	})
}

// takingOver tells whether r has found the leader to be gone.
func (r *replica) takingOver() bool { return r.election.takeover.standing() != nil }

func TestALeaderThatIsBackTakesNothingBack(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		old.vanish()
		within(c.t, soon, next.leads)
		epoch := next.election.Leadership().Term.Epoch()
		old.revive()
		always(c.t, time.Minute, func() error {
			if err := next.leads(); err != nil {
				return err
			}
			if now := next.election.Leadership().Term.Epoch(); now != epoch {
				return fmt.Errorf("leads under epoch %d, did under %d", now, epoch)
			}
			return nil
		})
		eventually(c.t, old.idle)
	})
}

func TestOnlyTheStoresLeaderTakesOver(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		c.start()
		old := c.leader()
		old.vanish()
		others := c.but(old)
		always(c.t, c.timing.LeaseDuration-time.Second, func() error {
			return errors.Join(others[0].idle(), others[1].idle())
		})
	})
}

func TestALeaderThatAnswersKeepsLeading(t *testing.T) {
	for name, answers := range map[string]script{
		"at once":            nil,
		"one probe in two":   oneIn(2, hanging),
		"one probe in eight": oneIn(8, hanging),
		"after 200ms":        late(200 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(c *cluster) {
				old, _ := c.elect()
				old.answers.set(answers)
				always(c.t, time.Minute, old.leads)
				if claims := len(c.store.landed()); claims != 1 {
					c.t.Errorf("%d claims and resignations, want one", claims)
				}
			})
		})
	}
}

// oneIn has one call in n get through, and the others before it meet s.
func oneIn(n int, s script) script {
	var calls atomic.Int64
	return func(ctx context.Context, c call, do func() error) error {
		if calls.Add(1)%int64(n) != 0 {
			return s(ctx, c, do)
		}
		return do()
	}
}

// A winner that dies before its claim leaves a lock that names it and a record that names nobody who leads.
func TestAHolderThatNeverClaimedIsReplaced(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		other := c.but(old, next)[0]
		old.vanish()
		c.locks.overwrite(c.heldBy(other.pod, other.boot, c.timing.LeaseDuration))
		other.vanish()
		next.election.restartCampaign() // it reads the lock
		within(c.t, 2*soon, next.leads)
	})
}

func TestWritesGoOnWhileTheLockIsAway(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		l := old.election.Leadership()
		c.lockAway(away)
		always(c.t, 5*time.Minute, func() error {
			if !old.election.Leading() || l.Context.Err() != nil {
				return errors.New("the leader gave up")
			}
			return next.idle()
		})
		c.lockAway(nil)
		always(c.t, time.Minute, old.leads)
		if l.Context.Err() != nil {
			c.t.Error("the term ended when the lock was back")
		}
	})
}

// lockAway decides what becomes of every replica's calls to the lock.
func (c *cluster) lockAway(s script) {
	for _, r := range c.all() {
		r.lock.set(s)
	}
}

func TestALeaderThatIsGoneIsReplacedWhileTheLockIsAway(t *testing.T) {
	for name, outage := range map[string]script{
		"refusing": away,
		"never answers": func(ctx context.Context, _ call, _ func() error) error {
			waitChanged(ctx, nil, DefaultTiming.RenewDeadline/3) // as the client's own time-out has it
			return errAway
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(c *cluster) {
				old, next := c.elect()
				c.lockAway(outage)
				time.Sleep(time.Second)
				old.vanish()
				within(c.t, later+probedLockLimit, func() error {
					if !next.election.Leading() {
						return errors.New("nobody leads")
					}
					return nil
				})
				epoch := next.election.Leadership().Term.Epoch()
				time.Sleep(time.Minute)
				for _, r := range c.but(old) {
					r.lock.set(nil)
				}
				within(c.t, 2*c.timing.RetryPeriod+c.timing.RenewDeadline/3, next.leads) // it has the lock as well
				always(c.t, time.Minute, next.leads)
				if now := next.election.Leadership().Term.Epoch(); now != epoch {
					c.t.Errorf("leads under epoch %d, did under %d: the lock's return cost a term", now, epoch)
				}
			})
		})
	}
}

// The old leader is back with the lock in its name, and learns that it has been replaced. Its successor keeps the term.
func TestTheLocksReturnEndsNoHealthyTerm(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		c.lockAway(away)
		old.vanish()
		within(c.t, soon+probedLockLimit, func() error {
			if !next.election.Leading() {
				return errors.New("nobody leads")
			}
			return nil
		})
		epoch := next.election.Leadership().Term.Epoch()
		c.lockAway(nil)
		old.revive()
		eventually(c.t, next.leads)
		always(c.t, time.Minute, next.leads)
		if now := next.election.Leadership().Term.Epoch(); now != epoch {
			c.t.Errorf("leads under epoch %d, did under %d", now, epoch)
		}
	})
}

func TestAHandoverWhileTheLockIsAway(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		c.lockAway(away)
		time.Sleep(5 * time.Second) // by now everybody knows
		if err := old.election.Handover(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		within(c.t, soon, func() error {
			if !next.election.Leading() {
				return errors.New("nobody leads")
			}
			return nil
		})
	})
}

// What a server refuses is no outage: a missing permission must come to light.
func TestARefusalIsNoOutage(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, _ := c.elect()
		old.lock.set(func(context.Context, call, func() error) error {
			return apierrors.NewForbidden(lockResource, "lock", errors.New("no such right"))
		})
		within(c.t, c.timing.LeaseDuration, old.idle)
	})
}

func TestAVerdictIsVoidUnderAnotherRecord(t *testing.T) {
	t.Parallel()
	v := &verdict{record: Record{Pod: "pod-0", Revision: 3}}
	if err := v.check(Record{Pod: "pod-0", Revision: 3}); err != nil {
		t.Error(err)
	}
	if err := v.check(Record{Pod: "pod-1", Revision: 4}); !errors.Is(err, errRecordChanged) {
		t.Errorf("got %v", err)
	}
	if err := (*verdict)(nil).check(Record{Revision: 4}); err != nil {
		t.Error(err)
	}
}

func TestWhenTheAPIServerIsAway(t *testing.T) {
	t.Parallel()
	lock := NewLeaseLock(LeaseLockConfig{Leases: fake.NewClientset().CoordinationV1(), Watches: fake.NewClientset().CoordinationV1()})
	for _, test := range []struct {
		err  error
		away bool
	}{
		{&url.Error{Op: "Get", Err: syscall.ECONNREFUSED}, true},
		{&url.Error{Op: "Get", Err: io.EOF}, true},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), true},
		{apierrors.NewServiceUnavailable("starting"), true},
		{apierrors.NewInternalError(errors.New("etcd is gone")), true},
		{apierrors.NewServerTimeout(lockResource, "get", 1), true},
		{apierrors.NewTooManyRequests("busy", 1), true},
		{apierrors.NewUnauthorized("who are you"), false},
		{apierrors.NewForbidden(lockResource, "lock", errors.New("no")), false},
		{apierrors.NewNotFound(lockResource, "lock"), false},
		{apierrors.NewConflict(lockResource, "lock", errors.New("changed")), false},
		{errors.New("anything else"), false},
		{context.Canceled, false},
		{&url.Error{Op: "Get", Err: context.Canceled}, false},
		{&url.Error{Op: "Get", Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}, false},
	} {
		if got := lock.Away(test.err); got != test.away {
			t.Errorf("%v: away is %t", test.err, got)
		}
	}
}

// While a leader that can no longer resign drains, it is not spared.
func TestADrainingLeaderThatCannotCommitIsReplaced(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		old.store.set(hanging) // its disk stalls
		old.store.setCut(true)
		ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Second)
		defer cancel()
		handed := make(chan error, 1)
		go func() { handed <- old.election.Handover(ctx) }()
		within(c.t, soon, next.leads)
		if err := <-handed; err == nil {
			c.t.Error("a record that cannot be written was resigned")
		}
	})
}

func TestWhoWasReplacedTakesOverFromItsSuccessor(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		old.vanish()
		within(c.t, soon, next.leads)
		old.revive()
		eventually(c.t, old.idle)
		time.Sleep(200 * time.Millisecond)
		next.vanish()
		next.first.Store(false)
		old.first.Store(true)
		within(c.t, soon, old.leads)
	})
}

// Two of five die: the others have a majority still.
func TestAWinnerThatDiesBeforeItsClaimIsReplaced(t *testing.T) {
	bubble(t, 5, func(c *cluster) {
		old, next := c.elect()
		third := c.but(old, next)[0]
		next.store.set(only("claim", hanging))
		old.vanish()
		within(c.t, soon, func() error {
			if c.locks.holder() != next.name() {
				return errors.New("the lock is not taken yet")
			}
			return nil
		})
		next.vanish()
		next.first.Store(false)
		third.first.Store(true)
		within(c.t, 2*soon, third.leads)
	})
}

// slowly has the server hear of a call after d.
func slowly(d time.Duration) script {
	return func(ctx context.Context, _ call, do func() error) error {
		waitChanged(ctx, nil, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return do()
	}
}

func TestSlowAttemptsAreNotCutOff(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		old, next := c.elect()
		next.lock.set(slowly(900 * time.Millisecond))
		next.store.set(only("read", slowly(1500*time.Millisecond)))
		old.vanish()
		within(c.t, 8*time.Second, func() error {
			if !next.election.Leading() {
				return errors.New("nobody leads")
			}
			return nil
		})
	})
}

// One failed request, long before the leader dies, is no reason to do without the lock.
func TestABlipOfTheLockDoesNotPutATakeoverOff(t *testing.T) {
	for _, claim := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(claim.String(), func(t *testing.T) {
			bubble(t, 3, func(c *cluster) {
				old, next := c.elect()
				next.store.set(only("claim", slowly(claim)))
				time.Sleep(5 * time.Second)
				next.lock.set(away)
				next.election.restartCampaign() // it tries the lock
				time.Sleep(poll)
				next.lock.set(nil)
				old.vanish()
				within(c.t, later, next.leads)
			})
		})
	}
}

// The lock is back between the attempt that did without it and the first renewal, which is immediate.
func TestTheLocksReturnDuringATakeoverEndsNoRound(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		next.store.set(only("claim", slowly(50*time.Millisecond)))
		next.lock.set(only("get", func(context.Context, call, func() error) error {
			next.lock.set(nil)
			return errAway
		}))
		old.vanish()
		within(c.t, 2*soon, next.leads)
	})
}

func TestAnOutageDoesNotSetTheCountOfTransitionsBack(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		record, _, _ := c.locks.get()
		record.LeaderTransitions = 41
		c.locks.overwrite(&record)
		time.Sleep(3 * c.timing.RetryPeriod)
		next.election.restartCampaign()
		time.Sleep(poll) // it has read the lock since the leader's last renewal
		before, _, _ := c.locks.get()
		c.lockAway(away)
		old.vanish()
		time.Sleep(2 * time.Second)
		for _, r := range c.but(old) {
			r.lock.set(nil)
		}
		eventually(c.t, next.leads)
		if after, _, _ := c.locks.get(); after.LeaderTransitions <= before.LeaderTransitions {
			c.t.Errorf("%d transitions, there were %d", after.LeaderTransitions, before.LeaderTransitions)
		}
	})
}
