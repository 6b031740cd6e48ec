package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/leasehold/leasehold/test/lab"
)

// fake is a system in memory, with the faults that it is given.
type fake struct {
	mu     sync.Mutex
	values map[string]string

	fails       error // of every write of an operation, but for those of fill and check
	deaf        bool  // writes are acknowledged and dropped
	careless    bool  // conditions are ignored
	short       bool  // lists are
	moving      bool  // another node leads each time
	asked       int
	closed      bool
	interrupted context.CancelFunc
}

func newFake() *fake { return &fake{values: map[string]string{}} }

func (f *fake) system(name string) system {
	return system{name: name, title: strings.ToUpper(name), version: "1", start: func(context.Context, string) (cluster, error) {
		f.values, f.closed = map[string]string{}, false
		return f, nil
	}}
}

func (f *fake) leader(context.Context) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moving {
		f.asked++
	}
	return f.asked % nodes, nil
}

func (f *fake) connect(_ context.Context, n int, _ func(int) int) (clients []client, err error) {
	for range n {
		clients = append(clients, &fakeClient{fake: f, last: map[string]string{}})
	}
	return clients, nil
}

func (f *fake) processes() []*lab.Replica { return nil }

func (f *fake) close() { f.closed = true }

type fakeClient struct {
	*fake
	last map[string]string
}

func (c *fakeClient) close() {}

func (c *fakeClient) write(_ context.Context, key string, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.values) >= keyCount && c.interrupted != nil {
		c.interrupted()
	}
	if !c.deaf {
		c.values[key] = string(value)
	}
	return nil
}

func (c *fakeClient) read(_ context.Context, key string, _ bool) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.values[key]
	if !ok {
		return nil, errors.New("there is no " + key)
	}
	return []byte(value), nil
}

func (c *fakeClient) swap(_ context.Context, key string, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails != nil && !strings.HasSuffix(key, "checked") {
		return c.fails
	}
	if c.values[key] != c.last[key] && !c.careless {
		return errConflict
	}
	c.values[key], c.last[key] = string(value), string(value)
	return nil
}

func (c *fakeClient) list(_ context.Context, after string) (n int, err error) {
	if c.short {
		return listLimit - 1, nil
	}
	i, _ := slices.BinarySearch(keys[:], after)
	return min(listLimit, keyCount-1-i), nil
}

// lines are what was printed.
func lines(out *bytes.Buffer) []string { return strings.Split(strings.TrimSpace(out.String()), "\n") }
