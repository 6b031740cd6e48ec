package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const moveTimeout = 500 * time.Millisecond

// MoveLeader hands etcd's leadership over: PrepareMove, and the move at once.
func (m *Member) MoveLeader(ctx context.Context) error {
	return m.PrepareMove(ctx)(ctx)
}

// PrepareMove chooses to whom etcd's leadership goes, if this member has it: to the most advanced of the voters that answer, for
// which it waits moveTimeout at most. The function that it returns, never nil, only moves: one try, bounded by two election
// timeouts, in which proposals are dropped. It does nothing if there is nothing to hand over, or nobody to hand it to.
func (m *Member) PrepareMove(ctx context.Context) (move func(context.Context) error) {
	return m.prepareMove(ctx, m.cfg.Peers.bound())
}

// prepareMove considers the pods below an ordinal only.
func (m *Member) prepareMove(ctx context.Context, below int) func(context.Context) error {
	nothing := func(context.Context) error { return nil }
	if s := m.server(); s == nil || s.Leader() != s.MemberID() {
		return nothing
	}
	target, ok := m.mostAdvanced(ctx, below)
	if !ok {
		return nothing
	}
	return func(ctx context.Context) error { return m.moveTo(ctx, target) }
}

func (m *Member) moveTo(ctx context.Context, target types.ID) error {
	s := m.server()
	if s == nil || s.Leader() != s.MemberID() {
		return nil // lost since
	}
	ctx, cancel := context.WithTimeout(ctx, 2*m.cfg.Election)
	defer cancel()
	if err := s.MoveLeader(ctx, uint64(s.MemberID()), uint64(target)); err != nil {
		return fmt.Errorf("etcd's leadership not moved to %s: %w", m.podOf(s, target), err)
	}
	m.log.Info("etcd's leadership moved", zap.String("to", m.podOf(s, target)))
	return nil
}

// mostAdvanced returns the other ready voter that has applied most.
func (m *Member) mostAdvanced(ctx context.Context, below int) (target types.ID, ok bool) {
	s := m.server()
	if s == nil {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	voters := map[hexID]bool{}
	highest := -1
	for _, member := range s.Cluster().Members() {
		ordinal, known := m.ordinalOf(member.PeerURLs)
		if known && !member.IsLearner && member.ID != s.MemberID() && ordinal < below {
			voters[hexID(member.ID)] = true
			highest = max(highest, ordinal)
		}
	}
	var applied uint64
	for _, a := range m.askAll(ctx, highest+1) {
		if voters[a.MemberID] && a.Started && a.Applied >= applied {
			target, applied, ok = types.ID(a.MemberID), a.Applied, true
		}
	}
	return target, ok
}

// dismissal names the member that wants to go: a request that comes late must not hit its successor.
type dismissal struct {
	MemberID hexID `json:"member_id"`
}

// Leave is called while the process stops, after it has stopped leading. If the pod is being scaled away, which only a number of
// replicas that was read and is not 0 can say, it hands etcd's leadership to a pod that stays, and has the leader remove its
// member, as long as ctx lasts. Else it does nothing. A process that is killed before that leaves a member behind for the leader's
// job; of two members the other one has no majority to remove it with, until the set is scaled up again.
func (m *Member) Leave(ctx context.Context) error {
	s := m.server()
	if s == nil {
		return nil
	}
	replicas, err := m.replicas(ctx)
	if err != nil {
		m.log.Info("staying a member", zap.Error(err))
		return nil
	}
	if m.ordinal < replicas {
		return nil
	}
	m.log.Info("leaving the cluster: this pod is being scaled away", zap.Int("replicas", replicas))
	if err := m.prepareMove(ctx, replicas)(ctx); err != nil {
		m.log.Warn("leaving with etcd's leadership", zap.Error(err)) // the leader takes it over before it removes us
	}
	for {
		err := m.askDismissal(ctx, hexID(s.MemberID()))
		if err == nil {
			return nil
		}
		if !pause(ctx, m.times.poll) {
			return fmt.Errorf("not removed from the cluster, the leader will do it: %w", err)
		}
	}
}

func (m *Member) askDismissal(ctx context.Context, id hexID) error {
	err := errors.New("no pod leads")
	for _, leader := range m.callRoll(ctx).leaders() {
		if leader == m.cfg.Name {
			continue
		}
		if err = m.call(ctx, http.MethodDelete, leader, "members/"+m.cfg.Name, dismissal{id}, &struct{}{}); err == nil {
			return nil
		}
	}
	return err
}

// serveDismiss removes a member that asks for it, if its pod is being scaled away as this pod reads it, too.
func (m *Member) serveDismiss(ctx context.Context, r *http.Request) (any, error) {
	var ask dismissal
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	ordinal, err := m.cfg.Peers.Ordinal(r.PathValue("name"))
	if err != nil {
		return nil, failf(http.StatusBadRequest, "%v", err)
	}
	replicas, err := m.replicas(ctx)
	if err != nil {
		return nil, err
	}
	if ordinal < replicas || ordinal == m.ordinal {
		return nil, failf(http.StatusConflict, "%s stays: there are %d replicas", m.cfg.Peers.Name(ordinal), replicas)
	}
	return struct{}{}, m.repeat(ctx, func(client *clientv3.Client) error {
		members, err := list(ctx, client)
		if err != nil {
			return err
		}
		member := find(members, m.cfg.Peers.PeerURL(ordinal))
		if member == nil || hexID(member.ID) != ask.MemberID {
			return nil // removed before: a repeat
		}
		return m.remove(ctx, client, member)
	})
}
