package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

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
	if err := m.handOver(ctx, replicas); err != nil {
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
	for _, leader := range m.callRoll(ctx).leaders(m.cfg.Name) {
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
