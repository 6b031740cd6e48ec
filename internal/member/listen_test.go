package member_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/internal/member"
)

// A person with etcdctl can look at the member, where it is told to listen for clients.
func TestClientListener(t *testing.T) {
	t.Parallel()
	s := newSet(t, 1, 2)
	client := "127.0.0.1:" + strconv.Itoa(s.ports[2])
	m, err := member.New(member.Config{
		Name: "leasehold-0", BootID: "b", Dir: t.TempDir(), Peers: s.peers, Replicas: s.countReplicas,
		ListenPeer: "127.0.0.1:" + strconv.Itoa(s.ports[1]), ListenClient: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	outside, err := clientv3.New(clientv3.Config{Endpoints: []string{client}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	eventually(t, func() error {
		resp, err := outside.Get(ctx, "k")
		if err == nil && len(resp.Kvs) != 1 {
			err = fmt.Errorf("%d keys", len(resp.Kvs))
		}
		return err
	})
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
