package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/test/chaos/check"
	"github.com/leasehold/leasehold/test/chaos/workload"
	"github.com/leasehold/leasehold/test/lab"
	"github.com/leasehold/leasehold/test/report"
)

const (
	startLimit = 3 * time.Minute
	// lateLimit is how much longer a cluster is waited for that has not recovered in time, so that the run can go on.
	lateLimit = 3 * time.Minute

	// A fault begins only when clients have been served well: this many acknowledged writes a second, for so long.
	leastRate = 100
	servedFor = 2 * time.Second
	// loadLimit is how long that is waited for.
	loadLimit = time.Minute

	// slow is from when on what is in the way of a recovery is worth a remark.
	slow = 3 * time.Second

	settleLimit = 2 * time.Minute
	finalLimit  = 2 * time.Minute
	// readLimit is how long it may take to read all that there is from every replica: after an hour, hundreds of thousands
	// of entries.
	readLimit = 20 * time.Minute
)

// errHarness is the failure of the program itself: nothing was found out, then.
var errHarness = errors.New("the harness failed")

var errInterrupted = errors.New("interrupted; nothing was checked")

// rig is a run.
type rig struct {
	cfg    config
	arena  *arena
	load   *workload.Workload
	screen *screen
	began  time.Time
	result result
}

// result is what a run came to.
type result struct {
	Incidents  []incident        `json:"incidents"`
	Elections  uint64            `json:"elections"`
	Took       time.Duration     `json:"took"`
	Operations int               `json:"operations"`
	Totals     check.Measures    `json:"totals"`
	Broken     []check.Violation `json:"broken"` // promises, by what clients saw
	unfinished error
}

// incident is a fault that struck.
type incident struct {
	Number    int           `json:"number"`
	Fault     string        `json:"fault"`
	Target    string        `json:"target"`
	At        time.Duration `json:"at"` // since the start of the run
	Lasted    time.Duration `json:"lasted"`
	Recovery  time.Duration `json:"recovery"` // from its end until the cluster was healthy
	Gap       time.Duration `json:"gap"`      // without an acknowledged write
	Failed    int           `json:"failed"`   // writes that were given up, for any reason
	Retried   int           `json:"retried"`
	Restarts  int           `json:"restarts"` // of replicas that had ended by themselves
	Leader    string        `json:"leader"`   // before
	Successor string        `json:"successor"`
	Remarks   []string      `json:"remarks,omitempty"`
	Broken    []string      `json:"broken,omitempty"`
}

// broken tells whether any promise was.
func (r result) broken() bool {
	for _, i := range r.Incidents {
		if len(i.Broken) > 0 {
			return true
		}
	}
	return len(r.Broken) > 0
}

// rampage makes the arena, strikes it, and reports. Whatever it has made is gone when it returns, but for the folder of a run
// that found something.
func rampage(ctx context.Context, cfg config, s lab.Site, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "leasehold-chaos-")
	if err != nil {
		return err
	}
	r := &rig{cfg: cfg, screen: &screen{out: out}, began: time.Now()}
	r.screen.begin(cfg)
	defer func() {
		if err == nil || ctx.Err() != nil {
			err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		err = errors.Join(err, fmt.Errorf("the histories, the logs and the schedule are in %s", dir))
	}()
	r.arena, err = newArena(ctx, cfg.server, dir, s)
	if err != nil {
		return fmt.Errorf("%w: %w", errHarness, err)
	}
	defer func() { err = errors.Join(err, r.arena.close()) }()
	if err := r.run(ctx); err != nil {
		return err
	}
	return r.report(ctx)
}

// run strikes until the schedule is over, and checks what has come of it.
func (r *rig) run(ctx context.Context) error {
	first, err := r.arena.recovered(ctx, startLimit)
	if err != nil {
		return fmt.Errorf("%w: %w", errHarness, err)
	}
	members, err := r.members()
	defer closeAll(members)
	if err != nil {
		return err
	}
	r.load = workload.Start(ctx, workload.Config{URLs: lab.URLs(r.arena.cluster.Replicas), Seed: r.cfg.seed, Rate: r.cfg.rate, Etcd: members})
	r.result.unfinished = r.strikeAll(ctx)
	r.result.Took = time.Since(r.began)
	if ctx.Err() != nil {
		_ = r.load.Stop(ctx) // nobody asks any more how it ends
		r.screen.interrupted()
		return errInterrupted
	}
	return r.check(ctx, first.view)
}

func (r *rig) members() (members []*clientv3.Client, err error) {
	for i := range lab.ReplicaCount {
		client, err := r.arena.site.Etcd(i)
		if err != nil {
			return members, err
		}
		members = append(members, client)
	}
	return members, nil
}

func closeAll(members []*clientv3.Client) {
	for _, m := range members {
		_ = m.Close() // it was only for looking
	}
}

