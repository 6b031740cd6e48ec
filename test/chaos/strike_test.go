package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// strikeOf is a strike of a cluster that leasehold-1 leads; leasehold-0 is its first follower.
func strikeOf(seed uint64) *strike {
	a := &arena{cluster: &lab.Cluster{}}
	for i := range lab.ReplicaCount {
		a.cluster.Replicas = append(a.cluster.Replicas, &lab.Replica{Ordinal: i, Name: lab.ReplicaName(i)})
	}
	r := a.cluster.Replicas
	return &strike{arena: a, rng: rand.New(rand.NewPCG(seed, 0)), leader: r[1], followers: []*lab.Replica{r[0], r[2]}}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	const leader, first, second = lab.Place(1), lab.Place(0), lab.Place(2)
	for name, test := range map[string]struct {
		links []lab.Link
		want  []lab.Link
	}{
		"alone":       {alone(strikeOf(1)), []lab.Link{{From: leader, To: first}, {From: leader, To: second}, {From: first, To: leader}, {From: second, To: leader}}},
		"deaf peers":  {deafPeers(strikeOf(1)), []lab.Link{{From: leader, To: first}, {From: leader, To: second}}},
		"deaf leader": {deafLeader(strikeOf(1)), []lab.Link{{From: first, To: leader}, {From: second, To: leader}}},
		"bridge":      {bridged(strikeOf(1)), []lab.Link{{From: leader, To: first}, {From: first, To: leader}}},
		"no API":      {noAPI(strikeOf(1)), []lab.Link{{From: leader, To: lab.APIPlace}, {From: lab.APIPlace, To: leader}}},
	} {
		if !slices.Equal(test.links, test.want) {
			t.Errorf("%s: %v, want %v", name, test.links, test.want)
		}
	}
	if n := len(isolated(strikeOf(1))); n != 8 {
		t.Errorf("who is isolated has %d links cut, want 8", n)
	}
}

func TestHalvesReachNothingOfEachOther(t *testing.T) {
	t.Parallel()
	everywhere := []lab.Place{0, 1, 2, lab.Clients, lab.APIPlace}
	for seed := range uint64(50) {
		cut := halves(strikeOf(seed))
		for _, l := range cut {
			if l.From < 0 && l.To < 0 || !slices.Contains(cut, lab.Link{From: l.To, To: l.From}) {
				t.Errorf("seed %d: %v", seed, cut)
			}
		}
		var sizes []int
		for _, p := range everywhere[:lab.ReplicaCount] {
			reached := slices.DeleteFunc(slices.Clone(everywhere[:lab.ReplicaCount]), func(q lab.Place) bool {
				return slices.Contains(cut, lab.Link{From: p, To: q})
			})
			sizes = append(sizes, len(reached))
		}
		if slices.Sort(sizes); !slices.Equal(sizes, []int{1, 2, 2}) {
			t.Errorf("seed %d: sides of %v", seed, sizes)
		}
	}
}

func TestTakenBack(t *testing.T) {
	t.Parallel()
	for holders, wrong := range map[string]bool{
		"old new":         false,
		"old new other":   false,
		"old  new new":    false,
		"old new ":        true,
		"old new old":     true,
		"old new other  ": true,
		"old old":         true,
	} {
		w := &leaseWatch{holders: strings.Split(holders, " ")}
		if found := w.takenBack("old"); (found != "") != wrong {
			t.Errorf("%q: %q", holders, found)
		}
	}
}

func TestTransfersAreToMoveLeadership(t *testing.T) {
	t.Parallel()
	for status, violations := range map[int]int{http.StatusOK: 0, http.StatusConflict: 1, http.StatusServiceUnavailable: 1} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		s := strikeOf(1)
		s.client = server.Client()
		for _, r := range s.cluster.Replicas {
			r.URL = server.URL
		}
		if err := transfers(t.Context(), s); err != nil || len(s.violated) != violations {
			t.Errorf("all transfers are answered with %d: %v, %v", status, s.violated, err)
		}
		server.Close()
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	const content = "the records of a log"
	for name, damage := range map[string]func(*strike, string) error{"flip": flip, "truncate": truncate} {
		for seed := range uint64(20) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, append([]byte(content), make([]byte, 4096)...), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := damage(strikeOf(seed), path); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			after, err := os.ReadFile(path)
			if err != nil || strings.HasPrefix(string(after), content) {
				t.Errorf("%s with seed %d has damaged nothing: %q, %v", name, seed, after[:min(len(after), 30)], err)
			}
		}
		empty := filepath.Join(t.TempDir(), "empty")
		if err := os.WriteFile(empty, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		if damage(strikeOf(1), empty) == nil {
			t.Errorf("%s of an empty log passes", name)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	const before = "server: of an earlier start\n"
	for text, want := range map[string]string{
		"":                                   "",
		`{"level":"info"}` + "\n":            "",
		"server: the disk is bad\n":          "server: the disk is bad",
		"panic: lost\n\ngoroutine 7:\n\tx\n": "panic: lost",
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(before+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := reason(path, int64(len(before))); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestObstacleIsWhatLastedLongest(t *testing.T) {
	t.Parallel()
	o := obstacle{text: "long", took: time.Hour}
	o.note(os.ErrExist)
	o.note(os.ErrNotExist)
	if o.text != "long" || o.now != os.ErrNotExist.Error() {
		t.Errorf("%+v", o)
	}
	o.since = time.Now().Add(-2 * time.Hour)
	if o.note(os.ErrNotExist); o.text != os.ErrNotExist.Error() {
		t.Errorf("%+v", o)
	}
}
