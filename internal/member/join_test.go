package member_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/member"
)

func TestFourthPodJoins(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 4)
	s.pods[0].put("k")
	s.replicas.Store(4)
	s.run(s.pods[3])
	s.voters(s.pods...)
	s.pods[3].has("k")
}

func TestTwoPodsJoinAtOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 5)
	s.replicas.Store(5)
	s.run(s.pods[3], s.pods[4])
	s.voters(s.pods...)
}

// A pod that dies between its addition and its start asks again, and is the same member; on another disk it is not.
func TestRepeatedJoinIsTheSameMember(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 4)
	s.replicas.Store(4)
	p, leader := s.pods[3], s.leader()
	p.boot()
	first := p.admit(leader)
	if second := p.admit(leader); second != first {
		t.Fatalf("member %v, then %v", first, second)
	}
	s.kill(p)
	p.boot()
	if third := p.admit(leader); third != first {
		t.Fatalf("after a restart: member %v, was %v", third, first)
	}
	s.kill(p)
	p.wipe()
	p.boot()
	if other := p.admit(leader); other == first {
		t.Fatalf("another disk is member %v too", other)
	}
	p.start()
	s.voters(s.pods...)
}

// admit has the pod ask the leader to admit it, without starting.
func (p *pod) admit(leader *pod) string {
	p.set.t.Helper()
	var id string
	eventually(p.set.t, func() error {
		code, answer := leader.request("POST", "members", p.credentials())
		if code != http.StatusOK {
			return fmt.Errorf("%v", answer["error"])
		}
		id = fmt.Sprint(answer["member_id"])
		return nil
	})
	return id
}

func (p *pod) credentials() map[string]any {
	p.set.t.Helper()
	_, call := p.request("GET", "rollcall", nil)
	return map[string]any{"name": p.name, "boot_id": call["boot_id"], "disk_id": call["disk_id"]}
}

func TestTwinDoesNotEvictALiveMember(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	leader, victim := s.leader(), s.followers()[0]
	for _, p := range []*pod{victim, leader} {
		ask := p.credentials()
		ask["boot_id"], ask["disk_id"] = "twin", "twin"
		if code, answer := leader.request("POST", "members", ask); code != http.StatusConflict {
			t.Errorf("a twin of %s: %d %v", p.name, code, answer)
		}
	}
	s.voters(s.pods...)
}

func TestOnlyTheLeaderChangesTheMembership(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	leader, follower := s.leader(), s.followers()[0]
	code, answer := follower.request("POST", "members", follower.credentials())
	if code != http.StatusMisdirectedRequest || answer["leader"] != leader.name {
		t.Errorf("a follower: %d %v", code, answer)
	}
	if code, answer := leader.request("POST", "members", map[string]any{"name": "evil-0", "boot_id": "b", "disk_id": "d"}); code != http.StatusBadRequest {
		t.Errorf("a name of another set: %d %v", code, answer)
	}
	if err := follower.member.Promote(context.Background()); !errors.Is(err, member.ErrNotLeading) && follower.member.RaftLeader() != follower.name {
		t.Errorf("Promote: %v, want ErrNotLeading", err)
	}
}

func TestLearnerThatNeverStartsIsDropped(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 1, 2)
	s.grace = time.Second
	s.run(s.pods[0])
	s.voters(s.pods[0])
	s.replicas.Store(2)
	s.pods[1].boot()
	s.pods[1].admit(s.pods[0])
	s.voters(s.pods[0])
}