// strikeAll returns an error where it could not go on.
func (r *rig) strikeAll(ctx context.Context) error {
	schedule := newSchedule(r.cfg)
	until := time.Now().Add(r.cfg.duration)
	for ctx.Err() == nil {
		if !schedule.fixed && time.Now().After(until) {
			return nil
		}
		name, rng, ok := schedule.next()
		if !ok {
			return nil
		}
		if err := r.strike(ctx, faultOf(name), rng); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// served waits until the cluster is healthy and clients are served well, both at the same time.
func (r *rig) served(ctx context.Context) (recovery, error) {
	restarts := 0
	for limit := time.Now().Add(loadLimit); ; {
		healthy, err := r.arena.recovered(ctx, loadLimit)
		restarts += healthy.restarts
		healthy.restarts = restarts
		if err != nil {
			return healthy, fmt.Errorf("the run ends early: the cluster is not healthy, and no fault is at work: %w", err)
		}
		m := r.load.Measure(time.Now().Add(-servedFor), time.Now())
		if m.PerSecond >= leastRate {
			return healthy, nil
		}
		if time.Now().After(limit) {
			return healthy, fmt.Errorf("%w: only %.0f writes a second are acknowledged", errHarness, m.PerSecond)
		}
	}
}

// strike has one fault strike, waits until the cluster has recovered from it, and notes what it came to.
func (r *rig) strike(ctx context.Context, f fault, rng *rand.Rand) error {
	healthy, err := r.served(ctx)
	if err != nil {
		return err
	}
	before, caught := healthy.view, r.arena.trap.caught.Load()
	s, err := newStrike(r.arena, rng, before)
	if err != nil {
		return err
	}
	if healthy.restarts > 0 {
		s.violate("%d replicas had ended while no fault was at work", healthy.restarts)
	}
	began := time.Now()
	i := incident{Number: len(r.result.Incidents) + 1, Fault: f.name, At: began.Sub(r.began), Leader: before.Leader}
	r.screen.strike(i)
	err = errors.Join(f.run(ctx, s), r.arena.mend(context.WithoutCancel(ctx)))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errHarness, f.name, err)
	}
	ended := time.Now()
	after, late := r.recover(ctx, s, &i)
	if n := r.arena.trap.caught.Load() - caught; n > 0 {
		s.violate("%d connections were made to a host that only a poisoned Lease could have named", n)
	}
	i.Lasted, i.Recovery = ended.Sub(began), time.Since(ended)
	i.Target, i.Remarks, i.Broken, i.Successor = s.target, s.remarks, s.violated, after.Leader
	m := r.load.Measure(began, time.Now())
	i.Gap, i.Failed, i.Retried = m.LongestGap, m.Failed+m.Unknown, m.Retried
	r.result.Incidents = append(r.result.Incidents, i)
	r.screen.recovered(i)
	return late
}

// recover waits until the cluster has recovered. That it takes too long breaks a promise; that it does not come about even
// later is an error.
func (r *rig) recover(ctx context.Context, s *strike, i *incident) (lab.View, error) {
	became, err := r.arena.recovered(ctx, r.cfg.recovery)
	i.Restarts = became.restarts
	if became.obstacle.took > slow {
		s.remark("%s: %s", report.Duration(became.obstacle.took), became.obstacle.text)
	}
	if err == nil || ctx.Err() != nil {
		return became.view, ctx.Err()
	}
	s.violate("the cluster did not recover within %s: %v", r.cfg.recovery, err)
	became, err = r.arena.recovered(ctx, lateLimit)
	i.Restarts += became.restarts
	if err != nil {
		return became.view, fmt.Errorf("the run ends early: %w", err)
	}
	return became.view, nil
}

// check stops the clients and looks whether all promises were kept.
func (r *rig) check(ctx context.Context, first lab.View) error {
	r.screen.checking()
	stopping, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_ = r.load.Stop(stopping)                                        // a client whose last operation has failed is found by the check
	if last, err := r.arena.recovered(ctx, finalLimit); err == nil { // else the final state tells
		r.result.Elections = last.view.Epoch - first.Epoch
	}
	reading, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	final, err := r.load.Final(reading)
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		r.result.Broken = append(r.result.Broken, check.Violation{Invariant: check.Checked, Detail: err.Error()})
	}
	history := r.load.History()
	r.result.Broken = append(r.result.Broken, check.Check(history, final)...)
	r.result.Operations = len(history.Ops)
	r.result.Totals = check.Measure(history.Ops, 0, time.Since(history.Start))
	return r.save(history, final)
}

func (r *rig) save(h check.History, f check.Final) error {
	file, err := os.Create(filepath.Join(r.arena.dir, "history.jsonl"))
	if err != nil {
		return err
	}
	if err := errors.Join(check.Save(file, h, f), file.Close()); err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		Seed uint64
		result
	}{r.cfg.seed, r.result}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.arena.dir, "schedule.json"), text, 0o600)
}

// report shows what the run came to. It returns an error if a promise was broken or not everything could be done.
func (r *rig) report(ctx context.Context) error {
	r.screen.end(r.result)
	if r.result.unfinished != nil {
		return r.result.unfinished // a page would say too little
	}
	err := r.write(ctx)
	if r.result.broken() {
		err = errors.Join(errors.New("promises were broken"), err)
	}
	return err
}
