package member

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Forming a cluster, in three steps. Ordinal 0 writes a plan when every pod is empty. Each of the others takes the plan and has
// itself accepted, under its disk ID, by ordinal 0. When all are accepted, all start by the plan; until then nobody does, so the
// plan can be given up: by the disk that made it at any time, by one that has been accepted only when nobody can have started. A
// disk that is wiped after that is another disk: it is not accepted again, and joins.

// acceptance is what a founder asks of ordinal 0, and ordinal 0's answer.
type (
	acceptance struct {
		Name   string `json:"name"`
		DiskID string `json:"disk_id"`
		Token  string `json:"token"`
	}
	accepted struct {
		Missing []string `json:"missing"` // those who have not been accepted yet
	}
)

// makePlan is ordinal 0's: it makes the plan when every pod has answered that it is empty.
func (m *Member) makePlan(c rollCall) error {
	if c.err != nil {
		return waitf("the number of replicas: %v", c.err)
	}
	if silent := c.silent(); len(silent) > 0 {
		return waitf("an answer from %s: a new cluster needs all %d replicas", strings.Join(silent, ", "), c.replicas)
	}
	for ordinal := range c.replicas {
		if a := c.answers[ordinal]; a.JoinOnly {
			return waitf("a cluster to join: the disk of %s held a member once, so no new one is formed", a.Name)
		} else if a.State != stateEmpty {
			return waitf("%s, which is %s and not empty", a.Name, a.State)
		}
	}
	p := newPlan(m.cfg.Peers, c.replicas, m.identity().DiskID)
	m.log.Warn("every replica's disk is empty: founding a new cluster; if there was one before, its data is gone", zap.Strings("founders", p.names()))
	if err := m.adopt(p, true); err != nil {
		return err
	}
	return waitf("")
}

// takePlan is for the other founders: it takes over ordinal 0's plan.
func (m *Member) takePlan(c rollCall) error {
	founder := m.cfg.Peers.Name(0)
	a, ok := c.answers[0]
	switch {
	case !ok:
		return waitf("an answer from %s, which forms the cluster", founder)
	case a.State != statePlanned || a.Plan == nil:
		return waitf("a plan from %s, which forms the cluster", founder)
	case !m.sound(a.Plan):
		return waitf("another plan from %s: its plan does not name this pod, or has other addresses than the configuration", founder)
	}
	if err := m.adopt(a.Plan, false); err != nil {
		return err
	}
	return waitf("")
}

// sound says whether a plan names this pod, and every pod with the address that the configuration has for it.
func (m *Member) sound(p *plan) bool {
	for name, peerURL := range p.Members {
		ordinal, err := m.cfg.Peers.Ordinal(name)
		if err != nil || m.cfg.Peers.PeerURL(ordinal) != peerURL {
			return false
		}
	}
	_, ok := p.Members[m.cfg.Name]
	return ok
}

// adopt writes the plan, and the IDs that follow from it, to the disk. The founder's own disk is accepted by that.
func (m *Member) adopt(p *plan, founder bool) error {
	cluster, member, err := p.ids(m.cfg.Name)
	if err != nil {
		return err
	}
	return m.update(func(id *identity) {
		id.forget()
		id.Plan, id.ClusterID, id.MemberID = p, cluster, member
		if founder {
			id.Accepted = true
			id.Founders = map[string]string{m.cfg.Name: id.DiskID}
		}
	})
}

// followPlan goes on with the plan on the disk: cluster is the one whose members have answered, 0 if none have.
func (m *Member) followPlan(ctx context.Context, c rollCall, cluster hexID) (bootstrap, error) {
	id := m.identity()
	if cluster != 0 && cluster != id.ClusterID {
		if id.complete() {
			return bootstrap{}, c.foreign(cluster, m.answer())
		}
		return bootstrap{}, m.giveUp("another cluster has been formed")
	}
	if m.ordinal == 0 {
		if !id.complete() {
			return bootstrap{}, m.awaitFounders(c, id)
		}
	} else if err := m.beAccepted(ctx, id, cluster != 0); err != nil {
		return bootstrap{}, err
	}
	return bootstrap{state: embed.ClusterStateFlagNew, members: id.Plan.Members, token: id.Plan.Token}, nil
}

func (m *Member) awaitFounders(c rollCall, id identity) error {
	if c.err == nil && c.replicas != len(id.Plan.Members) {
		return m.giveUp("the number of replicas has changed")
	}
	return waitf("%s to accept the plan", strings.Join(id.missing(), ", "))
}

