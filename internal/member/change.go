package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// All changes of membership go through the leading pod, one at a time, each with a deadline and from a fresh list: etcd silently
// drops a change that comes while another is under way, and its caller would wait for ever.

const (
	changeTimeout = 2 * time.Second
	changePause   = 500 * time.Millisecond
)

// serialize waits for the turn to change the membership, and returns what ends it.
func (m *Member) serialize(ctx context.Context) (release func(), err error) {
	select {
	case m.changes <- struct{}{}:
		return func() { <-m.changes }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another change of membership: %w", ctx.Err())
	}
}

// mustLead returns the client if this pod leads.
func (m *Member) mustLead() (*clientv3.Client, error) {
	client := m.Client()
	if client == nil || m.server() == nil {
		return nil, ErrNotStarted
	}
	if !m.cfg.Leading() {
		return nil, ErrNotLeading
	}
	return client, nil
}

// repeat makes a change until it succeeds, is refused for good (a *failure), or ctx ends. etcd refuses changes for some seconds
// after it has lost or promoted a member.
func (m *Member) repeat(ctx context.Context, change func(*clientv3.Client) error) error {
	for {
		err := m.changeOnce(ctx, change)
		var f *failure
		if err == nil || errors.As(err, &f) {
			return err
		}
		if !pause(ctx, changePause) {
			return err
		}
	}
}

func (m *Member) changeOnce(ctx context.Context, change func(*clientv3.Client) error) error {
	release, err := m.serialize(ctx)
	if err != nil {
		return err
	}
	defer release()
	client, err := m.mustLead()
	if errors.Is(err, ErrNotLeading) {
		return &failure{Code: http.StatusMisdirectedRequest, Text: err.Error(), Leader: m.cfg.Leader(), cause: err}
	}
	if err != nil {
		return err
	}
	return change(client)
}

func list(ctx context.Context, client *clientv3.Client) ([]*etcdserverpb.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	resp, err := client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list of members: %w", err)
	}
	return resp.Members, nil
}

// remove removes a member. If it leads etcd, leadership is taken over first: a leader that removes itself may stop before the
// others know that it was committed.
func (m *Member) remove(ctx context.Context, client *clientv3.Client, member *etcdserverpb.Member) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	s := m.server()
	if s == nil {
		return ErrNotStarted
	}
	if s.Lead() == member.ID {
		if err := s.MoveLeader(ctx, member.ID, uint64(s.MemberID())); err != nil {
			return fmt.Errorf("etcd's leadership not taken over from %x: %w", member.ID, err)
		}
	}
	if _, err := client.MemberRemove(ctx, member.ID); err != nil {
		return fmt.Errorf("member %x not removed: %w", member.ID, err)
	}
	m.log.Info("member removed", zap.String("pod", member.Name), zap.String("member", hexID(member.ID).String()),
		zap.Strings("peer_urls", member.PeerURLs))
	return nil
}

// RemoveGone removes one member whose ordinal is not below the number of replicas, the highest first; never this one. A number
// that is unknown or 0 removes nobody and is returned as an error. It is a step of a job that the leader runs.
func (m *Member) RemoveGone(ctx context.Context) error {
	err := m.changeOnce(ctx, func(client *clientv3.Client) error {
		members, err := list(ctx, client)
		if err != nil {
			return err
		}
		replicas, err := m.replicas(ctx) // read last: the set may be scaled up while this waits for its turn
		if err != nil {
			return err
		}
		gone := m.highest(members, replicas)
		if gone == nil {
			return nil
		}
		// etcd refuses what would leave less than a healthy majority.
		return m.remove(ctx, client, gone)
	})
	if err != nil {
		return fmt.Errorf("members that are gone: %w", err)
	}
	return nil
}

// highest returns the member with the highest ordinal from replicas on, but for this one; nil if there is none.
func (m *Member) highest(members []*etcdserverpb.Member, replicas int) *etcdserverpb.Member {
	var found *etcdserverpb.Member
	top := replicas - 1
	for _, member := range members {
		ordinal, ok := m.ordinalOf(member.PeerURLs)
		if ok && ordinal > top && ordinal != m.ordinal {
			found, top = member, ordinal
		}
	}
	return found
}

func find(members []*etcdserverpb.Member, peerURL string) *etcdserverpb.Member {
	for _, member := range members {
		for _, u := range member.PeerURLs {
			if u == peerURL {
				return member
			}
		}
	}
	return nil
}
