package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// apart is what sets an election off from store.Writes. etcd's leadership stays with that one; this one's leader is to be on a
// replica that leads no other.
type apart struct {
	r *replica
	e *elected
}

const (
	// turnLimit is how long a replica that starts waits for the elections before this one to have a leader.
	turnLimit = 5 * time.Second
	// turnHold is how long one that leads another election lets the others go first then. They may still be starting.
	turnHold = 2 * time.Second
	// writerLimit is how long the handover of an election waits for that of the writes: several times what one takes.
	writerLimit = 300 * time.Millisecond
)

// first tells whether this replica goes first when the lock is released: one that leads no other election does.
func (a apart) first() bool { return !a.busy(a.r.cfg.name) }

// busy tells whether the pod leads another election, by the newest records known here. What this replica's own name led under
// another boot ID is led by nobody.
func (a apart) busy(pod string) bool {
	return slices.ContainsFunc(a.r.elections, func(e *elected) bool {
		l, _ := e.store.Leader()
		return e != a.e && l.Current() == pod && (pod != a.r.cfg.name || l.BootID == a.r.bootID)
	})
}

// awaitTurn is for the start of a set, where all replicas would try for all locks at once: who leads another election lets the others
// have this one, if they take it soon.
func (a apart) awaitTurn(ctx context.Context) {
	before := a.r.elections[:slices.Index(a.r.elections, a.e)]
	awaitLeaders(ctx, turnLimit, before...)
	if a.busy(a.r.cfg.name) {
		awaitLeaders(ctx, turnHold, a.e)
	}
}

// awaitLeaders returns when each of the elections has a leader, the time is over, or ctx is done.
func awaitLeaders(ctx context.Context, limit time.Duration, all ...*elected) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, e := range all {
		awaitLeader(ctx, e.store)
	}
}

// awaitLeader returns when somebody leads, or ctx is done.
func awaitLeader(ctx context.Context, st *store.Store) {
	for {
		l, changed := st.Leader()
		if l.Current() != "" {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// prepareNoMove chooses a successor as member.PrepareMove does, and leaves etcd's leadership where it is. Where none is named it is
// the first, by ordinal, that leads no other election and is not to lead the writes next, if there is one.
func (a apart) prepareNoMove(ctx context.Context, to string) (successor string, move func(context.Context) error, err error) {
	stay := func(context.Context) error { return nil }
	if to != "" {
		successor, _, err = a.r.member.PrepareMove(ctx, to)
		return successor, stay, err
	}
	pods, err := a.r.member.Successors(ctx)
	if err != nil {
		return "", nil, err
	}
	writer := a.awaitWriter(ctx)
	idle := slices.DeleteFunc(slices.Clone(pods), func(pod string) bool { return pod == writer || a.busy(pod) })
	return append(idle, pods...)[0], stay, nil
}

// awaitWriter returns who leads the writes, or is to: where this replica is giving them up as well it waits until it has named
// somebody, while it leads this election on; "" if that takes too long.
func (a apart) awaitWriter(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, writerLimit)
	defer cancel()
	for {
		l, changed := a.r.writes().store.Leader()
		if l.Current() != a.r.cfg.name || !a.r.leaving.Load() {
			return cmp.Or(l.Current(), l.Successor)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ""
		}
	}
}

// never is for what an election apart does not do.
func never() bool { return false }
