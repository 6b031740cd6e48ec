package workload

import (
	"context"
	"net/http"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// createElement creates a key of its own.
func (c *client) createElement(ctx context.Context) check.Op {
	o := c.begin(check.Create, c.key("%02d/%06d", c.place, c.number))
	r := putRequest(o)
	r.method = http.MethodPost
	o, _ = c.write(ctx, o, r, 0)
	return o
}

const counters = 2

// increment reads a counter, wherever, and increases it if it is still what was read. With lost keys it is sent once,
// and then forgotten: whoever begins anew does not know whether it was applied.
func (c *client) increment(ctx context.Context) check.Op {
	key := c.key("%d", c.random.IntN(counters))
	seen := c.read(ctx, c.begin(check.Read, key), c.anywhere())
	n, err := check.ParseCounter(seen.Value)
	if err != nil || seen.Outcome != check.Applied {
		seen.Outcome = check.NotApplied
		return seen // what is no counter was recorded, for the check to find
	}
	o := c.begin(check.Put, key)
	o.Value = check.CounterValue(n+1, o.ID())
	o.If = &check.Condition{Key: key, Value: seen.Value, Revision: seen.Written}
	attempts := 0
	if c.crew.workload == check.LostKey {
		attempts = 1
	}
	o, _ = c.write(ctx, o, c.conditional(putRequest(o), *o.If), attempts)
	return o
}

// readOwnWrite writes the client's key at one replica and reads it at another one.
func (c *client) readOwnWrite(ctx context.Context) check.Op {
	o := c.begin(check.Put, c.key("%d", c.place))
	o, at := c.write(ctx, o, putRequest(o), 0)
	if o.Outcome != check.Applied {
		return o
	}
	r := c.begin(check.Read, o.Keys...)
	r.MinRevision = o.Revision
	return c.read(ctx, r, c.elsewhere(at))
}
