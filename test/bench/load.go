package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/leasehold/leasehold/test/lab"
	"github.com/leasehold/leasehold/test/report"
)

// figures is what a cell came to, once or as the medians over runs.
type figures struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // of the servers, for 1,000 operations
	ownCPU    time.Duration // of this program, for 1,000 operations
	memory    int64         // resident, of the servers, at the end
	errors    []string      // of all runs
}

// window is the part of a cell that counts.
type window struct{ from, to time.Time }

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// load has one client after another operation as soon as the one before has ended, with every client at once.
// What ends within the window counts.
func load(ctx context.Context, c cluster, o operation, n int, warmUp, length time.Duration) (figures, error) {
	leader, err := awaitLeader(ctx, c)
	if err != nil {
		return figures{}, err
	}
	servers, err := pids(c.processes())
	if err != nil {
		return figures{}, err
	}
	clients, err := c.connect(ctx, n, func(i int) int { return o.at(leader, i) })
	if err != nil {
		return figures{}, err
	}
	defer closeAll(clients)
	begin := time.Now().Add(warmUp)
	w := window{begin, begin.Add(length)}
	limit, cancel := context.WithDeadline(ctx, w.to.Add(requestLimit))
	defer cancel()
	var all tally
	wait := all.startAll(clients, func(_ int, c *worker) ([]time.Duration, error) { return work(limit, o, c, w) })
	used, err := usedWithin(ctx, servers, w)
	wait()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return figures{}, err
	}
	now, err := awaitLeader(ctx, c)
	if now != leader && err == nil {
		all.errors = append(all.errors, fmt.Sprintf("the leader did not stay the same: node %d, then %d", leader, now))
	}
	return all.figures(used), err
}

// tally is what the clients of a cell have done.
type tally struct {
	mu     sync.Mutex
	took   []time.Duration
	errors []string
}

// startAll has each client do its work, given its number. What it returns waits until they have ended.
func (t *tally) startAll(clients []client, work func(i int, w *worker) ([]time.Duration, error)) (wait func()) {
	var working sync.WaitGroup
	for i, c := range clients {
		working.Go(func() {
			took, err := work(i, newWorker(c, strconv.Itoa(len(clients)), i))
			t.mu.Lock()
			defer t.mu.Unlock()
			t.took = append(t.took, took...)
			if err != nil {
				t.errors = append(t.errors, err.Error())
			}
		})
	}
	return working.Wait
}

// work is one client, until the window's end or its first error.
func work(ctx context.Context, o operation, w *worker, count window) (took []time.Duration, err error) {
	for before := time.Now(); before.Before(count.to) && ctx.Err() == nil; {
		if err := o.do(ctx, w); err != nil {
			return took, err
		}
		after := time.Now()
		if after.After(count.from) && !after.After(count.to) {
			took = append(took, after.Sub(before))
		}
		before = after
	}
	return took, nil
}

// used is what was used within a window.
type used struct {
	length       time.Duration
	servers, own time.Duration // CPU
	memory       int64         // of the servers, at the end
}

// usedWithin waits for the window and returns after its end.
func usedWithin(ctx context.Context, servers []int, w window) (used, error) {
	if !lab.Pause(ctx, time.Until(w.from)) {
		return used{}, ctx.Err()
	}
	first, err := usageOf(servers)
	own, errOwn := ownCPU()
	if err := errors.Join(err, errOwn); err != nil {
		return used{}, err
	}
	if !lab.Pause(ctx, time.Until(w.to)) {
		return used{}, ctx.Err()
	}
	last, err := usageOf(servers)
	ownLast, errOwn := ownCPU()
	return used{w.length(), last.cpu - first.cpu, ownLast - own, last.memory}, errors.Join(err, errOwn)
}

func (t *tally) figures(u used) figures {
	f := figures{
		perSecond: float64(len(t.took)) / u.length.Seconds(), p50: report.Percentile(t.took, 50), p99: report.Percentile(t.took, 99),
		memory: u.memory, errors: t.errors,
	}
	if len(t.took) == 0 {
		if len(f.errors) == 0 {
			f.errors = []string{"no operation ended in time to be counted"}
		}
		return f
	}
	f.cpu, f.ownCPU = u.servers*1000/time.Duration(len(t.took)), u.own*1000/time.Duration(len(t.took))
	return f
}
