package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// viewOf is a healthy cluster that the replica of that number leads.
func viewOf(leader int, epoch uint64) lab.View {
	v := lab.View{Leader: lab.ReplicaName(leader), Epoch: epoch}
	for i := range lab.ReplicaCount {
		v.Replicas = append(v.Replicas, lab.ViewReplica{Pod: lab.ReplicaName(i), Voter: true, Reachable: true, Ready: true, BootID: "boot-" + lab.ReplicaName(i)})
	}
	return v
}

func TestChecks(t *testing.T) {
	t.Parallel()
	restarted := viewOf(1, 2)
	restarted.Replicas[0].BootID = "another"
	for _, test := range []struct {
		name  string
		check func(*trial, lab.View)
		to    string
		now   lab.View
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
		if why := s.impossible(config{}, lab.Site{}); why != "" && s.name != "cut" && lab.CanFreeze {
			t.Errorf("%s: %s", s.name, why)
		}
	}
	if needsNetworks(config{}, lab.Site{}) == "" || needsOutages(config{real: true}, lab.Site{}) == "" {
		t.Error("a case is possible that is not")
	}
}

func TestAServerWithoutTransfer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	tr := &trial{cluster: &lab.Cluster{}, rng: random(1, "transfer"), load: &load{client: newLoadClient()}}
	for range lab.ReplicaCount {
		tr.cluster.Replicas = append(tr.cluster.Replicas, &lab.Replica{Name: "leasehold-0", URL: server.URL})
	}
	tr.others = tr.cluster.Replicas[1:]
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
