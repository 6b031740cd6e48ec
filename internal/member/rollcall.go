package member

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// state is what a pod's disk holds.
type state string

const (
	stateEmpty   state = "empty"   // no data of etcd's, and no plan
	statePlanned state = "planned" // a plan, by which etcd has not been started yet
	stateMember  state = "member"  // etcd's data
)

// answer is a pod's answer to the roll call.
type answer struct {
	Name      string `json:"name"`
	BootID    string `json:"boot_id"`
	DiskID    string `json:"disk_id"`
	State     state  `json:"state"`
	JoinOnly  bool   `json:"join_only,omitempty"`
	ClusterID hexID  `json:"cluster_id,omitempty"`
	MemberID  hexID  `json:"member_id,omitempty"`
	Plan      *plan  `json:"plan,omitempty"`
	Started   bool   `json:"started"` // etcd is ready: it has been in touch with a majority since its start
	Applied   uint64 `json:"applied"`
	Leader    string `json:"leader,omitempty"`
}

// answer is this pod's own answer.
func (m *Member) answer() answer {
	leader := m.cfg.Leader() // asked outside the lock: it may ask us something
	m.mu.Lock()
	defer m.mu.Unlock()
	a := answer{
		Name: m.cfg.Name, BootID: m.cfg.BootID, DiskID: m.id.DiskID, State: stateEmpty, JoinOnly: m.id.JoinOnly,
		ClusterID: m.id.ClusterID, MemberID: m.id.MemberID, Plan: m.id.Plan, Started: m.ready, Leader: leader,
	}
	switch {
	case m.hasData:
		a.State = stateMember
	case m.id.Plan != nil:
		a.State = statePlanned
	}
	if m.ready {
		a.Applied = m.etcd.Server.AppliedIndex()
	}
	return a
}

// A rollCall is what the pods of the set have answered, this one included.
type rollCall struct {
	peers    Peers
	replicas int   // how many there should be, 0 if that is not known
	err      error // why it is not known
	answers  map[int]answer
}

// Pods beyond the number of replicas are asked too, this many in all: where the number is not known, and because one that is just
// being scaled away may be of a cluster, beside which none must be formed.
const alwaysAsked = 8

const askTimeout = time.Second

// callRoll asks every pod at the same time and returns after askTimeout at the latest, with what has been answered.
func (m *Member) callRoll(ctx context.Context) rollCall {
	c := rollCall{peers: m.cfg.Peers}
	c.replicas, c.err = m.replicas(ctx)
	asked := min(max(c.replicas, m.ordinal+1, alwaysAsked), m.cfg.Peers.bound())
	c.answers = m.askAll(ctx, asked)
	return c
}

// askAll asks the first n pods at the same time, and returns the answers by ordinal.
func (m *Member) askAll(ctx context.Context, n int) map[int]answer {
	var mu sync.Mutex
	var wg sync.WaitGroup
	answers := map[int]answer{}
	for ordinal := range n {
		wg.Go(func() {
			a, err := m.ask(ctx, ordinal)
			if err != nil {
				return // no answer: it is the answers that count
			}
			mu.Lock()
			defer mu.Unlock()
			answers[ordinal] = a
		})
	}
	wg.Wait()
	return answers
}

// ask asks one pod who it is. An answer under another name is none.
func (m *Member) ask(ctx context.Context, ordinal int) (answer, error) {
	if ordinal == m.ordinal {
		return m.answer(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var a answer
	if err := m.call(ctx, "GET", m.cfg.Peers.Name(ordinal), "rollcall", nil, &a); err != nil {
		return answer{}, err
	}
	if a.Name != m.cfg.Peers.Name(ordinal) {
		return answer{}, fmt.Errorf("%s answers as %q", m.cfg.Peers.Name(ordinal), a.Name)
	}
	return a, nil
}

// replicas reads how many replicas there should be; the number is 1 to MaxReplicas if there is no error.
func (m *Member) replicas(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n, err := m.cfg.Replicas(ctx)
	if err != nil {
		return 0, fmt.Errorf("how many replicas there are is not known: %w", err)
	}
	if n < 1 || n > m.cfg.Peers.bound() {
		return 0, fmt.Errorf("the number of replicas is %d, not 1 to %d", n, m.cfg.Peers.bound())
	}
	return n, nil
}

// members returns the ordinals that answered as members, ascending.
func (c rollCall) members() []int {
	return c.which(func(a answer) bool { return a.State == stateMember })
}

func (c rollCall) which(match func(answer) bool) []int {
	var ordinals []int
	for ordinal, a := range c.answers {
		if match(a) {
			ordinals = append(ordinals, ordinal)
		}
	}
	slices.Sort(ordinals)
	return ordinals
}

// silent names the pods that should exist and have not answered.
func (c rollCall) silent() []string {
	var names []string
	for ordinal := range max(c.replicas, 1) {
		if _, ok := c.answers[ordinal]; !ok {
			names = append(names, c.peers.Name(ordinal))
		}
	}
	return names
}

// cluster returns the ID of the cluster that the pods are members of, 0 if there is none, and ErrForeignCluster if there is
// more than one, or another than mine (0 if this disk is of none).
func (c rollCall) cluster(mine hexID) (hexID, error) {
	found := mine
	for _, ordinal := range c.members() {
		a := c.answers[ordinal]
		if found == 0 {
			found = a.ClusterID
		}
		if a.ClusterID != found {
			return 0, c.foreign(found, a)
		}
	}
	return found, nil
}

func (c rollCall) foreign(first hexID, other answer) error {
	var same []string
	for _, ordinal := range c.which(func(a answer) bool { return a.ClusterID == first }) {
		same = append(same, c.peers.Name(ordinal))
	}
	return fmt.Errorf("%w: %s is a member of cluster %s, but %s of cluster %s; keep the cluster whose data is wanted, "+
		"move the other pods' data directories away and restart them, and they will join",
		ErrForeignCluster, other.Name, other.ClusterID, orThisDisk(same), first)
}

func orThisDisk(names []string) string {
	if len(names) == 0 {
		return "this disk"
	}
	return strings.Join(names, ", ")
}

// leaders returns the pods but self that lead, as the members know it; only names of pods of this set. Whoever calls the roll
// for a leader does not lead: until another does, the members may name it for what it was before it lost its disk.
func (c rollCall) leaders(self string) []string {
	var names []string
	for _, ordinal := range c.members() {
		leader := c.answers[ordinal].Leader
		if _, err := c.peers.Ordinal(leader); err == nil && leader != self && !slices.Contains(names, leader) {
			names = append(names, leader)
		}
	}
	return names
}
