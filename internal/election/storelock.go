package election

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
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

type lockRecord struct {
	resourcelock.LeaderElectionRecord
	BootID string `json:"bootID"`
}

// NewStoreLock makes a StoreLock. It talks to nobody yet.
func NewStoreLock(cfg StoreLockConfig) *StoreLock { return &StoreLock{cfg: cfg} }

// Get reads the record linearizably.
func (l *StoreLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	resp, err := l.cfg.KV.Get(ctx, l.cfg.Key)
	if err != nil {
		return nil, nil, err
	}
	if len(resp.Kvs) == 0 {
		l.version, l.boot = 0, ""
		return nil, nil, apierrors.NewNotFound(lockResource, l.cfg.Key)
	}
	kv := resp.Kvs[0]
	var record lockRecord
	if err := json.Unmarshal(kv.Value, &record); err != nil {
		return nil, nil, fmt.Errorf("malformed record in %s: %w", l.cfg.Key, err)
	}
	l.version, l.boot = kv.ModRevision, record.BootID
	return &record.LeaderElectionRecord, kv.Value, nil
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
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	value, err := json.Marshal(lockRecord{record, l.cfg.BootID})
	if err != nil {
		return err
	}
	resp, err := l.cfg.KV.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(l.cfg.Key), "=", version)).
		Then(clientv3.OpPut(l.cfg.Key, string(value))).
		Commit()
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

// Watch implements Lock.
func (l *StoreLock) Watch(ctx context.Context) <-chan string {
	holders := make(chan string)
	go func() {
		defer close(holders)
		for ctx.Err() == nil {
			l.watchOnce(ctx, holders)
			waitChanged(ctx, nil, time.Second)
		}
	}()
	return holders
}

func (l *StoreLock) watchOnce(ctx context.Context, holders chan<- string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range l.cfg.Watcher.Watch(ctx, l.cfg.Key) {
		for _, ev := range resp.Events {
			select {
			case holders <- holderOf(ev):
			case <-ctx.Done():
				return
			}
		}
	}
}

// holderOf is the holder after a change of the key. A key that is gone or malformed is held by nobody.
func holderOf(ev *clientv3.Event) string {
	var record lockRecord
	if ev.Type == mvccpb.Event_PUT && json.Unmarshal(ev.Kv.Value, &record) == nil {
		return record.HolderIdentity
	}
	return ""
}

// Identity implements resourcelock.Interface.
func (l *StoreLock) Identity() string { return l.cfg.Pod }

// Describe implements resourcelock.Interface.
func (l *StoreLock) Describe() string { return "store/" + l.cfg.Key }

// RecordEvent implements resourcelock.Interface. There is nobody to tell: the log says it.
func (l *StoreLock) RecordEvent(string) {}
