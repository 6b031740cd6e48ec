// Package loadgen loads a store in an open loop: each operation is due at a time of its own, whatever became of those before
// it, and its latency counts from then.
//
// Its one invariant: nothing is left out. An operation that no client is free for counts with all the time that it waits,
// also if it is never begun; and every acknowledged write is checked, by the next one to its key or at the end.
package loadgen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leasehold/leasehold/internal/client"
)

// Store is what is loaded: a client.Client.
type Store interface {
	Put(ctx context.Context, w client.Write) (client.Applied, error)
	Get(ctx context.Context, r client.Read) (client.Value, error)
	Delete(ctx context.Context, key string, first int) error
}

// Config says what the load is.
type Config struct {
	Rate         int           // operations due in a second
	Length       time.Duration // for how long
	Clients      int           // operations under way at once, at most
	Keys         int           // at least as many as clients
	ValueSize    int           // in bytes, at least MinValueSize
	ReadPercent  int           // of the operations
	Linearizable bool          // reads that are never behind, rather than local ones
	Timeout      time.Duration // how long an operation is tried; and how long after the end those that are due are still begun
}

// reachLimit is how long any replica may take to answer before there is no load at all.
const reachLimit = 5 * time.Second

// Load is one load. Fill, Run and Check are called once each, in that order; the rest may be called at any time.
type Load struct {
	cfg      Config
	store    Store
	prefix   string // of the keys: no two loads share it
	keys     []*register
	free     chan *register // those that nobody writes to at the moment
	schedule *schedule
	tally    *tally
}

// New makes a load on keys that nobody else has.
func New(cfg Config, store Store) *Load {
	l := &Load{
		cfg: cfg, store: store, prefix: "load/" + strings.ToLower(rand.Text()[:8]) + "/",
		free: make(chan *register, cfg.Keys), schedule: newSchedule(cfg), tally: newTally(),
	}
	for i := range cfg.Keys {
		r := newRegister(l.prefix, i, cfg.ValueSize)
		l.keys = append(l.keys, r)
		l.free <- r
	}
	return l
}

// Prefix is what the names of the keys begin with.
func (l *Load) Prefix() string { return l.prefix }

// Fill writes each key once. Where one cannot be written it returns why.
func (l *Load) Fill(ctx context.Context) error {
	if err := l.reach(ctx); err != nil {
		return fmt.Errorf("no replica answers: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(l.cfg.Clients)
	for i, r := range l.keys {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
			defer cancel()
			return l.write(ctx, r, i)
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("the keys could not be written: %w", err)
	}
	return nil
}

// reach finds out soon if nobody is there.
func (l *Load) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	_, err := l.store.Get(ctx, client.Read{Key: l.keys[0].key})
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	return err
}

// Run makes the operations and returns when the last one has ended. When ctx is done they are given up.
func (l *Load) Run(ctx context.Context) {
	l.tally.begin(time.Now())
	l.schedule.run(func(n int64, due time.Time) {
		err := l.operate(ctx, n)
		l.tally.note(l.kind(n), due, time.Now(), err)
	}, func(n int64, due time.Time) {
		l.tally.note(l.kind(n), due, time.Now(), errNotBegun)
	})
	l.tally.finish(time.Now())
}

// errNotBegun is of an operation that was due and that no client was free for.
var errNotBegun = errors.New("not begun")

// Stop ends the load early: nothing is due any more.
func (l *Load) Stop() { l.schedule.stop() }

// operate makes the n-th operation.
func (l *Load) operate(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	if l.kind(n) == write {
		r := <-l.free // there are as many as clients
		defer func() { l.free <- r }()
		return l.write(ctx, r, l.nth(n))
	}
	key := l.keys[mathrand.IntN(len(l.keys))].key
	_, err := l.store.Get(ctx, client.Read{Key: key, First: l.nth(n), Linearizable: l.cfg.Linearizable})
	if errors.Is(err, client.ErrNotFound) && !l.cfg.Linearizable {
		return nil // a replica may be that far behind
	}
	return err
}

// kind is that of the n-th operation.
func (l *Load) kind(n int64) kind {
	if l.readsBefore(n+1) > l.readsBefore(n) {
		return read
	}
	return write
}

// readsBefore is how many of the first n operations are reads: they are spread evenly.
func (l *Load) readsBefore(n int64) int64 { return n * int64(l.cfg.ReadPercent) / 100 }

// nth is the place of the n-th operation among those of its kind: each kind goes round the replicas.
func (l *Load) nth(n int64) int {
	if l.kind(n) == read {
		return int(l.readsBefore(n))
	}
	return int(n - l.readsBefore(n))
}

// Check reads every key back, and removes those that hold what they should.
func (l *Load) Check(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(l.cfg.Clients)
	for i, r := range l.keys {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
			defer cancel()
			intact, err := l.look(ctx, r, i)
			if err != nil {
				l.tally.notChecked(fmt.Errorf("%s: %w", r.key, err))
			}
			if !intact || l.store.Delete(ctx, r.key, i) != nil {
				l.tally.kept()
			}
			return nil
		})
	}
	_ = g.Wait() // none returns an error
}

// Result is what the load has come to. It is complete after Check.
func (l *Load) Result() Result { return l.tally.result() }

// Second is what has come about since the last call, or since the beginning.
func (l *Load) Second() Second {
	s := l.tally.second()
	s.Waiting = l.schedule.waiting()
	return s
}
