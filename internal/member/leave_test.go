package member_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestScaleDown(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 5, 5)
	s.pods[0].put("k")
	s.replicas.Store(3)
	s.pods[4].stop()
	s.pods[3].stop()
	s.voters(s.pods[:3]...)

	s.replicas.Store(4)
	s.run(s.pods[3]) // its volume was kept
	s.voters(s.pods[:4]...)
	s.pods[3].has("k")
	if s.pods[3].setAside() != 1 {
		t.Errorf("%d directories set aside, want 1", s.pods[3].setAside())
	}
}

// Two pods that are scaled away stop at the same time.
func TestTwoLeaveAtOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	s.replicas.Store(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.pods[2].stop()
	}()
	s.pods[1].stop()
	<-done
	s.voters(s.pods[0])
}

func TestRestartingPodStays(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	before := s.pods[0].memberID(s.pods[2])
	for _, replicas := range []int64{0, -1, 3} { // scaled to nothing, not known, and no change
		s.replicas.Store(replicas)
		s.pods[2].stop()
		s.replicas.Store(3)
		s.run(s.pods[2])
		s.voters(s.pods...)
	}
	if after := s.pods[0].memberID(s.pods[2]); after != before {
		t.Errorf("member %x, was %x", after, before)
	}
}

func TestRemoveGone(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 4, 4)
	leader := s.pods[0]
	eventually(t, func() error { // the leader must be one that stays
		if l := s.leader(); l != leader {
			_, move, err := l.member.PrepareMove(context.Background(), leader.name)
			if err != nil {
				return err
			}
			return errors.Join(fmt.Errorf("%s leads", l.name), move(context.Background()))
		}
		return nil
	})
	ctx := context.Background()
	for _, replicas := range []int64{0, -1} {
		s.replicas.Store(replicas)
		if err := leader.member.RemoveGone(ctx); err == nil {
			t.Errorf("RemoveGone with %d replicas: no error", replicas)
		}
	}
	s.replicas.Store(4)
	if err := leader.member.RemoveGone(ctx); err != nil {
		t.Error(err)
	}
	s.voters(s.pods...)

	s.kill(s.pods[3])
	s.replicas.Store(3)
	eventually(t, func() error {
		if err := leader.member.RemoveGone(ctx); err != nil {
			return err
		}
		if leader.memberID(s.pods[3]) != 0 {
			return fmt.Errorf("leasehold-3 is a member still")
		}
		return nil
	})
	s.voters(s.pods[:3]...)
}

func TestMoveLeader(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	leader := s.leader()
	follower := s.followers()[0]
	if err := follower.member.MoveLeader(context.Background()); err != nil {
		t.Errorf("on a follower: %v", err)
	}
	term := leader.member.NewTerm()
	eventually(t, func() error { return leader.member.MoveLeader(context.Background()) })
	if next := s.leader(); next == leader {
		t.Errorf("%s leads still", next.name)
	}
	<-term

	last := s.leader()
	s.kill(s.followers()...)
	if err := last.member.MoveLeader(context.Background()); err != nil {
		t.Errorf("with nobody to move to: %v", err)
	}
}
