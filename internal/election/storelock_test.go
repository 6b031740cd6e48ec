package election

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/leasehold/leasehold/internal/etcdtest"
)

// startEtcd starts an etcd of one member and returns a client in this process.
func startEtcd(t *testing.T) *clientv3.Client {
	t.Helper()
	client := v3client.New(etcdtest.Start(t).Server)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// lossyKV applies transactions and loses their answers while on.
type lossyKV struct {
	clientv3.KV
	on atomic.Bool
}

func (k *lossyKV) Txn(ctx context.Context) clientv3.Txn { return &lossyTxn{k.KV.Txn(ctx), k} }

type lossyTxn struct {
	clientv3.Txn
	kv *lossyKV
}

func (t *lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(cs...)
	return t
}

func (t *lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Then(ops...)
	return t
}

func (t *lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	resp, err := t.Txn.Commit()
	if t.kv.on.Load() {
		return nil, errInjected
	}
	return resp, err
}

// etcd is what one test of the suite has.
type etcd struct {
	t      *testing.T
	client *clientv3.Client
	key    string // its own
}

func TestStoreLock(t *testing.T) {
	client := startEtcd(t)
	for name, test := range map[string]func(*etcd){
		"ALostAnswerIsFoundOut":                   storeLostAnswer,
		"TheWatchIsBegunAgainWithWhatItHasMissed": storeWatchAgain,
		"ARequestThatHangsHasALimit":              storeHangs,
		"AChangeOfEtcdsLeaderIsSatOut":            storePersists,
	} {
		t.Run(name, func(t *testing.T) { test(&etcd{t, client, t.Name()}) })
	}
}

func storeLock(client *clientv3.Client, key, pod, boot string) *StoreLock {
	return NewStoreLock(StoreLockConfig{KV: client.KV, Watcher: client.Watcher, Key: key, Pod: pod, BootID: boot})
}

func storeLostAnswer(e *etcd) {
	t, client, key := e.t, e.client, e.key
	kv := &lossyKV{KV: client.KV}
	a := NewStoreLock(StoreLockConfig{KV: kv, Key: key, Pod: "pod-0", BootID: "boot-a"})
	create(t, a, "pod-0")
	kv.on.Store(true)
	if err := a.Update(t.Context(), held("pod-0")); err == nil {
		t.Fatal("no error although the answer is lost")
	}
	kv.on.Store(false)
	if err := a.Update(t.Context(), held("pod-0")); !apierrors.IsConflict(err) {
		t.Errorf("%v, want a conflict with the own write", err)
	}
	expectHolder(t, a, "pod-0", "boot-a") // client-go's slow path finds out whose it is
	update(t, a, "pod-0")
}

// cutWatcher ends its first watch without an event.
type cutWatcher struct {
	clientv3.Watcher
	cut     chan struct{}
	watches atomic.Int32
}

func (w *cutWatcher) Watch(ctx context.Context, key string, o ...clientv3.OpOption) clientv3.WatchChan {
	if w.watches.Add(1) > 1 {
		return w.Watcher.Watch(ctx, key, o...)
	}
	nothing := make(chan clientv3.WatchResponse)
	go func() {
		<-w.cut
		close(nothing)
	}()
	return nothing
}

func storeWatchAgain(e *etcd) {
	t, client, key := e.t, e.client, e.key
	a := storeLock(client, key, "pod-0", "boot-a")
	create(t, a, "")
	watcher := &cutWatcher{Watcher: client.Watcher, cut: make(chan struct{})}
	b := NewStoreLock(StoreLockConfig{KV: client.KV, Watcher: watcher, Key: key, Pod: "pod-1", BootID: "boot-b"})
	ctx, cancel := context.WithCancel(t.Context())
	holders := b.Watch(ctx)
	if got := next(t, holders, "none"); got != "" {
		t.Fatalf("begins with %q", got)
	}
	update(t, a, "pod-0")
	close(watcher.cut)
	if got := next(t, holders, ""); got != "pod-0" {
		t.Errorf("sent %q: what was written meanwhile is missed", got)
	}
	cancel()
	for range holders {
		continue
	}
}

// hangingKV never answers a read.
type hangingKV struct{ clientv3.KV }

func (hangingKV) Get(ctx context.Context, _ string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func storeHangs(e *etcd) {
	t, client, key := e.t, e.client, e.key
	a := NewStoreLock(StoreLockConfig{KV: hangingKV{client.KV}, Key: key, Pod: "pod-0", BootID: "boot-a"})
	began := time.Now()
	if _, _, err := a.Get(t.Context()); err == nil || time.Since(began) > 2*lockLimit {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// changingKV fails the first read, as etcd does while its leader changes.
type changingKV struct {
	clientv3.KV
	failed atomic.Bool
}

func (k *changingKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if k.failed.CompareAndSwap(false, true) {
		return nil, rpctypes.ErrLeaderChanged
	}
	return k.KV.Get(ctx, key, opts...)
}

// A release that comes just as etcd's leader moves must not fail: the successor would wait for the lease to run out.
func storePersists(e *etcd) {
	t, client, key := e.t, e.client, e.key
	create(t, storeLock(client, key, "pod-0", "boot-a"), "pod-0")
	a := NewStoreLock(StoreLockConfig{KV: &changingKV{KV: client.KV}, Key: key, Pod: "pod-0", BootID: "boot-a"})
	expectHolder(t, a, "pod-0", "boot-a")
	update(t, a, "")
	expectHolder(t, storeLock(client, key, "pod-1", "boot-b"), "", "boot-a")
}
