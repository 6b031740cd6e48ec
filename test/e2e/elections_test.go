//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bothElections are what the component elections adds to a set.
var bothElections = []string{"writes", "jobs"}

// A set of its own with two elections: each is led by another pod, and either leader is killed while the other
// election goes on. It prints for how long each election had no leader.
func TestTwoElections(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	s := *set
	s.namespace, s.components = set.namespace+"-elections", []string{"elections"}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	t.Cleanup(s.takeDown)
	if err := s.deploy(ctx); err != nil {
		t.Fatal(err)
	}
	base, err := s.serviceURL(ctx, "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"jobs", "writes"} {
		if err := poll(ctx, func() error { return s.spreadElections(ctx, base) }); err != nil {
			t.Fatal(err)
		}
		s.loseLeaderOf(ctx, t, base, lost)
	}
	if err := poll(ctx, func() error { return s.labelsShowElections(ctx, base) }); err != nil {
		t.Fatal(err)
	}
}

// electionState is one election in GET /v1/leader.
type electionState struct {
	Election string    `json:"election"`
	Leader   string    `json:"leader"`
	Epoch    uint64    `json:"epoch"`
	Since    time.Time `json:"since"`
}

// elections asks who leads which.
func (s *statefulSet) elections(ctx context.Context, base string) (map[string]electionState, error) {
	var b struct {
		Elections []electionState `json:"elections"`
	}
	if err := s.route.getJSON(ctx, base+"/v1/leader", &b); err != nil {
		return nil, err
	}
	states := map[string]electionState{}
	for _, e := range b.Elections {
		states[e.Election] = e
	}
	for _, name := range bothElections {
		if states[name].Leader == "" {
			return nil, fmt.Errorf("nobody leads %s", name)
		}
	}
	return states, nil
}

// spreadElections has each election led by another pod of a whole set, by a transfer of the jobs where one pod leads both.
func (s *statefulSet) spreadElections(ctx context.Context, base string) error {
	if err := s.healthy(ctx, 3); err != nil {
		return err
	}
	now, err := s.elections(ctx, base)
	if err != nil || now["writes"].Leader != now["jobs"].Leader {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/leader/transfer?election=jobs", http.NoBody)
	if err != nil {
		return err
	}
	a, err := send(s.route.look, req)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s led both; the transfer was answered with %d %s", now["jobs"].Leader, a.status, a.body)
}

// loseLeaderOf kills the leader of an election and expects it to be led under another epoch, and the other
// election to stay as it is.
func (s *statefulSet) loseLeaderOf(ctx context.Context, t *testing.T, base, lost string) {
	t.Helper()
	before, err := s.elections(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	old := before[lost]
	s.endAbruptly(ctx, t, old.Leader)
	var now map[string]electionState
	err = poll(ctx, func() (err error) {
		if now, err = s.elections(ctx, base); err == nil && now[lost].Epoch <= old.Epoch {
			err = fmt.Errorf("%s still leads %s by the record", old.Leader, lost)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range bothElections {
		if name != lost && now[name] != before[name] {
			t.Errorf("%s was lost, and %s has become %+v, was %+v", lost, name, now[name], before[name])
		}
	}
	s.printGap(ctx, t, base, lost, now[lost].Epoch)
	s.mustAnswer(ctx, t, http.MethodPut, base+"/v1/kv/two-elections", http.StatusOK)
	if lost == "jobs" {
		s.ranAnew(ctx, t, base, "compact", now["jobs"].Epoch)
	}
}

// printGap prints what the history says of the change to an epoch.
func (s *statefulSet) printGap(ctx context.Context, t *testing.T, base, election string, epoch uint64) {
	t.Helper()
	err := poll(ctx, func() error {
		var b struct {
			History []struct {
				From, To, Reason string
				Epoch            uint64
				GapMS            *int64 `json:"gap_ms"`
			}
		}
		if err := s.route.getJSON(ctx, base+"/v1/leader/history?election="+election, &b); err != nil {
			return err
		}
		for _, e := range b.History {
			if e.Epoch == epoch {
				gap := "of a length that the new leader does not know"
				if e.GapMS != nil {
					gap = fmt.Sprintf("of %d ms", *e.GapMS)
				}
				t.Logf("%s: %s → %s (%s), after a gap %s", election, e.From, e.To, e.Reason, gap)
				return nil
			}
		}
		return fmt.Errorf("epoch %d of %s is not in the history: %+v", epoch, election, b.History)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ranAnew waits until a job has run under an epoch of the jobs, or a later one.
func (s *statefulSet) ranAnew(ctx context.Context, t *testing.T, base, job string, epoch uint64) {
	t.Helper()
	err := poll(ctx, func() error {
		var b struct {
			Jobs []struct {
				Name, Election string
				Epoch          uint64
			}
		}
		if err := s.route.getJSON(ctx, base+"/v1/jobs", &b); err != nil {
			return err
		}
		for _, j := range b.Jobs {
			if j.Name == job && j.Election == "jobs" && j.Epoch >= epoch {
				return nil
			}
		}
		return fmt.Errorf("%s has not run under epoch %d of the jobs: %+v", job, epoch, b.Jobs)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// labelsShowElections compares the Leases and the pods' labels of each election with who leads it.
func (s *statefulSet) labelsShowElections(ctx context.Context, base string) error {
	now, err := s.elections(ctx, base)
	if err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	for _, name := range bothElections {
		suffix := strings.TrimSuffix("-"+name, "-writes")
		lease, err := s.kube.CoordinationV1().Leases(s.namespace).Get(ctx, setName+suffix, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if holder := lease.Spec.HolderIdentity; holder == nil || *holder != now[name].Leader {
			return fmt.Errorf("%s leads %s, but the Lease %s names another holder", now[name].Leader, name, lease.Name)
		}
		for _, p := range pods {
			want := map[bool]string{true: "leader", false: "follower"}[p.Name == now[name].Leader]
			if got := p.Labels[roleLabel+suffix]; got != want {
				return fmt.Errorf("%s leads %s, but the label %s of %s is %q", now[name].Leader, name, roleLabel+suffix, p.Name, got)
			}
		}
	}
	return nil
}
