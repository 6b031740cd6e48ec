package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
)

// moveTimeout is how long the choice of a target waits for answers. What the target lacks, at most maxLag, is sent to it
// while the leadership moves, and nothing is written in that time.
const moveTimeout = 500 * time.Millisecond

var (
	// ErrNotMember says that a pod has no member in the cluster.
	ErrNotMember = errors.New("not a member of this cluster")
	// ErrUnfit says that etcd's leadership cannot go to a pod, or to any, and so neither can any other. It is wrapped with why.
	ErrUnfit = errors.New("cannot lead")
)

// PrepareMove chooses to whom etcd's leadership goes: to the pod to, or, where to is "", to the one that has it if
// that is another, else to the most advanced of the others. Only a voter will do that answers within moveTimeout and
// is not more than maxLag behind. It returns which pod that is, and a function that only moves: one try, bounded by
// two election timeouts, in which proposals are dropped; it does nothing if the leadership is there.
// Errors: ErrNotMember, ErrUnfit, ErrNotStarted.
func (m *Member) PrepareMove(ctx context.Context, to string) (successor string, move func(context.Context) error, err error) {
	s := m.server()
	if s == nil {
		return "", nil, ErrNotStarted
	}
	target, err := m.choose(ctx, s, to, m.cfg.Peers.bound())
	if err != nil {
		return "", nil, err
	}
	return target.pod, func(ctx context.Context) error { return m.moveTo(ctx, target.id) }, nil
}

// Successors returns the pods of the others that etcd's leadership could go to by PrepareMove, by ordinal. It moves nothing.
// Errors: ErrUnfit, where there are none, and ErrNotStarted.
func (m *Member) Successors(ctx context.Context) ([]string, error) {
	s := m.server()
	if s == nil {
		return nil, ErrNotStarted
	}
	others := m.others(s, m.cfg.Peers.bound())
	m.examine(ctx, s, others)
	if _, err := best(s.Leader(), others); err != nil {
		return nil, err
	}
	slices.SortFunc(others, func(a, b candidate) int { return cmp.Compare(a.ordinal, b.ordinal) })
	var pods []string
	for _, c := range others {
		if c.unfit == "" {
			pods = append(pods, c.pod)
		}
	}
	return pods, nil
}

// MoveLeader hands etcd's leadership over to the best of the others, if this member has it and one of them can take it.
func (m *Member) MoveLeader(ctx context.Context) error {
	return m.handOver(ctx, m.cfg.Peers.bound())
}

// FetchLeader moves etcd's leadership to this member: one try, bounded by two election timeouts, in which proposals are
// dropped.
func (m *Member) FetchLeader(ctx context.Context) error {
	s := m.server()
	if s == nil {
		return ErrNotStarted
	}
	if lag := behind(s.CommittedIndex(), s.AppliedIndex()); lag > maxLag {
		return fmt.Errorf("%w: this member is %d entries behind", ErrUnfit, lag)
	}
	return m.moveTo(ctx, s.MemberID())
}

// handOver is MoveLeader to the pods below an ordinal only.
func (m *Member) handOver(ctx context.Context, below int) error {
	s := m.server()
	if s == nil || s.Leader() != s.MemberID() {
		return nil
	}
	target, err := m.choose(ctx, s, "", below)
	if err != nil {
		m.log.Info("etcd's leadership stays", zap.Error(err))
		return nil
	}
	return m.moveTo(ctx, target.id)
}

func (m *Member) moveTo(ctx context.Context, target types.ID) error {
	s := m.server()
	if s == nil {
		return ErrNotStarted
	}
	from := s.Leader()
	if from == target {
		return nil
	}
	if from == 0 {
		return errors.New("etcd has no leader at the moment")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*m.cfg.Election)
	defer cancel()
	if err := m.move(ctx, s, from, target); err != nil {
		return fmt.Errorf("etcd's leadership not moved to %s: %w", m.podOf(s, target), err)
	}
	m.log.Info("etcd's leadership moved", zap.String("to", m.podOf(s, target)))
	return nil
}

// moveTick is how often move looks whether etcd's leadership has arrived.
const moveTick = 2 * time.Millisecond

