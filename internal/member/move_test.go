package member_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/leasehold/leasehold/internal/member"
)

// refuses expects p to refuse to move etcd's leadership to a pod, or to any, with a reason.
func (p *pod) refuses(to string, want error, why string) {
	p.set.t.Helper()
	_, move, err := p.member.PrepareMove(context.Background(), to)
	if !errors.Is(err, want) || move != nil || !strings.Contains(err.Error(), why) {
		p.set.t.Errorf("a move to %q: %v, want %v: %s", to, err, want, why)
	}
}

// moves moves etcd's leadership by way of p, and returns the pod that p has chosen.
func (p *pod) moves(to string) string {
	p.set.t.Helper()
	var successor string
	eventually(p.set.t, func() error {
		chosen, move, err := p.member.PrepareMove(context.Background(), to)
		if err != nil {
			return err
		}
		successor = chosen
		return move(context.Background())
	})
	return successor
}

func TestEtcdsLeadershipGoesToTheNamedPod(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	leader := s.leader()
	for _, next := range s.followers() { // asked of the pod that has it, and then of one that has not
		if got := leader.moves(next.name); got != next.name || s.leader() != next {
			t.Errorf("moved to %q, and %s leads; want %s", got, s.leader().name, next.name)
		}
	}
	// Without a name it stays where it is, if that is another pod.
	if at := s.leader(); leader.moves("") != at.name || s.leader() != at {
		t.Errorf("moved from %s to %s", at.name, s.leader().name)
	}
	// And can be fetched.
	eventually(t, func() error { return leader.member.FetchLeader(context.Background()) })
	if now := s.leader(); now != leader {
		t.Errorf("%s leads, not %s", now.name, leader.name)
	}
	if err := leader.member.FetchLeader(context.Background()); err != nil {
		t.Errorf("fetched where it is: %v", err)
	}
	if next := leader.moves(""); next == leader.name || s.leader().name != next {
		t.Errorf("moved to %s, and %s leads", next, s.leader().name)
	}
}

func TestSuccessorsAreTheFitOnesAndNothingMoves(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	leader := s.leader()
	asked, other := s.followers()[0], s.followers()[1]
	eventually(t, func() error {
		got, err := asked.member.Successors(context.Background())
		if want := slices.Sorted(slices.Values([]string{leader.name, other.name})); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("%s would be followed by %v, %w; want %v", asked.name, got, err, want)
		}
		return nil
	})
	s.kill(other)
	eventually(t, func() error {
		got, err := leader.member.Successors(context.Background())
		if err != nil || len(got) != 1 || got[0] != asked.name {
			return fmt.Errorf("%s would be followed by %v, %w", leader.name, got, err)
		}
		return nil
	})
	if now := s.leader(); now != leader {
		t.Errorf("etcd's leader has moved to %s", now.name)
	}
	s.kill(asked)
	if got, err := leader.member.Successors(context.Background()); !errors.Is(err, member.ErrUnfit) || len(got) > 0 {
		t.Errorf("without another pod: %v, %v", got, err)
	}
}

func TestEtcdsLeadershipGoesToNobodyUnfit(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 5)
	leader, away, late := s.leader(), s.followers()[0], s.followers()[1]
	leader.refuses("leasehold-4", member.ErrNotMember, "leasehold-4")
	leader.refuses("../leasehold-1", member.ErrNotMember, "")
	leader.refuses(leader.name, member.ErrUnfit, "this pod")

	// A pod that has applied much less, as it says itself.
	for i := range 1100 {
		leader.put(fmt.Sprint(i % 10))
	}
	status, answer := late.request(http.MethodGet, "rollcall", nil)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	answer["applied"] = 7
	late.shutdown()
	late.serve(answering(answer))
	leader.refuses(late.name, member.ErrUnfit, "entries behind, and at most 1000 are allowed")
	answer["applied"], answer["started"] = 1<<40, false
	leader.refuses(late.name, member.ErrUnfit, "has not started")

	s.kill(away)
	leader.refuses(away.name, member.ErrUnfit, "does not answer")
	leader.refuses("", member.ErrUnfit, "every other pod cannot lead")
	if now := s.leader(); now != leader {
		t.Errorf("%s leads", now.name)
	}
}

func answering(answer map[string]any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(answer) })
}

func TestEtcdsLeadershipDoesNotGoToALearner(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 1, 2)
	leader := s.pods[0]
	leader.refuses("", member.ErrUnfit, "no other pod")
	ctx := context.Background()
	if _, err := leader.member.Client().MemberAddAsLearner(ctx, []string{s.peers.PeerURL(1)}); err != nil {
		t.Fatal(err)
	}
	leader.refuses("leasehold-1", member.ErrUnfit, "learner")
	leader.refuses("", member.ErrUnfit, "learner")
}

func TestBeforeItsStartAMemberMovesNothing(t *testing.T) {
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[0].boot()
	s.pods[0].refuses("", member.ErrNotStarted, "")
	if _, err := s.pods[0].member.Successors(context.Background()); !errors.Is(err, member.ErrNotStarted) {
		t.Errorf("Successors: %v", err)
	}
	if err := s.pods[0].member.FetchLeader(context.Background()); !errors.Is(err, member.ErrNotStarted) {
		t.Errorf("FetchLeader: %v", err)
	}
}
