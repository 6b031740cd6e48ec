package election

import (
	"context"
	"testing"
	"time"
)

// storeLeads has the store's own leadership on r.
func (c *cluster) storeLeads(r *replica) {
	for _, other := range c.all() {
		other.first.Store(other == r)
		other.elsewhere.Store(other != r)
	}
}

// cutProbes has r ask nobody and answer nobody, and changes nothing else of it.
func (r *replica) cutProbes() {
	r.asks.set(hanging)
	r.answers.set(hanging)
}

// Such a replica cannot tell a leader that is gone from one that it alone has lost sight of.
func TestALeadershipDoesNotGoToAndFroWithAReplicaThatCanAskNobody(t *testing.T) {
	for name, happens := range map[string]func(c *cluster, leader, cut *replica){
		"the store's leadership comes to it": func(c *cluster, _, cut *replica) {
			cut.cutProbes()
			c.storeLeads(cut)
		},
		"it has the store's leadership already": func(c *cluster, _, cut *replica) {
			c.storeLeads(cut)
			time.Sleep(time.Second) // it has asked
			cut.cutProbes()
		},
		"it leads, and the store's leadership goes away": func(c *cluster, leader, cut *replica) {
			leader.cutProbes()
			c.storeLeads(cut)
		},
		"it does not reach the lock either": func(c *cluster, _, cut *replica) {
			cut.cutProbes()
			cut.lock.set(away)
			c.storeLeads(cut)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(c *cluster) {
				t := c.t
				for _, r := range c.all() {
					r.store.set(only("claim", late(poll/2))) // who is replaced hears of it first
					r.fetch = func(context.Context) error {
						c.storeLeads(r)
						return nil
					}
				}
				c.start()
				leader := c.leader()
				c.storeLeads(leader)
				time.Sleep(time.Minute)
				happens(c, leader, c.but(leader)[0])
				time.Sleep(5 * time.Minute)
				if claims := c.store.claims() - 1; claims > 1 {
					t.Errorf("leadership has changed %d times in five minutes:\n%v", claims, c.store.landed())
				}
				if c.leading() == nil {
					t.Error("nobody leads")
				}
			})
		})
	}
}
