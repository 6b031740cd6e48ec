package store

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Leader is the leader record: who leads by the store's word. It is written by claims and resignations only
// and never deleted, so its revision never repeats.
type Leader struct {
	Pod     string    `json:"pod"`
	BootID  string    `json:"boot_id"`
	ClaimID string    `json:"claim_id"`
	Epoch   uint64    `json:"epoch"`
	Since   time.Time `json:"since"`
	// Resigned says that the pod has given leadership up: nobody leads. The rest is known of a record that was resigned
	// only, and empty where that was not said.
	Resigned bool `json:"resigned,omitempty"`
	// Reason is why it was resigned.
	Reason string `json:"reason,omitempty"`
	// Successor is the pod that is to lead next: it goes first.
	Successor string `json:"successor,omitempty"`
	// HeldMS is for how many milliseconds, rounded up, the term had taken no writes when it was resigned.
	HeldMS int64 `json:"held_ms,omitempty"`
	// Revision is the record's own; 0 where nobody has ever led.
	Revision int64 `json:"-"`
}

// Current returns the pod that leads, or "" while nobody does.
func (l Leader) Current() string {
	if l.Resigned {
		return ""
	}
	return l.Pod
}

func (l Leader) encode() string {
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	return string(b)
}

func decodeLeader(value []byte, revision int64) (Leader, error) {
	var l Leader
	if err := json.Unmarshal(value, &l); err != nil {
		return Leader{}, fmt.Errorf("malformed leader record: %w", err)
	}
	l.Revision = revision
	return l, nil
}

// ReadLeader reads the leader record linearizably: a majority has answered when it returns. The zero Leader
// means that nobody has ever led. It is retried until ctx is done.
func (s *Store) ReadLeader(ctx context.Context) (Leader, error) {
	resp, err := s.linearizableGet(ctx, leaderKey)
	if err != nil {
		return Leader{}, fmt.Errorf("read the leader record: %w", err)
	}
	return leaderFrom(resp)
}

func leaderFrom(resp *clientv3.GetResponse) (Leader, error) {
	if len(resp.Kvs) == 0 {
		return Leader{}, nil
	}
	return decodeLeader(resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
}

// leaderView is the newest record known, with a channel a change.
type leaderView struct {
	mu      sync.Mutex
	current Leader
	changed chan struct{}
}

func newLeaderView() *leaderView { return &leaderView{changed: make(chan struct{})} }

func (v *leaderView) get() (Leader, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current, v.changed
}

// set keeps l if it is newer than what is known, and tells whether it was.
func (v *leaderView) set(l Leader) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.Revision <= v.current.Revision {
		return false
	}
	v.current = l
	close(v.changed)
	v.changed = make(chan struct{})
	return true
}
