package member

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// What a pod sends to be admitted, and what it is answered. The disk ID makes a repeat the same request.
type (
	admitRequest struct {
		Name   string `json:"name"`
		BootID string `json:"boot_id"`
		DiskID string `json:"disk_id"`
	}
	admission struct {
		MemberID hexID `json:"member_id"`
		memberList
	}
	memberList struct {
		ClusterID hexID    `json:"cluster_id"`
		Members   []listed `json:"members"`
	}
	listed struct {
		ID      hexID  `json:"id"`
		Name    string `json:"name,omitempty"`
		PeerURL string `json:"peer_url"`
		Learner bool   `json:"learner,omitempty"`
	}
)

// join has the leader add this disk as a new member, and starts as that. A start that fails, because the list of members has
// changed meanwhile for one, is begun again by asking again: the leader knows the disk and adds nothing.
func (m *Member) join(ctx context.Context, c rollCall) error {
	a, err := m.beAdmitted(ctx, c)
	if err != nil {
		return err
	}
	members := map[string]string{}
	for _, l := range a.Members {
		members[m.nameOf(l)] = l.PeerURL
	}
	err = m.update(func(id *identity) { id.ClusterID, id.MemberID = a.ClusterID, a.MemberID })
	if err != nil {
		return err
	}
	m.log.Info("admitted", zap.Stringer("cluster", a.ClusterID), zap.Stringer("member", a.MemberID))
	err = m.begin(ctx, bootstrap{state: embed.ClusterStateFlagExisting, members: members})
	if err != nil && ctx.Err() == nil && !m.holdsData() {
		return waitf("etcd to join: %v", err)
	}
	return err
}

func (m *Member) beAdmitted(ctx context.Context, c rollCall) (admission, error) {
	ask := admitRequest{Name: m.cfg.Name, BootID: m.cfg.BootID, DiskID: m.identity().DiskID}
	err := waitf("a leader of the cluster: %s know no other", strings.Join(m.names(c.members()), ", "))
	for _, leader := range c.leaders(m.cfg.Name) {
		var a admission
		if failed := m.call(ctx, http.MethodPost, leader, "members", ask, &a); failed != nil {
			err = waitf("%s to admit this pod: %v", leader, failed)
			continue
		}
		if err := a.check(m.cfg.Peers.PeerURL(m.ordinal)); err != nil {
			return admission{}, fmt.Errorf("the answer of %s: %w", leader, err)
		}
		return a, nil
	}
	return admission{}, err
}

func (a admission) check(peerURL string) error {
	for _, l := range a.Members {
		if l.ID == a.MemberID && l.PeerURL == peerURL && a.ClusterID != 0 {
			return nil
		}
	}
	return fmt.Errorf("member %s at %s is not in the list", a.MemberID, peerURL)
}

// nameOf names a member by its address, as one that has not started has no name. etcd wants a name for each.
func (m *Member) nameOf(l listed) string {
	if ordinal, ok := m.cfg.Peers.at(l.PeerURL); ok {
		return m.cfg.Peers.Name(ordinal)
	}
	return "member-" + l.ID.String()
}

func (m *Member) names(ordinals []int) []string {
	var names []string
	for _, ordinal := range ordinals {
		names = append(names, m.cfg.Peers.Name(ordinal))
	}
	return names
}

func (m *Member) holdsData() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hasData
}

// askMembers asks a pod for a linearizable list of members.
func (m *Member) askMembers(ctx context.Context, pod string) (memberList, error) {
	ctx, cancel := context.WithTimeout(ctx, askedTimeout)
	defer cancel()
	var list memberList
	return list, m.call(ctx, http.MethodGet, pod, "members", nil, &list)
}
