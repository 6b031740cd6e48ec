package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/inprocess"
)

// waiting is why a start does not get on for now. An empty reason means that the next round can begin at once.
type waiting struct{ reason string }

func (w *waiting) Error() string { return w.reason }

func waitf(format string, args ...any) error {
	return &waiting{reason: fmt.Sprintf(format, args...)}
}

// Start brings the member into its cluster and returns when it is ready: it forms one with its peers, joins the one that it finds,
// or goes on with the data on its disk. It waits for its peers as long as ctx lasts, and logs for whom. It is called once.
func (m *Member) Start(ctx context.Context) error {
	if !m.enter() {
		return fmt.Errorf("member: closed: %w", ErrNotStarted)
	}
	defer m.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.life, cancel)()

	for {
		err := m.attempt(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("member: not started, waiting for %s: %w", m.awaited, ctx.Err())
		}
		var w *waiting
		if !errors.As(err, &w) {
			return fmt.Errorf("member: %w", err)
		}
		if w.reason != "" {
			m.report(w.reason)
			pause(ctx, m.times.poll)
		}
	}
}

// report logs what is waited for when it changes, not at every poll.
func (m *Member) report(reason string) {
	if reason != m.awaited {
		m.awaited = reason
		m.log.Info("waiting", zap.String("for", reason))
	}
}

// pause returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt is one round of a start: who is there, and what follows from it for this disk.
func (m *Member) attempt(ctx context.Context) error {
	c := m.callRoll(ctx)
	id := m.identity()
	var mine hexID
	if m.holdsData() {
		mine = id.ClusterID
	}
	cluster, err := c.cluster(mine)
	if err != nil {
		return err
	}
	var b bootstrap
	switch {
	case mine != 0:
		b, err = m.restart(ctx, c)
	case id.Plan != nil:
		b, err = m.followPlan(ctx, c, cluster)
	case cluster != 0:
		return m.join(ctx, c)
	case id.JoinOnly:
		err = waitf("a cluster to join: this disk held a member once, so it does not form a new one")
	case m.ordinal == 0:
		err = m.makePlan(c)
	default:
		err = m.takePlan(c)
	}
	if err != nil {
		return err
	}
	return m.begin(ctx, b)
}

// restart goes on with the data on the disk, unless the member was removed meanwhile.
func (m *Member) restart(ctx context.Context, c rollCall) (bootstrap, error) {
	if m.wasRemoved(ctx, c) {
		if err := m.setAside(); err != nil {
			return bootstrap{}, err
		}
		return bootstrap{}, waitf("")
	}
	return bootstrap{state: embed.ClusterStateFlagExisting, members: map[string]string{m.cfg.Name: m.cfg.Peers.PeerURL(m.ordinal)}}, nil
}

// wasRemoved asks the peers for a linearizable list of members. If none of them can give one, nobody can know: then the member
// starts, and etcd's peers will tell it.
func (m *Member) wasRemoved(ctx context.Context, c rollCall) bool {
	id := m.identity()
	for _, ordinal := range c.members() {
		if a := c.answers[ordinal]; ordinal == m.ordinal || !a.Started || a.ClusterID != id.ClusterID {
			continue
		}
		list, err := m.askMembers(ctx, m.cfg.Peers.Name(ordinal))
		if err != nil || list.ClusterID != id.ClusterID {
			continue
		}
		return !slices.ContainsFunc(list.Members, func(l listed) bool { return l.ID == id.MemberID })
	}
	return false
}

// setAside moves the data of a member that was removed out of the way, and makes this disk a new one.
func (m *Member) setAside() error {
	id := m.identity()
	aside := filepath.Join(m.cfg.Dir, "removed-"+time.Now().UTC().Format("20060102T150405.000000000Z"))
	m.log.Warn("this member was removed from its cluster: its data is set aside, and the pod joins as new",
		zap.Stringer("cluster", id.ClusterID), zap.Stringer("member", id.MemberID), zap.String("data", aside))
	// The data first: a disk that has started and has no data counts as new when the process dies in between.
	if err := os.Rename(filepath.Join(m.cfg.Dir, dataDir), aside); err != nil {
		return fmt.Errorf("the removed member's data cannot be set aside: %w", err)
	}
	if err := syncDir(m.cfg.Dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasData = false
	return m.updateLocked((*identity).renew)
}

// begin starts etcd and waits until it is ready.
func (m *Member) begin(ctx context.Context, b bootstrap) error {
	cfg, err := embedded(m.cfg, m.ordinal)
	if err != nil {
		return err
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(m.etcdLogger())
	b.apply(cfg)
	m.log.Info("starting etcd", zap.String("cluster", b.state), zap.Strings("members", slices.Sorted(maps.Keys(b.members))))
	etcd, err := m.launch(ctx, cfg)
	if err = m.launched(etcd, err); err == nil {
		err = m.awaitReady(ctx, etcd)
	}
	if err == nil {
		err = m.isReady(etcd)
	}
	if err != nil && etcd != nil {
		m.mu.Lock()
		m.etcd = nil
		m.mu.Unlock()
		kill(etcd)
	}
	return err
}

// launched notes what is on the disk after etcd has, or has not, been started.
func (m *Member) launched(etcd *embed.Etcd, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasData = m.walExists()
	if err != nil {
		return err
	}
	m.etcd = etcd
	if s := etcd.Server; hexID(s.MemberID()) != m.id.MemberID || hexID(s.Cluster().ID()) != m.id.ClusterID {
		return fmt.Errorf("%w: etcd is member %s of cluster %s, the identity file says %s of %s",
			ErrForeignCluster, s.MemberID(), s.Cluster().ID(), m.id.MemberID, m.id.ClusterID)
	}
	return m.updateLocked(func(id *identity) { id.Started = true })
}

// awaitReady waits until etcd has been in touch with a majority. Meanwhile a cluster other than ours may turn up.
func (m *Member) awaitReady(ctx context.Context, etcd *embed.Etcd) error {
	tick := time.NewTicker(max(m.times.poll, askTimeout))
	defer tick.Stop()
	for {
		select {
		case <-etcd.Server.ReadyNotify():
			return nil
		case <-etcd.Server.StopNotify():
			return waitf("etcd to start again: it stopped by itself")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			c := m.callRoll(ctx)
			if _, err := c.cluster(m.identity().ClusterID); err != nil {
				return err
			}
			if silent := c.silent(); len(silent) > 0 {
				m.report(fmt.Sprintf("a majority of the members; no answer from %s", strings.Join(silent, ", ")))
			}
		}
	}
}

func (m *Member) isReady(etcd *embed.Etcd) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life.Err() != nil {
		return m.life.Err()
	}
	m.client = inprocess.New(etcd.Server)
	m.ready = true
	m.log.Info("etcd is ready", zap.Stringer("cluster", etcd.Server.Cluster().ID()), zap.Stringer("member", etcd.Server.MemberID()))
	m.running.Go(func() { m.watch(etcd) })
	m.running.Go(m.maintain)
	return nil
}
