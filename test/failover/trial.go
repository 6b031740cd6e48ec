package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	// windowBefore and windowAfter are what a gap is looked for in: from before the event, to after a new leader's
	// first acknowledged write, or after what was done to the old one has been undone.
	windowBefore = time.Second
	windowAfter  = time.Second

	// strikeWithin is by how much the moment of the event varies: over a period of the Lease's renewal.
	strikeWithin = 2 * time.Second

	healthyLimit = 3 * time.Minute
	pollEvery    = 50 * time.Millisecond

	// roundLimit is how long writes are waited for after the event.
	roundLimit = time.Minute
)

// errNotAvailable ends a case that the server knows nothing of.
var errNotAvailable = errors.New("not available: the server does not offer it")

// round is what one came to.
type round struct {
	old, new        string // the leaders
	oldEpoch, epoch uint64
	gap             time.Duration
	acknowledged    int
	retried         int
	failed          []string
	how             string   // a word about the event, where rounds differ
	to              string   // whom leadership was to go to; "" if nobody was named
	wrong           []string // what must not be, other than a gap
}

// trial is a round under way.
type trial struct {
	site    lab.Site
	cluster *lab.Cluster
	api     apiServer
	rng     *rand.Rand
	load    *load

	before lab.View
	leader *lab.Replica
	others []*lab.Replica

	struck, healed, until time.Time // healed is zero where nothing heals
	round                 round
}

// newTrial waits for a healthy cluster, and returns when clients have written to the two replicas that do not lead
// for a while.
func newTrial(ctx context.Context, s lab.Site, c *lab.Cluster, api apiServer, client *http.Client, rng *rand.Rand) (*trial, error) {
	v, err := c.AwaitHealthy(ctx, healthyLimit)
	if err != nil {
		return nil, err
	}
	leader, err := c.Leader(v)
	if err != nil {
		return nil, err
	}
	t := &trial{site: s, cluster: c, api: api, rng: rng, before: v, leader: leader, others: c.Others(leader)}
	t.round.old = v.Leader
	t.load = startLoad(ctx, client, lab.URLs(t.others))
	if !lab.Pause(ctx, windowBefore+time.Duration(rng.Int64N(int64(strikeWithin)))) {
		t.load.stop()
		return nil, ctx.Err()
	}
	return t, nil
}

// strike is the moment of the event.
func (t *trial) strike() { t.struck = time.Now() }

// heal is the moment when what was done is undone.
func (t *trial) heal() { t.healed = time.Now() }

// resumed is the first write that shows that clients are served again: under a newer leader, or after the healing.
func (t *trial) resumed() (ack, bool) {
	return t.load.tally.snapshot().first(func(a ack) bool {
		return a.epoch > t.before.Epoch || !t.healed.IsZero() && a.at.After(t.healed)
	})
}

// awaitResumed waits until clients are served again, and returns false if that takes too long.
func (t *trial) awaitResumed(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if _, ok := t.resumed(); ok {
			return true
		}
		if !lab.Pause(ctx, pollEvery) {
			return false
		}
	}
}

// finish waits until clients are served again, ends the load after a while, and notes what it came to.
func (t *trial) finish(ctx context.Context) {
	if !t.awaitResumed(ctx, roundLimit) {
		t.wrong("no write was acknowledged within %s", roundLimit)
	}
	t.until = time.Now()
	if first, ok := t.resumed(); ok {
		t.until = first.at.Add(windowAfter)
		if after := t.healed.Add(windowAfter); after.After(t.until) {
			t.until = after
		}
	}
	lab.Pause(ctx, time.Until(t.until))
	t.load.stop()
}

// count notes what the load came to. It has been stopped.
func (t *trial) count() {
	counts := t.load.tally.snapshot()
	t.round.acknowledged, t.round.retried, t.round.failed = len(counts.acks), counts.retried, counts.failed
	t.round.gap = slices.Max(counts.gaps(t.struck.Add(-windowBefore), t.until))
}

func (t *trial) wrong(format string, args ...any) {
	t.round.wrong = append(t.round.wrong, fmt.Sprintf(format, args...))
}

// replaced checks that another replica leads now.
func (t *trial) replaced(now lab.View) {
	if now.Leader == t.before.Leader {
		t.wrong("%s leads again, under epoch %d", now.Leader, now.Epoch)
	}
}

// spared checks that the process of the old leader is the one that it was.
func (t *trial) spared(now lab.View) {
	if was, is := t.before.Boots()[t.before.Leader], now.Boots()[t.before.Leader]; was != is {
		t.wrong("the boot ID of %s was %q and is %q", t.before.Leader, was, is)
	}
}
