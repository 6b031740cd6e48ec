package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/role"
	"github.com/leasehold/leasehold/internal/store"
)

// elected is one of this replica's elections: its part of the store, and all that stands on that.
type elected struct {
	name      string
	store     *store.Store
	election  *election.Election
	scheduler *jobs.Scheduler
	recorder  *history.Recorder
	roles     *role.Labeler // nil where there are no pods to label
}

// openElections opens all elections, that of the data first.
func (r *replica) openElections(ctx context.Context) error {
	for _, name := range r.cfg.electionNames() {
		st, err := r.openStore(ctx, name)
		if err != nil {
			return fmt.Errorf("open the store of the election %s: %w", name, err)
		}
		e := &elected{name: name, store: st}
		r.elections = append(r.elections, e)
		if err := r.furnish(e); err != nil {
			return fmt.Errorf("the election %s: %w", name, err)
		}
	}
	r.published.Store(&r.elections)
	return nil
}

func (r *replica) closeElections() {
	for _, e := range r.elections {
		e.store.Close()
	}
}

// openStore opens an election's part of the store: for store.Writes the data, for any other one only the state of its own.
func (r *replica) openStore(ctx context.Context, name string) (*store.Store, error) {
	kv, watcher := store.Part(r.member.Client(), r.member.Client(), name)
	return store.Open(ctx, store.Config{
		Election: name, KV: kv, Watcher: watcher, ClusterID: r.member.ClusterID(), NewTerm: r.member.NewTerm, Full: r.member.Full,
		Window: window(r.cfg.writeWait), ClientWindow: max(2*time.Minute, window(r.cfg.writeWait)),
		Log: r.logOf(name).Named("store"), Metrics: r.registry,
	})
}

// furnish makes what stands on an election's store.
func (r *replica) furnish(e *elected) (err error) {
	log := r.logOf(e.name)
	cfg := election.Config{
		Pod: r.cfg.name, BootID: r.bootID, Lock: r.newLock(e.name), Store: electionStore{e.store, r.cfg.name, r.bootID},
		Timing: r.cfg.timing, Voter: r.member.Voter, First: r.etcdLeads, TakesOver: r.etcdLeads, Probe: r.probe(e.name), Others: r.member.Others,
		PrepareMove: r.member.PrepareMove, StoreElsewhere: r.etcdLeadsElsewhere, FetchStore: r.member.FetchLeader,
		Log: log.Named("election"), Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"election": e.name}, r.registry),
	}
	if e.name != store.Writes {
		a := apart{r, e}
		cfg.First, cfg.PrepareMove, cfg.StoreElsewhere, cfg.FetchStore = a.first, a.prepareNoMove, never, nil
	}
	if e.election, err = election.New(cfg); err != nil {
		return err
	}
	e.scheduler = jobs.New(jobs.Config{
		Election: e.name, Jobs: jobs.Of(e.name, r.cfg.electionNames(), r.jobs()), Leading: e.election.Leading,
		Leadership: leadershipOf(e.election, r.cfg.name), State: e.store.GetState, Log: log.Named("jobs"), Metrics: r.registry,
	})
	e.recorder = history.New(history.Config{Term: changeOf(e.election), State: e.store.GetState, Log: log.Named("history")})
	e.roles = r.newRoles(e)
	return nil
}

// campaign takes part in the election until ctx is done.
func (r *replica) campaign(ctx context.Context, e *elected) {
	if e.name != store.Writes {
		apart{r, e}.awaitTurn(ctx)
	}
	e.election.Run(ctx)
}

// work runs the jobs, keeps the history and labels the pods, while this replica leads, until ctx is done. It does not block.
func (e *elected) work(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() { e.scheduler.Run(ctx) })
	running.Go(func() { e.recorder.Run(ctx) })
	if e.roles != nil {
		running.Go(func() { e.roles.Run(ctx) })
	}
}

// api is the election as the API sees it.
func (e *elected) api() api.Election {
	return api.Election{
		Name: e.name, Leader: e.store.Leader, Leading: e.election.Leading, Vitals: vitalsOf(e.election, e.store),
		StepDown: e.election.StepDown, History: historyOf(e.store),
	}
}

// leader is the pod that leads by the newest record known here, "" if none does.
func (e *elected) leader() string {
	l, _ := e.store.Leader()
	return l.Current()
}

// logOf is where an election's parts log: that of the data has no name of its own there.
func (r *replica) logOf(name string) *zap.Logger {
	if name == store.Writes {
		return r.log
	}
	return r.log.Named("election-" + name)
}

// writes is the election whose leader writes the data.
func (r *replica) writes() *elected { return r.elections[0] }

// handOver gives up what this replica leads, all at once. Only the choice of a successor in another election waits, for a moment, for
// that of the writes.
func (r *replica) handOver(ctx context.Context) error {
	r.leaving.Store(true)
	failed := make([]error, len(r.elections))
	var handing sync.WaitGroup
	for i, e := range r.elections {
		handing.Go(func() { failed[i] = e.election.Handover(ctx) })
	}
	handing.Wait()
	return errors.Join(failed...)
}

// held is the election of that name; nil where that is not held, and before there are any.
func (r *replica) held(name string) *elected {
	all := r.published.Load()
	if all == nil {
		return nil
	}
	for _, e := range *all {
		if e.name == name {
			return e
		}
	}
	return nil
}

// leaderOf is the pod that leads the election, as far as this replica knows.
func (r *replica) leaderOf(name string) string {
	e := r.held(name)
	if e == nil {
		return ""
	}
	return e.leader()
}

// leads tells whether this replica leads the election.
func (r *replica) leads(name string) bool {
	e := r.held(name)
	return e != nil && e.election.Leading()
}

// etcdLeads tells whether etcd's leader is on this replica.
func (r *replica) etcdLeads() bool { return r.member.RaftLeader() == r.cfg.name }

// etcdLeadsElsewhere tells whether etcd's leader is known to be on another replica.
func (r *replica) etcdLeadsElsewhere() bool {
	pod := r.member.RaftLeader()
	return pod != "" && pod != r.cfg.name
}
