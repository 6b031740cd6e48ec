package election

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// StoreLock keeps the same record as a Lease in one etcd key, compare-and-swapped by its revision: leader
// election without Kubernetes.
type StoreLock struct {
	cfg     StoreLockConfig
	version int64  // the revision of the key as last read or written
	boot    string // the holder's, as last read
}

// StoreLockConfig says which key, and who asks.
type StoreLockConfig struct {
	KV          clientv3.KV
	Watcher     clientv3.Watcher
	Key         string
	Pod, BootID string
}

// lockLimit bounds each request of the lock.
const lockLimit = 2 * time.Second

var lockResource = schema.GroupResource{Group: "leasehold.dev", Resource: "locks"}

// NewStoreLock makes a StoreLock. It talks to nobody yet.
func NewStoreLock(cfg StoreLockConfig) *StoreLock { return &StoreLock{cfg: cfg} }

// Get reads the record linearizably.
func (l *StoreLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	resp, err := l.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	if len(resp.Kvs) == 0 {
		l.version, l.boot = 0, ""
		return nil, nil, apierrors.NewNotFound(lockResource, l.cfg.Key)
	}
	kv := resp.Kvs[0]
	record := decodeRecord(kv.Value)
	l.version, l.boot = kv.ModRevision, record.BootID
	return &record.LeaderElectionRecord, kv.Value, nil
}

func (l *StoreLock) read(ctx context.Context) (*clientv3.GetResponse, error) {
	return persist(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) { return l.cfg.KV.Get(ctx, l.cfg.Key) })
}

// persist repeats a request until it is answered or lockLimit is over: etcd fails what is under way when its
// leader changes, which is just when the lock is released in a handover.
func persist[T any](ctx context.Context, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	for {
		answer, err := request(ctx)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		waitChanged(ctx, nil, 20*time.Millisecond)
	}
}

// Create writes the record if there is none.
func (l *StoreLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.swap(ctx, 0, record)
}

// Update writes the record if it is still as last read or written.
func (l *StoreLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.swap(ctx, l.version, record)
}

func (l *StoreLock) swap(ctx context.Context, version int64, record resourcelock.LeaderElectionRecord) error {
	value, err := encodeRecord(record, l.cfg.BootID)
	if err != nil {
		return err
	}
	resp, err := persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return l.cfg.KV.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(l.cfg.Key), "=", version)).
			Then(clientv3.OpPut(l.cfg.Key, string(value))).
			Commit()
	})
	switch {
	case err != nil:
		return err
	case !resp.Succeeded:
		return apierrors.NewConflict(lockResource, l.cfg.Key, fmt.Errorf("it is not at revision %d any more", version))
	}
	l.version = resp.Header.Revision
	return nil
}

// HolderBoot implements Lock.
func (l *StoreLock) HolderBoot() string { return l.boot }

// Watch implements Lock. A watch that ends is begun again; it starts with the record as it is.
func (l *StoreLock) Watch(ctx context.Context) <-chan string { return watchAgain(ctx, l.watchOnce) }

func (l *StoreLock) watchOnce(ctx context.Context, holders chan<- string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	now, err := l.read(ctx)
	if err != nil {
		return // the elector's own polling is the fallback, and reports what is wrong
	}
	var value []byte
	if len(now.Kvs) > 0 {
		value = now.Kvs[0].Value
	}
	if !sendHolder(ctx, holders, holderOf(value)) {
		return
	}
	for resp := range l.cfg.Watcher.Watch(ctx, l.cfg.Key, clientv3.WithRev(now.Header.Revision+1)) {
		for _, ev := range resp.Events {
			if !sendHolder(ctx, holders, holderOf(ev.Kv.Value)) {
				return
			}
		}
	}
}

// Identity implements resourcelock.Interface.
func (l *StoreLock) Identity() string { return l.cfg.Pod }

// Describe implements resourcelock.Interface.
func (l *StoreLock) Describe() string { return "store/" + l.cfg.Key }

// RecordEvent implements resourcelock.Interface. There is nobody to tell: the log says it.
func (l *StoreLock) RecordEvent(string) {}

// Announce implements Lock, as RecordEvent does.
func (l *StoreLock) Announce(Change) {}

// Away implements Lock: who cannot reach this lock cannot reach the store either, so there is nobody to ask in its place.
func (l *StoreLock) Away(error) bool { return false }
