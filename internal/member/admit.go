package member

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// serveMembers answers with a linearizable list of the members.
func (m *Member) serveMembers(ctx context.Context, _ *http.Request) (any, error) {
	client := m.Client()
	if client == nil || m.server() == nil {
		return nil, ErrNotStarted
	}
	members, err := list(ctx, client)
	if err != nil {
		return nil, err
	}
	return m.listOf(members), nil
}

// serveAdmit adds the pod that asks as a learner, in place of the member that was at its address before.
func (m *Member) serveAdmit(ctx context.Context, r *http.Request) (any, error) {
	var ask admitRequest
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	ordinal, err := m.cfg.Peers.Ordinal(ask.Name)
	if err != nil || ask.BootID == "" || ask.DiskID == "" {
		return nil, failf(http.StatusBadRequest, "%q, with boot and disk ID: not a pod of this set", ask.Name)
	}
	m.admitting.Add(1)
	defer m.admitting.Add(-1)
	var a admission
	err = m.repeat(ctx, func(client *clientv3.Client) error {
		if err := m.callBack(ctx, ordinal, ask); err != nil {
			return err
		}
		var err error
		a, err = m.admit(ctx, client, m.cfg.Peers.PeerURL(ordinal), ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// callBack makes sure that the pod that asks is the one that answers under its name: a twin, left over on a node that was cut off,
// must not put a live member out.
func (m *Member) callBack(ctx context.Context, ordinal int, ask admitRequest) error {
	a, err := m.ask(ctx, ordinal)
	switch {
	case ordinal == m.ordinal:
		return failf(http.StatusConflict, "%s is another process, and leads", ask.Name)
	case err != nil:
		return fmt.Errorf("%s does not answer under its name: %w", ask.Name, err)
	case a.BootID == ask.BootID && a.DiskID == ask.DiskID:
		return nil
	case a.State == stateMember:
		return failf(http.StatusConflict, "%s is another process, and a member", ask.Name)
	}
	return fmt.Errorf("another process answers under the name of %s", ask.Name)
}

// admit is called with the turn to change the membership.
func (m *Member) admit(ctx context.Context, client *clientv3.Client, peerURL string, ask admitRequest) (admission, error) {
	members, err := list(ctx, client)
	if err != nil {
		return admission{}, err
	}
	m.forgetAdditions(members)
	// An added member has no name until it has started, so it is its address that tells whose it is.
	if there := find(members, peerURL); there != nil {
		if there.Name == "" && there.ID == m.additions[ask.DiskID] {
			return admission{MemberID: hexID(there.ID), memberList: m.listOf(members)}, nil
		}
		if err := m.remove(ctx, client, there); err != nil {
			return admission{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	added, err := client.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return admission{}, fmt.Errorf("%s not added: %w", ask.Name, err)
	}
	m.additions[ask.DiskID] = added.Member.ID
	m.log.Info("learner added", zap.String("pod", ask.Name), zap.Stringer("member", hexID(added.Member.ID)))
	return admission{MemberID: hexID(added.Member.ID), memberList: m.listOf(added.Members)}, nil
}

// forgetAdditions keeps only those that are members still.
func (m *Member) forgetAdditions(members []*etcdserverpb.Member) {
	maps.DeleteFunc(m.additions, func(_ string, id uint64) bool {
		return !slices.ContainsFunc(members, func(member *etcdserverpb.Member) bool { return member.ID == id })
	})
}

func (m *Member) listOf(members []*etcdserverpb.Member) memberList {
	l := memberList{ClusterID: m.identity().ClusterID}
	for _, member := range members {
		l.Members = append(l.Members, listed{
			ID: hexID(member.ID), Name: member.Name, PeerURL: member.PeerURLs[0], Learner: member.IsLearner,
		})
	}
	return l
}
