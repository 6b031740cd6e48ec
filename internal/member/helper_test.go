package member_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/leasehold/leasehold/internal/localports"
	"github.com/leasehold/leasehold/internal/member"
)

// patience is how long a test waits for what should come about: long, as machines that test are busy.
const patience = 90 * time.Second

// A set is a StatefulSet in one process. The pod that leads in etcd counts as the leader.
type set struct {
	t        *testing.T
	peers    member.Peers
	ports    []int
	replicas atomic.Int64 // negative: cannot be read
	quota    int64
	grace    time.Duration
	pods     []*pod
	named    atomic.Pointer[string] // whom the pods take for the leader, if not etcd's
}

// pod is a disk, and the process that runs on it, if one does.
type pod struct {
	set      *set
	name     string
	ordinal  int
	dir      string
	boots    int
	member   *member.Member
	logs     *observer.ObservedLogs
	shutdown func()     // stops what runs beside the member
	started  chan error // what Start returned
}

// slow skips a test that starts whole clusters more than once or waits out etcd's own delays.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds of whole clusters; not with -short")
	}
}

// newSet makes a set of some replicas, with room for more; none of its pods runs.
func newSet(t *testing.T, replicas, room int) *set {
	t.Helper()
	block, err := localports.Block(2 * room)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.Release)
	s := &set{t: t, ports: block.Ports(), grace: time.Minute}
	s.replicas.Store(int64(replicas))
	var list []string
	for i := range room {
		list = append(list, fmt.Sprintf("leasehold-%d=127.0.0.1:%d:%d", i, s.ports[2*i], s.ports[2*i+1]))
		s.pods = append(s.pods, &pod{set: s, name: fmt.Sprintf("leasehold-%d", i), ordinal: i, dir: t.TempDir()})
	}
	if s.peers, err = member.ParsePeers("leasehold", strings.Join(list, ",")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill(s.pods...) })
	return s
}

// form starts the first n pods of a new set and waits until they are a cluster.
func form(t *testing.T, n, room int) *set {
	t.Helper()
	s := newSet(t, n, room)
	s.run(s.pods[:n]...)
	s.voters(s.pods[:n]...)
	return s
}

func (s *set) run(pods ...*pod) {
	s.t.Helper()
	for _, p := range pods {
		p.boot()
		p.start()
	}
}

// kill ends the pods' processes at the same time, without any notice.
func (s *set) kill(pods ...*pod) {
	var wg sync.WaitGroup
	for _, p := range pods {
		if p.member != nil {
			wg.Go(func() {
				p.shutdown()
				p.member.Kill()
				p.member = nil
			})
		}
	}
	wg.Wait()
}

// voters waits until the cluster consists of exactly these pods, each a voter, and all know it.
func (s *set) voters(pods ...*pod) {
	s.t.Helper()
	var want []string
	for _, p := range pods {
		want = append(want, p.name)
	}
	eventually(s.t, func() error {
		for _, p := range pods {
			if err := p.sees(want); err != nil {
				return fmt.Errorf("%s: %w (it waits for %q)", p.name, err, p.reason())
			}
			if p.member.ClusterID() != pods[0].member.ClusterID() {
				return fmt.Errorf("%s is of another cluster than %s", p.name, pods[0].name)
			}
		}
		return nil
	})
}

// leader waits until all running pods agree on etcd's leader.
func (s *set) leader() *pod {
	s.t.Helper()
	var found *pod
	eventually(s.t, func() error {
		names := map[string]bool{}
		for _, p := range s.pods {
			if p.member != nil {
				names[p.member.RaftLeader()] = true
			}
		}
		for _, p := range s.pods {
			if len(names) == 1 && names[p.name] {
				found = p
				return nil
			}
		}
		return fmt.Errorf("leaders: %v", names)
	})
	return found
}

func (s *set) followers() []*pod {
	s.t.Helper()
	leader := s.leader()
	return slices.DeleteFunc(slices.Clone(s.pods), func(p *pod) bool { return p == leader || p.member == nil })
}

// eventually polls until check succeeds, and says why it has not when patience is at its end.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
