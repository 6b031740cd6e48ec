package member_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap/zapcore"
)

// A member past etcd's quota takes writes again once what it holds has been deleted.
func TestFullStoreRecovers(t *testing.T) {
	t.Parallel()
	s := smallStore(t)
	s.overfill(func(i int) string { return fmt.Sprintf("k%d", i) })
	client := s.pods[0].member.Client()
	if _, err := client.Put(context.Background(), "small", "v"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("Put of a small value: %v, want ErrNoSpace", err)
	}
	if _, err := client.Delete(context.Background(), "k", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	s.hasSpace()
}

// A store that is full of history needs nobody to delete anything.
func TestStoreFullOfHistoryRecovers(t *testing.T) {
	t.Parallel()
	s := smallStore(t)
	s.overfill(func(int) string { return "k" })
	s.hasSpace()
	s.pods[0].has("k")
}

// A file that has outgrown the quota makes the store full, until the space that a compaction has freed is given back: by the
// leader as well.
func TestOutgrownFileIsDefragmented(t *testing.T) {
	t.Parallel()
	s := smallStore(t)
	m := s.pods[0].member
	var revision int64
	for size, _ := m.Size(); size < s.quota/2*3; size, _ = m.Size() {
		resp, err := m.Client().Put(context.Background(), "k", strings.Repeat("v", 256<<10))
		if err != nil {
			t.Fatal(err)
		}
		revision = resp.Header.Revision
	}
	if !m.Full() {
		t.Error("the store is not full")
	}
	if _, err := m.Client().Compact(context.Background(), revision); err != nil {
		t.Fatal(err)
	}
	s.hasSpace()
}

// smallStore starts a single pod with a small quota.
func smallStore(t *testing.T) *set {
	t.Helper()
	s := newSet(t, 1, 1)
	s.quota = 8 << 20
	s.run(s.pods[0])
	s.voters(s.pods[0])
	return s
}

// overfill puts large values until etcd refuses them.
func (s *set) overfill(key func(i int) string) {
	s.t.Helper()
	value := strings.Repeat("v", 256<<10)
	var err error
	for i := 0; err == nil; i++ {
		_, err = s.pods[0].member.Client().Put(context.Background(), key(i), value)
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		s.t.Fatalf("Put: %v, want ErrNoSpace", err)
	}
}

// hasSpace waits until the store takes writes and its file is small. It writes, as pages that the last commit has freed count as in
// use until the next one.
func (s *set) hasSpace() {
	s.t.Helper()
	m := s.pods[0].member
	eventually(s.t, func() error {
		if _, err := m.Client().Put(context.Background(), "small", "v"); err != nil {
			return err
		}
		if size, inUse := m.Size(); m.Full() || size > s.quota/2 {
			return fmt.Errorf("%d of %d bytes in use", inUse, size)
		}
		return nil
	})
}

// All replicas are stopped at once: nobody waits for the others, nor complains of their absence.
func TestCloseOfAllIsQuick(t *testing.T) {
	t.Parallel()
	s := form(t, 3, 3)
	start := time.Now()
	var wg sync.WaitGroup
	for _, p := range s.pods {
		wg.Go(func() {
			if err := p.member.Close(); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("Close took %v", took)
	}
	for _, p := range s.pods {
		for _, line := range p.logs.FilterLevelExact(zapcore.ErrorLevel).All() {
			if line.Time.After(start) {
				t.Errorf("%s logs an error: %s", p.name, line.Message)
			}
		}
	}
}

func TestCloseWhileStarting(t *testing.T) {
	t.Parallel()
	s := newSet(t, 2, 2)
	s.run(s.pods[0])
	s.pods[0].waitsFor("an answer from leasehold-1")
	p := s.pods[0]
	if err := p.member.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-p.started:
		if err == nil || !strings.Contains(err.Error(), "leasehold-1") {
			t.Errorf("Start: %v; want what it waited for", err)
		}
	case <-time.After(patience):
		t.Error("Start has not returned")
	}
}
