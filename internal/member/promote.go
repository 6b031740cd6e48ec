package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const (
	// How many entries a learner may be behind when it is made a voter. etcd's own bound is a tenth of the whole log.
	maxLag = 1000

	// While others are being added, a learner waits this long for its promotion: etcd adds nobody for 5 s after one.
	addFirst = 20 * time.Second
)

// Promote makes voters of the learners that have caught up, and removes those that were added and have not started in time. It is
// a step of a job that the leader runs.
func (m *Member) Promote(ctx context.Context) error {
	err := m.changeOnce(ctx, func(client *clientv3.Client) error {
		members, err := list(ctx, client)
		if err != nil {
			return err
		}
		learners := m.noteLearners(members)
		var errs []error
		for _, learner := range learners {
			errs = append(errs, m.tend(ctx, client, learner))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("learners: %w", err)
	}
	return nil
}

// noteLearners returns the learners, and keeps since when each has been seen.
func (m *Member) noteLearners(members []*etcdserverpb.Member) []*etcdserverpb.Member {
	learners := slices.DeleteFunc(slices.Clone(members), func(member *etcdserverpb.Member) bool { return !member.IsLearner })
	maps.DeleteFunc(m.learners, func(id uint64, _ time.Time) bool {
		return !slices.ContainsFunc(learners, func(l *etcdserverpb.Member) bool { return l.ID == id })
	})
	for _, l := range learners {
		if _, ok := m.learners[l.ID]; !ok {
			m.learners[l.ID] = time.Now()
		}
	}
	return learners
}

// tend does what is due with one learner.
func (m *Member) tend(ctx context.Context, client *clientv3.Client, learner *etcdserverpb.Member) error {
	age := time.Since(m.learners[learner.ID])
	if learner.Name == "" {
		if age < m.times.grace {
			return nil
		}
		m.log.Warn("a learner has not started in time: it is removed", zap.Stringer("member", hexID(learner.ID)))
		return m.remove(ctx, client, learner)
	}
	othersFirst := m.admitting.Load() > 0 && age < addFirst
	if othersFirst || !m.caughtUp(ctx, learner) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	if _, err := client.MemberPromote(ctx, learner.ID); err != nil {
		return fmt.Errorf("%s not promoted: %w", learner.Name, err)
	}
	m.log.Info("learner promoted", zap.String("pod", learner.Name), zap.Stringer("member", hexID(learner.ID)))
	return nil
}

// caughtUp asks the learner itself how far it has applied the log.
func (m *Member) caughtUp(ctx context.Context, learner *etcdserverpb.Member) bool {
	ordinal, ok := m.ordinalOf(learner.PeerURLs)
	if !ok {
		return false
	}
	a, err := m.ask(ctx, ordinal)
	committed, _ := m.Index()
	return err == nil && a.Started && a.MemberID == hexID(learner.ID) && a.Applied+maxLag > committed
}
