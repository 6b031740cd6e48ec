package lab

import (
	"slices"
	"strings"
	"testing"
)

// viewOf is a healthy cluster that the replica of that number leads.
func viewOf(leader int, epoch uint64) View {
	v := View{Leader: ReplicaName(leader), Epoch: epoch}
	for i := range ReplicaCount {
		v.Replicas = append(v.Replicas, ViewReplica{Pod: ReplicaName(i), Voter: true, Reachable: true, Ready: true})
	}
	return v
}

func TestFault(t *testing.T) {
	t.Parallel()
	if err := viewOf(0, 1).Fault(ReplicaCount); err != nil {
		t.Errorf("a healthy cluster: %v", err)
	}
	if viewOf(0, 1).Fault(ReplicaCount+2) == nil {
		t.Error("two of five are missing, and that is no fault")
	}
	for name, spoil := range map[string]func(*View){
		"no leader":   func(v *View) { v.Leader = "" },
		"one is gone": func(v *View) { v.Replicas = v.Replicas[:2] },
		"a learner":   func(v *View) { v.Replicas[1].Voter = false },
		"unreachable": func(v *View) { v.Replicas[1].Reachable = false },
		"not ready":   func(v *View) { v.Replicas[2].Ready = false },
	} {
		v := viewOf(0, 1)
		if spoil(&v); v.Fault(ReplicaCount) == nil {
			t.Errorf("%s is no fault", name)
		}
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, ReplicaCount, MaxOnLoopback} {
		s, err := LoopbackSite(replicas)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Release()
		if len(s.addresses) != replicas || !slices.Equal(s.Command(1, "a", "b"), []string{"a", "b"}) {
			t.Errorf("%+v", s)
		}
	}
	if got := networkSite("p").Command(1, "a"); !slices.Equal(got, []string{"ip", "netns", "exec", "p-1", "a"}) {
		t.Errorf("%q", got)
	}
}

func TestFurtherFlagsFollowTheOthers(t *testing.T) {
	t.Parallel()
	s, err := LoopbackSite(2)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	c := NewCluster(ClusterConfig{Server: "server", Site: s, Dir: t.TempDir(), Flags: []string{"--write-wait", "3s"}})
	for _, r := range c.Replicas {
		if n := len(r.command); r.command[1] != "serve" || !slices.Equal(r.command[n-2:], []string{"--write-wait", "3s"}) {
			t.Errorf("%s runs by %q", r.Name, r.command)
		}
	}
}

func TestDropsAreRulesOfTheReceiver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		drop Drop
		want string
	}{
		{Drop{Link: Link{From: 0, To: 2}, Share: 1}, "-s 10.77.0.10 -d 10.77.0.12 -j DROP"},
		{Drop{Link: Link{From: Clients, To: 1}, Share: 1}, "-s 10.77.0.1 -d 10.77.0.11 -j DROP"},
		{Drop{Link: Link{From: 1, To: APIPlace}, Share: 1}, "-s 10.77.0.11 -d 10.77.0.2 -j DROP"},
		{Drop{Link: Link{From: 0, To: 1}, Share: 1, Port: PeerPort}, "-s 10.77.0.10 -d 10.77.0.11 -p tcp --dport 2380 -j DROP"},
		{Drop{Link: Link{From: 0, To: 1}, Share: 0.5}, "-s 10.77.0.10 -d 10.77.0.11 -m statistic --mode random --probability 0.5 -j DROP"},
	} {
		if got := strings.Join(test.drop.rule(), " "); got != test.want {
			t.Errorf("%+v: %q, want %q", test.drop, got, test.want)
		}
	}
}
