package workload

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// client takes one step after another, and has one operation under way at a time.
type client struct {
	w      *Workload
	crew   crew
	name   string
	place  int // among the clients of its crew
	random *rand.Rand
	number int // of operations so far

	// seen is what registers held when the client last looked.
	seen map[string]check.Condition
}

// seedOf tells the clients of one seed apart.
func seedOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// run takes steps at an even pace, until the workload stops, and then the last one until it succeeds.
func (c *client) run(ctx context.Context, pace time.Duration) {
	first := time.Duration(c.random.Int64N(int64(pace) + 1)) // the clients of a crew take turns
	if c.begun(ctx, time.After(first)) {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for c.begun(ctx, tick.C) {
			c.crew.step(c, ctx)
		}
	}
	for c.crew.last(c, ctx).Outcome != check.Applied {
		if !c.pause(ctx, retryPause) {
			c.w.unsettle(c.name)
			return
		}
	}
}

// begun waits for the time of the next step; it returns false if the workload stops first.
func (c *client) begun(ctx context.Context, next <-chan time.Time) bool {
	select {
	case <-c.w.stopping:
		return false
	case <-ctx.Done():
		return false
	case <-next:
		return true
	}
}

// pause returns false if ctx is done first.
func (c *client) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// begin makes the client's next operation. A write's value is its name.
func (c *client) begin(kind check.Kind, keys ...string) check.Op {
	o := check.Op{Workload: c.crew.workload, Client: c.name, Number: c.number, Kind: kind, Keys: keys}
	if kind != check.Read {
		o.Value = o.ID()
	}
	c.number++
	return o
}

// key is one of the workload's.
func (c *client) key(format string, args ...any) string {
	return fmt.Sprintf("%s/%s/%s", c.w.cfg.Name, c.crew.workload, fmt.Sprintf(format, args...))
}

// anywhere is one of the replicas.
func (c *client) anywhere() int { return c.random.IntN(len(c.w.cfg.URLs)) }

// elsewhere is another one of them, if there is one.
func (c *client) elsewhere(than int) int {
	n := len(c.w.cfg.URLs)
	if n == 1 {
		return than
	}
	return (than + 1 + c.random.IntN(n-1)) % n
}
