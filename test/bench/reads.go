package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/test/lab"
	"github.com/leasehold/leasehold/test/report"
)

// readsCommand has this program measure what it brings to keep reads off the leader.
const readsCommand = "reads"

// The load on the leader. It leaves the machine room, so that what is measured is what a request costs, and not how many there can be.
const (
	readers, writers = 64, 8
	writesPerSecond  = 200
	readsPerSecond   = 2000
	listsPerSecond   = 200
)

// readsCase is a load on a leader that does something with its reads.
type readsCase struct {
	mode string // of --leader-reads
	what string // the operation; "" for writes alone
	rate int    // of what, in a second
}

var readsCases = []readsCase{
	{api.ReadsLocal, "", 0},
	{api.ReadsLocal, opRead, readsPerSecond},
	{api.ReadsProxy, opRead, readsPerSecond},
	{api.ReadsLocal, opList, listsPerSecond},
	{api.ReadsProxy, opList, listsPerSecond},
}

// readsPoint is what a case came to. CPU is in parts of a core.
type readsPoint struct {
	leader, others float64
	read, write    spread
	passed         float64 // of the reads, by the leader
}

// spread is how long operations took.
type spread struct{ p50, p99 time.Duration }

func spreadOf(took []time.Duration) spread {
	return spread{report.Percentile(took, 50), report.Percentile(took, 99)}
}

// runReads measures the cases, and reports.
func runReads(ctx context.Context, args []string, out io.Writer) error {
	var cfg config
	f := flag.NewFlagSet("bench "+readsCommand, flag.ContinueOnError)
	cfg.basic(f)
	if err := readFlags(f, args, out, func() error { return cfg.validate(f.Args()) }); err != nil {
		return err
	}
	sys, err := newLeasehold(ctx, cfg)
	if err != nil {
		return err
	}
	s := &screen{out: out}
	return inFolder(ctx, cfg, s, func(dir string, run runInfo) error {
		s.beginReads(sys.version, run, time.Duration(cfg.runs*len(readsCases))*(startUp+cfg.cell+cfg.warmUp()))
		points := make([][]readsPoint, len(readsCases))
		for n := range cfg.runs {
			for i, c := range readsCases {
				p, err := c.measure(ctx, cfg, filepath.Join(dir, fmt.Sprintf("%d-%d", n+1, i)))
				if err != nil {
					return fmt.Errorf("%s: %w", c, err)
				}
				points[i] = append(points[i], p)
				s.readsPoint(n+1, c, p)
			}
		}
		s.readsTable(points)
		return nil
	})
}

func (c readsCase) String() string {
	if c.what == "" {
		return "writes alone"
	}
	return fmt.Sprintf("%s of %d a second, %s", c.what, c.rate, c.mode)
}

// measure starts replicas with empty disks, loads their leader once, and ends them.
func (c readsCase) measure(ctx context.Context, cfg config, dir string) (p readsPoint, err error) {
	if err := makeFolder(dir); err != nil {
		return p, err
	}
	l, err := startLeasehold(ctx, cfg.server, dir, nodes, "--leader-reads", c.mode)
	if err != nil {
		return p, err
	}
	defer l.close()
	if err := errors.Join(fill(ctx, l), ctx.Err()); err != nil {
		return p, err
	}
	leader, err := awaitLeader(ctx, l)
	if err != nil {
		return p, err
	}
	begin := time.Now().Add(cfg.warmUp())
	return c.load(ctx, l, leader, window{begin, begin.Add(cfg.cell)})
}

func (c readsCase) load(ctx context.Context, l leasehold, leader int, w window) (p readsPoint, err error) {
	servers, err := pids(l.processes())
	if err != nil {
		return p, err
	}
	clients, err := l.connect(ctx, readers+writers, func(int) int { return leader })
	if err != nil {
		return p, err
	}
	defer closeAll(clients)
	limit, cancel := context.WithDeadline(ctx, w.to.Add(requestLimit))
	defer cancel()
	var reads, writes tally
	waitWrites := writes.startPaced(limit, write, clients[readers:], w, writesPerSecond)
	waitReads := reads.startPaced(limit, c.do(), clients[:readers], w, c.rate)
	leaderCPU, all, err := cpuWithin(ctx, servers, leader, w)
	waitReads()
	waitWrites()
	if err := errors.Join(err, ctx.Err()); err != nil {
		return p, err
	}
	if failed := append(reads.errors, writes.errors...); len(failed) > 0 {
		return p, fmt.Errorf("%d clients failed: %s", len(failed), failed[0])
	}
	p = readsPoint{leader: leaderCPU, others: all - leaderCPU, write: spreadOf(writes.took)}
	if c.what != "" {
		p.read = spreadOf(reads.took)
		p.passed, err = l.passed(leader)
	}
	return p, err
}

func (c readsCase) do() func(context.Context, *worker) error {
	if c.what == opList {
		return list
	}
	return readLocal
}

// cpuWithin waits for the window, and returns what the leader and all servers used in it, in parts of a core.
func cpuWithin(ctx context.Context, servers []int, leader int, w window) (ofLeader, all float64, err error) {
	var at [2][2]usage
	for i, when := range []time.Time{w.from, w.to} {
		if !lab.Pause(ctx, time.Until(when)) {
			return 0, 0, ctx.Err()
		}
		one, err := usageOf(servers[leader : leader+1])
		every, errAll := usageOf(servers)
		if err := errors.Join(err, errAll); err != nil {
			return 0, 0, err
		}
		at[i] = [2]usage{one, every}
	}
	part := func(n int) float64 { return (at[1][n].cpu - at[0][n].cpu).Seconds() / w.length().Seconds() }
	return part(0), part(1), nil
}

// startPaced has the clients begin so many operations a second, evenly, whatever becomes of those before; how long one takes counts from when it was
// due. What it returns waits until they have ended.
func (t *tally) startPaced(ctx context.Context, do func(context.Context, *worker) error, clients []client, w window, perSecond int) (wait func()) {
	if perSecond == 0 {
		return func() {}
	}
	every := time.Duration(len(clients)) * time.Second / time.Duration(perSecond)
	begin := time.Now()
	return t.startAll(clients, func(i int, c *worker) ([]time.Duration, error) {
		first := begin.Add(every * time.Duration(i) / time.Duration(len(clients)))
		return workPaced(ctx, do, c, w, first, every)
	})
}

// workPaced is one client, until the window's end or its first error.
func workPaced(ctx context.Context, do func(context.Context, *worker) error, w *worker, count window, first time.Time, every time.Duration) (took []time.Duration, err error) {
	for due := first; due.Before(count.to); due = due.Add(every) {
		if !lab.Pause(ctx, time.Until(due)) {
			return took, ctx.Err()
		}
		if err := do(ctx, w); err != nil {
			return took, err
		}
		if !due.Before(count.from) {
			took = append(took, time.Since(due))
		}
	}
	return took, nil
}
