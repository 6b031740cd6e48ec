package member

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// Info is one member of the cluster.
type Info struct {
	Name    string // the pod's, "" if its address is none of this set
	ID      uint64
	Voter   bool // else a learner
	Started bool // has been ready once
}

// Client returns the in-process client. It is nil before Start has returned, and fails once the member has stopped.
func (m *Member) Client() *clientv3.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// ClusterID returns the ID of the cluster that this disk is of, 0 if it is not of one yet.
func (m *Member) ClusterID() uint64 { return uint64(m.identity().ClusterID) }

// Voter says whether the member is ready and votes, as far as it has heard.
func (m *Member) Voter() bool {
	s := m.server()
	if s == nil {
		return false
	}
	// Not Server.IsLearner: that panics once the member has been removed.
	self := s.Cluster().Member(s.MemberID())
	return self != nil && !self.IsLearner
}

// RaftLeader returns the pod whose member leads in etcd, "" if this member knows none.
func (m *Member) RaftLeader() string {
	s := m.server()
	if s == nil {
		return ""
	}
	return m.podOf(s, s.Leader())
}

// Others are the pods of the other members that vote, as far as this one has heard.
func (m *Member) Others() (pods []string) {
	s := m.server()
	if s == nil {
		return nil
	}
	for _, c := range m.others(s, m.cfg.Peers.bound()) {
		if c.unfit == "" {
			pods = append(pods, c.pod)
		}
	}
	return pods
}

// NewTerm returns a channel that is closed when the first entry of etcd's next term is applied here: what was proposed in an
// earlier term and has not been answered is then lost, as a rule. Ask anew for each wait. It is nil before Start has returned.
func (m *Member) NewTerm() <-chan struct{} {
	s := m.server()
	if s == nil {
		return nil
	}
	return s.FirstCommitInTermNotify()
}

// Removed returns a channel that is closed when etcd has stopped by itself: as a rule the member was removed. The process should
// exit; at its next start the disk's data is set aside and the pod joins.
func (m *Member) Removed() <-chan struct{} { return m.removed }

// Size returns the bytes of the database file, and how many of them are in use.
func (m *Member) Size() (bytes, inUse int64) {
	s := m.server()
	if s == nil {
		return 0, 0
	}
	return s.Backend().Size(), s.Backend().SizeInUse()
}

// Index returns how far this member knows the log to be committed, and how far it has applied it.
func (m *Member) Index() (committed, applied uint64) {
	s := m.server()
	if s == nil {
		return 0, 0
	}
	return s.CommittedIndex(), s.AppliedIndex()
}

// Members returns the members as this one knows them: no majority is asked, so it answers without one too.
func (m *Member) Members(context.Context) ([]Info, error) {
	s := m.server()
	if s == nil {
		return nil, fmt.Errorf("members: %w", ErrNotStarted)
	}
	var infos []Info
	for _, member := range s.Cluster().Members() {
		infos = append(infos, Info{
			Name: m.podOf(s, member.ID), ID: uint64(member.ID), Voter: !member.IsLearner, Started: member.IsStarted(),
		})
	}
	return infos, nil
}

// podOf names a member's pod by its peer URL: a member that has not started has no name.
func (m *Member) podOf(s *etcdserver.EtcdServer, id types.ID) string {
	member := s.Cluster().Member(id)
	if member == nil {
		return ""
	}
	ordinal, ok := m.ordinalOf(member.PeerURLs)
	if !ok {
		return ""
	}
	return m.cfg.Peers.Name(ordinal)
}

func (m *Member) ordinalOf(peerURLs []string) (int, bool) {
	if len(peerURLs) != 1 {
		return 0, false
	}
	return m.cfg.Peers.at(peerURLs[0])
}