// beAccepted returns nil once every founder has been accepted, this one included. If another has started already, that is so.
func (m *Member) beAccepted(ctx context.Context, id identity, othersStarted bool) error {
	if id.Accepted && othersStarted {
		return nil
	}
	var answer accepted
	ask := acceptance{Name: m.cfg.Name, DiskID: id.DiskID, Token: id.Plan.Token}
	err := m.call(ctx, http.MethodPost, m.cfg.Peers.Name(0), "plan/accept", ask, &answer)
	var f *failure
	if errors.As(err, &f) && f.Code == http.StatusConflict {
		return m.refused(ctx, id, f.Text)
	}
	if err != nil {
		return waitf("%s to accept this disk: %v", m.cfg.Peers.Name(0), err)
	}
	if err := m.update(func(id *identity) { id.Accepted = true }); err != nil {
		return err
	}
	if len(answer.Missing) > 0 {
		return waitf("%s to accept the plan", strings.Join(answer.Missing, ", "))
	}
	return nil
}

// refused is called when ordinal 0 does not know this disk, or not the plan. If it has another disk than the one that the plan was
// made on, others may have started by the plan together with that one, and need this disk for their majority.
func (m *Member) refused(ctx context.Context, id identity, why string) error {
	if !id.Accepted {
		return m.giveUp(why)
	}
	// Asked after the refusal: what is not a member by now has not started together with the former disk.
	answers := m.askAll(ctx, len(id.Plan.Members))
	if answers[0].DiskID == id.Plan.DiskID {
		return m.giveUp(why) // it does that only while not all have been accepted
	}
	var silent []string
	for ordinal := 1; ordinal < len(id.Plan.Members); ordinal++ {
		a, ok := answers[ordinal]
		if !ok {
			silent = append(silent, m.cfg.Peers.Name(ordinal))
		} else if a.State == stateMember {
			return waitf("%s, which is a member, to say so again", a.Name)
		}
	}
	if len(silent) > 0 {
		return waitf("an answer from %s: the cluster may have been formed, and its data be there (%s)", strings.Join(silent, ", "), why)
	}
	return m.giveUp(why)
}

// giveUp drops a plan that this disk was never started by.
func (m *Member) giveUp(why string) error {
	m.log.Info("giving the plan up", zap.String("because", why))
	err := m.update(func(id *identity) {
		if !id.complete() { // the last acceptance may have come in just now
			id.forget()
		}
	})
	if err != nil {
		return err
	}
	return waitf("a new plan, or a cluster to join: %s", why)
}

// serveAccept notes a founder's disk. A second disk under the same name is refused: the first may have started and voted.
func (m *Member) serveAccept(_ context.Context, r *http.Request) (any, error) {
	var ask acceptance
	if err := decode(r, &ask); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ordinal != 0 || m.id.Plan == nil || m.id.Plan.Token != ask.Token {
		return nil, failf(http.StatusConflict, "%s has no such plan", m.cfg.Name)
	}
	if _, ok := m.id.Plan.Members[ask.Name]; !ok || ask.DiskID == "" {
		return nil, failf(http.StatusConflict, "%q is not a founder", ask.Name)
	}
	switch disk := m.id.Founders[ask.Name]; {
	case disk == "":
		if err := m.accept(ask); err != nil {
			return nil, err
		}
	case disk != ask.DiskID:
		return nil, m.refuse(ask)
	}
	return accepted{Missing: m.id.missing()}, nil
}

// accept is called with the lock held.
func (m *Member) accept(ask acceptance) error {
	return m.updateLocked(func(id *identity) {
		id.Founders = maps.Clone(id.Founders)
		id.Founders[ask.Name] = ask.DiskID
	})
}

// refuse is called with the lock held. As long as nobody can have started by the plan, a lost disk is reason for a new one.
func (m *Member) refuse(ask acceptance) error {
	if !m.id.complete() {
		if err := m.updateLocked((*identity).forget); err != nil {
			return err
		}
	}
	return failf(http.StatusConflict, "another disk has been accepted as that of %s", ask.Name)
}

// missing returns the founders that have not been accepted yet.
func (id *identity) missing() []string {
	var names []string
	for _, name := range id.Plan.names() {
		if id.Founders[name] == "" {
			names = append(names, name)
		}
	}
	return names
}