// move is etcd's own, but returns as soon as the leadership has arrived: etcd looks once a heartbeat, which is longer than
// the moving takes, and writes wait for it.
func (m *Member) move(ctx context.Context, s *etcdserver.EtcdServer, from, target types.ID) error {
	moved := make(chan error, 1)
	m.running.Go(func() { moved <- s.MoveLeader(ctx, uint64(from), uint64(target)) })
	tick := time.NewTicker(moveTick)
	defer tick.Stop()
	for {
		select {
		case err := <-moved:
			return err
		case <-tick.C:
			if s.Leader() == target {
				return nil
			}
		}
	}
}

// candidate is another member, as one to which etcd's leadership might go.
type candidate struct {
	id      types.ID
	pod     string
	ordinal int
	applied uint64
	unfit   string // why it cannot take it, "" if it can
}

// choose returns the candidate with that name, or the best with an ordinal below that if the name is "".
func (m *Member) choose(ctx context.Context, s *etcdserver.EtcdServer, name string, below int) (candidate, error) {
	var others []candidate
	for _, c := range m.others(s, below) {
		if name == "" || name == c.pod {
			others = append(others, c)
		}
	}
	m.examine(ctx, s, others)
	switch {
	case name == m.cfg.Name:
		return candidate{}, fmt.Errorf("%s %w: it is this pod", name, ErrUnfit)
	case name == "":
		return best(s.Leader(), others)
	case len(others) == 0:
		return candidate{}, fmt.Errorf("%s is %w", name, ErrNotMember)
	case others[0].unfit != "":
		return candidate{}, fmt.Errorf("%s %w: it %s", name, ErrUnfit, others[0].unfit)
	}
	return others[0], nil
}

// best returns the candidate that leads in etcd if it is fit, or else the fit one that has applied most.
func best(leader types.ID, others []candidate) (candidate, error) {
	var found candidate
	var unfit []string
	for _, c := range others {
		switch {
		case c.unfit != "":
			unfit = append(unfit, fmt.Sprintf("%s %s", c.pod, c.unfit))
		case c.id == leader:
			return c, nil
		case found.id == 0 || c.applied >= found.applied:
			found = c
		}
	}
	switch {
	case found.id != 0:
		return found, nil
	case len(unfit) > 0:
		return candidate{}, fmt.Errorf("every other pod %w: %s", ErrUnfit, strings.Join(unfit, "; "))
	}
	return candidate{}, fmt.Errorf("there is no other pod: nobody else %w", ErrUnfit)
}

// others are the other members of pods below an ordinal.
func (m *Member) others(s *etcdserver.EtcdServer, below int) []candidate {
	var others []candidate
	for _, member := range s.Cluster().Members() {
		ordinal, known := m.ordinalOf(member.PeerURLs)
		if !known || ordinal >= below || member.ID == s.MemberID() {
			continue
		}
		c := candidate{id: member.ID, pod: m.cfg.Peers.Name(ordinal), ordinal: ordinal}
		if member.IsLearner {
			c.unfit = "is a learner: it does not vote yet"
		}
		others = append(others, c)
	}
	return others
}

// examine asks the candidates how far they are, and finds out who is unfit.
func (m *Member) examine(ctx context.Context, s *etcdserver.EtcdServer, candidates []candidate) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	committed := s.CommittedIndex()
	var asked sync.WaitGroup
	for i := range candidates {
		c := &candidates[i]
		if c.unfit == "" {
			asked.Go(func() { c.applied, c.unfit = m.fitness(ctx, *c, committed) })
		}
	}
	asked.Wait()
}

func (m *Member) fitness(ctx context.Context, c candidate, committed uint64) (applied uint64, unfit string) {
	a, err := m.ask(ctx, c.ordinal)
	switch lag := behind(committed, a.Applied); {
	case err != nil:
		return 0, "does not answer"
	case !a.Started || a.MemberID != hexID(c.id):
		return 0, "has not started, or not as this member"
	case lag > maxLag:
		return a.Applied, fmt.Sprintf("is %d entries behind, and at most %d are allowed", lag, maxLag)
	}
	return a.Applied, ""
}

// behind is how many entries applied lacks to committed.
func behind(committed, applied uint64) uint64 { return committed - min(applied, committed) }
