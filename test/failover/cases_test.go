package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// viewOf is a healthy cluster that the replica of that number leads.
func viewOf(leader int, epoch uint64) view {
	v := view{Leader: replicaName(leader), Epoch: epoch}
	for i := range replicaCount {
		v.Replicas = append(v.Replicas, viewReplica{Pod: replicaName(i), Voter: true, Reachable: true, Ready: true, BootID: "boot-" + replicaName(i)})
	}
	return v
}

func TestFault(t *testing.T) {
	t.Parallel()
	if err := viewOf(0, 1).fault(); err != nil {
		t.Errorf("a healthy cluster: %v", err)
	}
	for name, spoil := range map[string]func(*view){
		"no leader":   func(v *view) { v.Leader = "" },
		"one is gone": func(v *view) { v.Replicas = v.Replicas[:2] },
		"a learner":   func(v *view) { v.Replicas[1].Voter = false },
		"unreachable": func(v *view) { v.Replicas[1].Reachable = false },
		"not ready":   func(v *view) { v.Replicas[2].Ready = false },
	} {
		v := viewOf(0, 1)
		if spoil(&v); v.fault() == nil {
			t.Errorf("%s is no fault", name)
		}
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	restarted := viewOf(1, 2)
	restarted.Replicas[0].BootID = "another"
	for _, test := range []struct {
		name  string
		check func(*trial, view)
		to    string
		now   view
		wrong string
	}{
		{"another leads", (*trial).deposed, "", viewOf(1, 2), ""},
		{"the same leads", (*trial).deposed, "", viewOf(0, 3), "leads again"},
		{"it was restarted", (*trial).deposed, "", restarted, "boot ID"},
		{"to the right one", (*trial).transferred, "leasehold-1", viewOf(1, 2), ""},
		{"to another one", (*trial).transferred, "leasehold-2", viewOf(1, 2), "not leasehold-2"},
		{"to anyone", (*trial).transferred, "", viewOf(1, 2), ""},
		{"nothing has happened", (*trial).undisturbed, "", viewOf(0, 1), ""},
		{"a term has ended", (*trial).undisturbed, "", viewOf(0, 2), "leadership changed"},
	} {
		tr := &trial{before: viewOf(0, 1), round: round{to: test.to}}
		test.check(tr, test.now)
		if got := strings.Join(tr.round.wrong, "; "); (got == "") != (test.wrong == "") || !strings.Contains(got, test.wrong) {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func TestCasesThatAreImpossibleSayWhy(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios() {
		if why := s.impossible(config{}, site{prefix: "networks"}); why != "" && canFreeze {
			t.Errorf("%s: %s", s.name, why)
		}
	}
	if needsNetworks(config{}, site{}) == "" || needsOutages(config{real: true}, site{}) == "" {
		t.Error("a case is possible that is not")
	}
}

func TestAServerWithoutTransfer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	tr := &trial{cluster: &cluster{}, rng: random(1, "transfer"), load: &load{client: newLoadClient()}}
	for range replicaCount {
		tr.cluster.replicas = append(tr.cluster.replicas, &replica{name: "leasehold-0", url: server.URL})
	}
	tr.others = tr.cluster.replicas[1:]
	if err := runTransfer(t.Context(), tr); !errors.Is(err, errNotAvailable) {
		t.Errorf("%v", err)
	}
}

func TestChanceIsTheSameForASeed(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64, name string) (drawn []int64) {
		rng := random(seed, name)
		for range 5 {
			drawn = append(drawn, rng.Int64N(int64(time.Hour)))
		}
		return drawn
	}
	if !slices.Equal(draw(1, "kill"), draw(1, "kill")) || slices.Equal(draw(1, "kill"), draw(2, "kill")) || slices.Equal(draw(1, "kill"), draw(1, "cut")) {
		t.Error("chance does not follow the seed and the case")
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	s, err := loopbackSite()
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	if len(s.addresses) != replicaCount || !slices.Equal(s.command(1, "a", "b"), []string{"a", "b"}) {
		t.Errorf("%+v", s)
	}
	if got := networkSite("p").command(1, "a"); !slices.Equal(got, []string{"ip", "netns", "exec", "p-1", "a"}) {
		t.Errorf("%q", got)
	}
}
