package member_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The process may die at any step of forming, and of joining; what is on the disk by then must lead on.
func TestCrashWhileForming(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, step := range []string{"founding a new cluster", "starting etcd", "etcd is ready"} {
		for victim := range 2 {
			if step == "founding a new cluster" && victim != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(step, " ", "-"), victim), func(t *testing.T) {
				t.Parallel()
				s := newSet(t, 3, 3)
				s.run(s.pods...)
				s.pods[victim].crashAt(step)
				s.run(s.pods[victim])
				s.voters(s.pods...)
			})
		}
	}
}

func TestCrashWhileJoining(t *testing.T) {
	slow(t)
	t.Parallel()
	for _, step := range []string{"admitted", "starting etcd"} {
		t.Run(strings.ReplaceAll(step, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s := form(t, 3, 4)
			s.replicas.Store(4)
			s.run(s.pods[3])
			s.pods[3].crashAt(step)
			s.run(s.pods[3])
			s.voters(s.pods...)
		})
	}
}

// crashAt kills the pod as soon as it has logged a message that contains step.
func (p *pod) crashAt(step string) {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		for _, entry := range p.logs.All() {
			if strings.Contains(entry.Message, step) {
				return nil
			}
		}
		return fmt.Errorf("%s has not logged %q; it waits for %q", p.name, step, p.reason())
	})
	p.set.kill(p)
}

// The log is gone but the identity is there: the disk counts as another one.
func TestLostLogIsALostDisk(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	before := s.pods[0].memberID(s.pods[2])
	s.kill(s.pods[2])
	if err := os.RemoveAll(s.pods[2].dir + "/etcd"); err != nil {
		t.Fatal(err)
	}
	s.run(s.pods[2])
	s.voters(s.pods...)
	if after := s.pods[0].memberID(s.pods[2]); after == before {
		t.Errorf("the pod is member %x again", after)
	}
}

// Nobody can tell the pod that it was removed, but for etcd's peers.
func TestRemovedMemberFindsOutFromEtcd(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	p := s.followers()[0]
	id := p.memberID(p)
	s.kill(p)
	s.leader().remove(id)
	for _, other := range s.pods {
		if other != p {
			other.shutdown()
		}
	}
	s.run(p)
	p.waitsFor("etcd to start again: it stopped by itself")
	for _, other := range s.pods {
		if other != p {
			other.serve(other.member.Handler())
		}
	}
	s.voters(s.pods...)
	if p.setAside() != 1 {
		t.Errorf("%d directories set aside, want 1", p.setAside())
	}
}

// remove removes a member, behind the back of this package.
func (p *pod) remove(id uint64) {
	p.set.t.Helper()
	eventually(p.set.t, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := p.member.Client().MemberRemove(ctx, id)
		return err
	})
}

// What is read may be asked for by somebody who does not know yet that the member stops.
func TestReadsEndWithTheMember(t *testing.T) {
	t.Parallel()
	s := form(t, 1, 1)
	s.pods[0].put("k")
	client := s.pods[0].member.Client()
	var readers sync.WaitGroup
	for range 16 {
		readers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := error(nil)
			for err == nil {
				_, err = client.Get(ctx, "k", clientv3.WithSerializable())
			}
			if !errors.Is(err, rpctypes.ErrStopped) {
				t.Error(err)
			}
		})
	}
	s.kill(s.pods...)
	readers.Wait()
}
