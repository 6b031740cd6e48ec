package workload

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/leasehold/leasehold/test/chaos/check"
)

const (
	// registers are as many keys at a time. After a while the clients go on to new ones: that keeps the history of each short enough to
	// search.
	registers    = 4
	opsARegister = 400
	// impatience is the share of writes to registers that are not tried again.
	impatience = 0.1
)

// stepRegister reads a register linearizably, overwrites it, swaps it, or writes two of them at once.
func (c *client) stepRegister(ctx context.Context) check.Op {
	switch dice := c.random.Float64(); {
	case dice < 0.4:
		return c.look(ctx, c.register())
	case dice < 0.6:
		return c.putRegister(ctx)
	case dice < 0.85:
		return c.swap(ctx, c.register())
	}
	return c.batch(ctx)
}

func (c *client) register() string {
	return c.key("%d/%d", c.number/opsARegister, c.random.IntN(registers))
}

// patience is how often a write is sent: once, or as often as it takes.
func (c *client) patience() int {
	if c.random.Float64() < impatience {
		return 1
	}
	return 0
}

func (c *client) look(ctx context.Context, key string) check.Op {
	o := c.begin(check.Read, key)
	o.Linearizable = true
	o = c.read(ctx, o, c.anywhere())
	if o.Outcome == check.Applied {
		c.seen[key] = check.Condition{Key: key, Value: o.Value, Revision: o.Written}
	}
	return o
}

func (c *client) putRegister(ctx context.Context) check.Op {
	o := c.begin(check.Put, c.register())
	return c.remember(c.write(ctx, o, putRequest(o), c.patience()))
}

// swap overwrites a register if it is as the client has last seen it, which may be a while ago.
func (c *client) swap(ctx context.Context, key string) check.Op {
	seen, ok := c.seen[key]
	if !ok {
		return c.look(ctx, key) // the next time
	}
	o := c.begin(check.Put, key)
	o.If = &seen
	return c.remember(c.write(ctx, o, c.conditional(putRequest(o), seen), c.patience()))
}

// batch writes two registers in one transaction, perhaps if the first is as the client has last seen it.
func (c *client) batch(ctx context.Context) check.Op {
	key := c.register()
	other := c.register()
	for other == key {
		other = c.register()
	}
	o := c.begin(check.Batch, key, other)
	if seen, ok := c.seen[key]; ok && c.random.IntN(2) == 0 {
		o.If = &seen
	}
	return c.remember(c.write(ctx, o, c.batchRequest(o), c.patience()))
}

// remember keeps what o has told of its registers.
func (c *client) remember(o check.Op, _ int) check.Op {
	for _, key := range o.Keys {
		delete(c.seen, key)
		if o.Outcome == check.Applied {
			c.seen[key] = check.Condition{Key: key, Value: o.Value, Revision: o.Revision}
		}
	}
	return o
}

func putRequest(o check.Op) request {
	return request{
		method: http.MethodPut, path: "/v1/kv/" + o.Keys[0], body: []byte(o.Value),
		header: map[string]string{"Content-Type": "text/plain; charset=utf-8"},
	}
}

// conditional has r applied only if its key is as seen.
func (c *client) conditional(r request, seen check.Condition) request {
	if seen.Revision == 0 {
		r.header["If-None-Match"] = "*"
	} else {
		r.header["If-Match"] = `"` + c.w.token(seen.Revision) + `"`
	}
	return r
}

// transaction is the body of a batch.
type transaction struct {
	If   []condition `json:"if,omitempty"`
	Then []operation `json:"then"`
}

type condition struct {
	Key      string `json:"key"`
	Revision string `json:"revision,omitempty"`
	Exists   *bool  `json:"exists,omitempty"`
}

type operation struct {
	Put put `json:"put"`
}

type put struct {
	Key         string `json:"key"`
	Value       string `json:"value"`
	ContentType string `json:"content_type"`
}

func (c *client) batchRequest(o check.Op) request {
	var t transaction
	if seen := o.If; seen != nil && seen.Revision == 0 {
		t.If = append(t.If, condition{Key: seen.Key, Exists: new(bool)})
	} else if seen != nil {
		t.If = append(t.If, condition{Key: seen.Key, Revision: c.w.token(seen.Revision)})
	}
	for _, key := range o.Keys {
		t.Then = append(t.Then, operation{put{key, o.Value, "text/plain; charset=utf-8"}})
	}
	body, err := json.Marshal(t)
	if err != nil {
		panic(err) // a struct of strings
	}
	return request{method: http.MethodPost, path: "/v1/kv", body: body, header: map[string]string{"Content-Type": "application/json"}}
}
