package member_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A member past its quota takes writes again once what it holds has been deleted and compacted.
func TestFullStoreRecovers(t *testing.T) {
	t.Parallel()
	s := newSet(t, 1, 1)
	s.quota = 8 << 20
	s.run(s.pods[0])
	s.voters(s.pods[0])
	client := s.pods[0].member.Client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()

	value := strings.Repeat("v", 256<<10)
	var err error
	for i := 0; err == nil; i++ {
		_, err = client.Put(ctx, fmt.Sprintf("k%d", i), value)
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("Put: %v, want ErrNoSpace", err)
	}
	if _, err := client.Put(ctx, "small", "v"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("Put of a small value: %v, want ErrNoSpace", err)
	}
	deleted, err := client.Delete(ctx, "k", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		size, inUse := s.pods[0].member.Size()
		if _, err := client.Put(ctx, "small", "v"); err != nil {
			return fmt.Errorf("%w with %d of %d bytes in use", err, inUse, size)
		}
		return nil
	})
	if size, _ := s.pods[0].member.Size(); size > s.quota/2 {
		t.Errorf("%d bytes after defragmentation", size)
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
