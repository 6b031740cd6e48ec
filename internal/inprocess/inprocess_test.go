package inprocess

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"google.golang.org/protobuf/proto"

	"github.com/leasehold/leasehold/internal/etcdtest"
)

// start runs a server and returns our client of it, and etcd's.
func start(t *testing.T) (server *etcdserver.EtcdServer, ours, theirs *clientv3.Client) {
	t.Helper()
	server = etcdtest.Start(t).Server
	ours, theirs = New(server), v3client.New(server)
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return server, ours, theirs
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, client *clientv3.Client, key, value string) (revision int64) {
	t.Helper()
	resp, err := client.Put(testContext(t), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

func TestAReadIsAnsweredAsByEtcdsOwnClient(t *testing.T) {
	t.Parallel()
	_, ours, theirs := start(t)
	put(t, ours, "a", "gone with the history")
	compacted := put(t, ours, "a", "1")
	put(t, ours, "b", "1")
	old := put(t, ours, "c", "1")
	put(t, ours, "b", "2")
	if _, err := ours.Delete(testContext(t), "c"); err != nil {
		t.Fatal(err)
	}
	newest := put(t, ours, "d", "1")
	if _, err := ours.Compact(testContext(t), compacted); err != nil {
		t.Fatal(err)
	}
	for what, opts := range map[string][]clientv3.OpOption{
		"now":                 nil,
		"a range":             {clientv3.WithRange("d")},
		"an empty range":      {clientv3.WithRange("a")},
		"all that follow":     {clientv3.WithFromKey()},
		"a prefix":            {clientv3.WithPrefix()},
		"fewer than there":    {clientv3.WithRange("z"), clientv3.WithLimit(2)},
		"as many as there":    {clientv3.WithRange("z"), clientv3.WithLimit(3)},
		"the past":            {clientv3.WithRange("z"), clientv3.WithRev(old)},
		"some of the past":    {clientv3.WithRange("z"), clientv3.WithRev(old), clientv3.WithLimit(2)},
		"the oldest":          {clientv3.WithRev(compacted)},
		"before the oldest":   {clientv3.WithRev(compacted - 1)},
		"the future":          {clientv3.WithRev(newest + 1)},
		"keys alone":          {clientv3.WithRange("z"), clientv3.WithKeysOnly(), clientv3.WithLimit(2)},
		"keys alone, too old": {clientv3.WithKeysOnly(), clientv3.WithRev(compacted - 1)},
		"how many":            {clientv3.WithRange("z"), clientv3.WithCountOnly()},
	} {
		for _, key := range []string{"a", "b", "c", "none"} {
			for _, local := range []bool{true, false} {
				o := opts
				if local {
					o = append([]clientv3.OpOption{clientv3.WithSerializable()}, opts...)
				}
				got, err1 := ours.Get(testContext(t), key, o...)
				want, err2 := theirs.Get(testContext(t), key, o...)
				if g, w := describe(got, err1), describe(want, err2); g != w {
					t.Errorf("%s from %s, local %t:\n%s; want\n%s", what, key, local, g, w)
				}
			}
		}
	}
}

// describe says what an answer holds, but for the count of what was left out of it.
func describe(resp *clientv3.GetResponse, err error) string {
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("at %d, more %t:", resp.Header.Revision, resp.More)
	if len(resp.Kvs) == 0 {
		s += fmt.Sprintf(" %d", resp.Count)
	}
	for _, kv := range resp.Kvs {
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(kv)
		s += fmt.Sprintf(" %q", b)
	}
	return s
}

func TestAReadThatWouldBeSortedOrFilteredIsRefused(t *testing.T) {
	t.Parallel()
	_, ours, _ := start(t)
	for _, o := range []clientv3.OpOption{
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend),
		clientv3.WithMinModRev(1), clientv3.WithMaxModRev(1), clientv3.WithMinCreateRev(1), clientv3.WithMaxCreateRev(1),
	} {
		if _, err := ours.Get(testContext(t), "a", clientv3.WithPrefix(), o); !errors.Is(err, errUnsupported) {
			t.Error(err)
		}
	}
}

// Do reads as Get does, from the storage, and leaves all else to etcd's.
func TestDoIsLikeGet(t *testing.T) {
	t.Parallel()
	_, ours, _ := start(t)
	ctx := testContext(t)
	if resp, err := ours.Do(ctx, clientv3.OpPut("a", "1")); err != nil || resp.Put() == nil {
		t.Errorf("a put answers %+v, %v", resp, err)
	}
	for _, o := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}, {clientv3.WithPrefix(), clientv3.WithKeysOnly()}, {clientv3.WithRev(1000)}} {
		want, err1 := ours.Get(ctx, "a", o...)
		got, err2 := ours.Do(ctx, clientv3.OpGet("a", o...))
		if (err1 == nil) != (got.Get() != nil) || describe(got.Get(), err2) != describe(want, err1) {
			t.Errorf("Do answers %s, Get %s", describe(got.Get(), err2), describe(want, err1))
		}
	}
	if _, err := ours.Do(ctx, clientv3.OpGet("a", clientv3.WithPrefix(), clientv3.WithMinModRev(1))); !errors.Is(err, errUnsupported) {
		t.Error(err)
	}
}

func TestAReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, ours, _ := start(t)
	put(t, ours, "a", "1")
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	for _, o := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}} {
		if _, err := ours.Get(ctx, "a", o...); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestEtcdClosesItsStorageOnlyWhenNobodyReads(t *testing.T) {
	t.Parallel()
	server, ours, _ := start(t)
	k, ok := ours.KV.(*kv)
	if !ok {
		t.Fatalf("the client reads by a %T", ours.KV)
	}
	reading := &k.reading
	reading.RLock()
	go server.HardStop()
	<-server.StoppingNotify()
	select {
	case <-server.StopNotify():
		t.Error("it is closed while somebody reads")
	case <-time.After(100 * time.Millisecond):
	}
	reading.RUnlock()
	<-server.StopNotify()
}

func TestReadsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	server, ours, _ := start(t)
	put(t, ours, "a", "1")
	var readers sync.WaitGroup
	read := func(opts ...clientv3.OpOption) {
		ctx, err := testContext(t), error(nil)
		for err == nil {
			_, err = ours.Get(ctx, "a", opts...)
		}
		if ctx.Err() != nil {
			t.Errorf("a read hangs: %v", err)
		}
	}
	for range 8 {
		readers.Go(func() { read(clientv3.WithSerializable()) })
		readers.Go(func() { read(clientv3.WithSerializable(), clientv3.WithPrefix()) })
		readers.Go(func() { read() })
	}
	server.HardStop()
	readers.Wait()
	if _, err := ours.Get(testContext(t), "a", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrStopped) {
		t.Error(err)
	}
	if _, err := ours.Get(testContext(t), "a"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := New(server).Get(testContext(t), "a", clientv3.WithSerializable()); !errors.Is(err, rpctypes.ErrStopped) {
		t.Errorf("by a client that came too late: %v", err)
	}
}
