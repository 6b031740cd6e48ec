package election

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// startApart has the store's own leadership stay on one replica, which takes over from a leader that is gone, and another one go first.
func (c *cluster) startApart(stays func(old *replica) *replica) (old, takesOver, goesFirst *replica) {
	c.start()
	old = c.leader()
	takesOver = stays(old)
	goesFirst = c.but(old, takesOver)[0]
	yes, no := true, false
	for _, r := range c.all() {
		r.first.Store(r == takesOver)
		r.apart.Store(&no)
		r.moveStore = func(context.Context) error { return nil }
	}
	goesFirst.apart.Store(&yes)
	return old, takesOver, goesFirst
}

func (c *cluster) another(old *replica) *replica { return c.but(old)[0] }

func TestWhoTakesOverIsNotWhoGoesFirst(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, takesOver, _ := c.startApart(c.another)
		old.vanish()
		within(c.t, later, takesOver.leads)
	})
}

func TestWhoGoesFirstNeedNotTakeOver(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, _, goesFirst := c.startApart(c.another)
		old.prepare = func(string) (string, error) { return "", errors.New("nobody is named") }
		if err := old.election.Handover(context.Background()); err != nil {
			c.t.Fatal(err)
		}
		goesFirst.succeeds(old, Graceful)
	})
}

func TestWhoIsNamedGoesFirst(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, named, _ := c.startApart(c.another)
		old.prepare = func(string) (string, error) { return named.pod, nil }
		if err := old.stepDown(""); err != nil {
			c.t.Fatal(err)
		}
		named.succeeds(old, Transfer)
	})
}

// The lock's release and the record come on different ways.
func TestWhoHearsLateThatItIsNamedGoesAtOnce(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, named, _ := c.startApart(c.another)
		old.prepare = func(string) (string, error) { return named.pod, nil }
		named.first.Store(false) // nor does it take over
		time.Sleep(time.Second)  // all follow the lock
		named.store.setCut(true)
		if err := old.stepDown(""); err != nil {
			c.t.Fatal(err)
		}
		time.Sleep(5 * poll)
		named.store.setCut(false)
		within(c.t, 4*poll, named.leads)
	})
}

// The others wait a moment for the one that is named, if it never comes, and then try at once: whoever of them goes first
// otherwise, and whenever it hears of the record.
func TestANamedPodThatNeverComesIsNotWaitedForLong(t *testing.T) {
	for name, late := range map[string]time.Duration{"all-hear-at-once": 0, "it-hears-late": holdBack / 3, "it-hears-very-late": 2 * holdBack} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s-goes-first-%t", name, first), func(t *testing.T) {
				bubble(t, 3, func(c *cluster) {
					old, other, idle := c.startApart(c.another)
					old.prepare = func(string) (string, error) { return "pod-9", nil }
					other.voter.Store(false)
					idle.apart.Store(&first)
					time.Sleep(1370 * time.Millisecond) // all follow the lock, and none is about to try by itself
					idle.store.setCut(late > 0)
					if err := old.stepDown(""); err != nil {
						c.t.Fatal(err)
					}
					always(c.t, late, idle.idle)
					idle.store.setCut(false)
					within(c.t, holdBack+4*poll, idle.leads)
				})
			})
		}
	}
}

// A leader that takes long to give up has not named its successor yet: who would take over from one that is gone waits for that.
func TestWhoTakesOverLetsALeaderNameItsSuccessor(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, takesOver, named := c.startApart(c.another)
		old.prepare = func(string) (string, error) { return named.pod, nil }
		old.store.set(only("resign", func(_ context.Context, _ call, do func() error) error {
			time.Sleep(resignLimit / 2)
			return do()
		}))
		done := make(chan error, 1)
		go func() { done <- old.stepDown(named.pod) }()
		always(c.t, resignLimit/3, takesOver.idle)
		if err := <-done; err != nil {
			c.t.Fatal(err)
		}
		named.succeeds(old, Transfer)
	})
}

// But not for ever.
func TestALeaderThatCannotGiveUpIsReplaced(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, takesOver, goesFirst := c.startApart(c.another)
		old.store.set(only("resign", hanging))
		go func() { _ = old.stepDown("") }()
		within(c.t, resignLimit+later, func() error {
			if takesOver.leads() == nil {
				return nil
			}
			return goesFirst.leads() // the lock is released in the end
		})
	})
}

// The store's leadership is nobody's concern in an election apart: who leads is asked all the time, and goes on leading.
func TestALeaderThatTheStoresLeaderAsksGoesOnLeading(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, _, _ := c.startApart(c.another)
		always(c.t, 4*c.timing.LeaseDuration, old.leads)
	})
}
