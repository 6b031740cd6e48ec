// Package client is a client of the HTTP API that knows several replicas.
//
// Its one invariant: a request is sent again, to whichever replica, only under the idempotency key that it had at first. So
// however often a write is sent, it is applied once, and what the last answer says counts.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The outcomes of a write that is not known to be applied.
var (
	// ErrNotApplied is of a write that has certainly not been applied, by any attempt.
	ErrNotApplied = errors.New("not applied")
	// ErrCondition is of a write whose condition did not hold. It has certainly not been applied.
	ErrCondition = errors.New("the condition does not hold")
	// ErrUnknown is of a write of which nobody has said what became of it. It may still be applied later on.
	ErrUnknown = errors.New("outcome unknown")
)

var (
	// ErrNotFound is of a key that does not exist.
	ErrNotFound = errors.New("there is no such key")
	// ErrNotRead is of a read that no replica has answered.
	ErrNotRead = errors.New("not read")
)

// Client sends requests to several replicas. Its methods may be called from any goroutine. They block until a request has
// been answered, or until their context is done: it has to have a deadline. That is to be within two minutes of a write's
// first attempt, for as long as outcomes are remembered.
type Client struct {
	http     *http.Client
	replicas []*replica
}

// New makes a client of the replicas at urls, such as "http://127.0.0.1:8080".
func New(client *http.Client, urls ...string) *Client {
	c := &Client{http: client}
	for _, url := range urls {
		c.replicas = append(c.replicas, &replica{url: strings.TrimSuffix(url, "/")})
	}
	return c
}

// Write is a value to be put, and under which conditions.
type Write struct {
	Key            string // without anything to be escaped in a URL
	Value          []byte // not empty
	IdempotencyKey string // no other write's
	First          int    // which replica is asked first, in a round of all
	IfRevision     string // the key has to be at it; "" for no such condition
	IfNew          bool   // the key must not exist
}

// Applied is what is known of a write that has been applied.
type Applied struct {
	Revision string
	Epoch    uint64 // under which it was decided; 0 where the answer does not say
}

// Put writes. The error is ErrNotApplied, ErrCondition or ErrUnknown.
func (c *Client) Put(ctx context.Context, w Write) (Applied, error) {
	header := map[string]string{"Content-Type": "text/plain; charset=utf-8", "Idempotency-Key": w.IdempotencyKey}
	if w.IfRevision != "" {
		header["If-Match"] = `"` + w.IfRevision + `"`
	}
	if w.IfNew {
		header["If-None-Match"] = "*"
	}
	t := c.try(ctx, w.First, request{http.MethodPut, path(w.Key), header, w.Value})
	switch {
	case t.answer.Status == http.StatusOK:
		epoch, _ := strconv.ParseUint(t.answer.Header.Get("Leasehold-Epoch"), 10, 64) // 0 is no newer one
		return Applied{revision(t.answer), epoch}, nil
	case t.answer.Status == http.StatusPreconditionFailed:
		return Applied{}, t.failed(ErrCondition)
	case t.open:
		return Applied{}, t.failed(ErrUnknown)
	}
	return Applied{}, t.failed(ErrNotApplied)
}

// Read is a key to be read.
type Read struct {
	Key          string
	First        int  // which replica is asked first, in a round of all
	Linearizable bool // never behind
}

// Value is what a key holds.
type Value struct {
	Value    []byte
	Revision string
}

// Get reads. The error is ErrNotFound or ErrNotRead.
func (c *Client) Get(ctx context.Context, r Read) (Value, error) {
	url := path(r.Key)
	if r.Linearizable {
		url += "?consistency=linearizable"
	}
	t := c.try(ctx, r.First, request{method: http.MethodGet, path: url})
	switch t.answer.Status {
	case http.StatusOK:
		return Value{t.answer.Body, revision(t.answer)}, nil
	case http.StatusNotFound:
		return Value{}, t.failed(ErrNotFound)
	}
	return Value{}, t.failed(ErrNotRead)
}

// Delete removes a key, whatever it holds.
func (c *Client) Delete(ctx context.Context, key string, first int) error {
	t := c.try(ctx, first, request{method: http.MethodDelete, path: path(key)})
	if t.answer.Status != http.StatusNoContent {
		return t.failed(ErrUnknown)
	}
	return nil
}

func path(key string) string { return "/v1/kv/" + key }

func revision(a Answer) string { return strings.Trim(a.Header.Get("ETag"), `"`) }

// failed is outcome with the reasons for it.
func (t trial) failed(outcome error) error {
	return fmt.Errorf("%w: %s", outcome, strings.Join(t.reasons, "; then "))
}
