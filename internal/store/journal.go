package store

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// A journal record is the trace that a batch leaves: for each of its writes the ID, the hash and whether it
// was applied. It is written in the batch's own transaction, so it is there if and only if the batch is.
//
// Every replica follows the records into memory. So a new leader knows, as soon as it has seen its own claim,
// the outcome of every write that an earlier leader may have left unanswered.
type decision struct {
	id      ID
	hash    [16]byte
	applied bool
	client  bool
}

const (
	decisionBytes = 16 + 16 + 1
	flagApplied   = 1
	flagClient    = 2
)

var errJournal = errors.New("malformed journal record")

func encodeDecisions(ds []decision) []byte {
	b := make([]byte, 0, len(ds)*decisionBytes)
	for _, d := range ds {
		var flags byte
		if d.applied {
			flags |= flagApplied
		}
		if d.client {
			flags |= flagClient
		}
		b = append(b, d.id[:]...)
		b = append(b, d.hash[:]...)
		b = append(b, flags)
	}
	return b
}

func decodeDecisions(b []byte) ([]decision, error) {
	if len(b)%decisionBytes != 0 {
		return nil, errJournal
	}
	ds := make([]decision, 0, len(b)/decisionBytes)
	for ; len(b) > 0; b = b[decisionBytes:] {
		ds = append(ds, decision{
			id: ID(b[:16]), hash: [16]byte(b[16:32]),
			applied: b[32]&flagApplied != 0, client: b[32]&flagClient != 0,
		})
	}
	return ds, nil
}

// journal is the records in memory, and how far they have been followed.
type journal struct {
	mu       sync.Mutex
	outcomes map[ID]remembered
	batches  map[position]batchRecord
	reached  int64
	moved    chan struct{}
}

type remembered struct {
	hash     [16]byte
	applied  bool
	revision int64
	at       position
}

type batchRecord struct {
	ids      []ID
	client   bool
	revision int64
	seen     time.Time // when this replica learned of it
}

func newJournal() *journal {
	return &journal{
		outcomes: map[ID]remembered{},
		batches:  map[position]batchRecord{},
		moved:    make(chan struct{}),
	}
}

// add remembers a batch's decisions. A batch known already keeps the time at which it was first seen.
func (j *journal) add(at position, ds []decision, revision int64, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.batches[at]; known {
		return
	}
	rec := batchRecord{ids: make([]ID, 0, len(ds)), revision: revision, seen: now}
	for _, d := range ds {
		rec.ids = append(rec.ids, d.id)
		rec.client = rec.client || d.client
		j.outcomes[d.id] = remembered{hash: d.hash, applied: d.applied, revision: revision, at: at}
	}
	j.batches[at] = rec
}

// forget drops a batch whose record has been pruned.
func (j *journal) forget(at position) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range j.batches[at].ids {
		if j.outcomes[id].at == at {
			delete(j.outcomes, id)
		}
	}
	delete(j.batches, at)
}

// retain forgets the batches that keep, read at revision, does not name: those that were pruned meanwhile. What
// the committer has added since that read stays.
func (j *journal) retain(keep map[position]bool, revision int64) {
	j.mu.Lock()
	var gone []position
	for at, rec := range j.batches {
		if !keep[at] && rec.revision <= revision {
			gone = append(gone, at)
		}
	}
	j.mu.Unlock()
	for _, at := range gone {
		j.forget(at)
	}
}

func (j *journal) lookup(id ID) (remembered, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r, ok := j.outcomes[id]
	return r, ok && !sabotage.Journal
}

func (j *journal) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.outcomes)
}

// prunable lists the records, oldest first, that are past their window. Nothing counts as older than
// the claim of who asks: what an earlier leader left is kept for a whole window of the new one.
func (j *journal) prunable(cfg *Config, claimed, now time.Time) []position {
	j.mu.Lock()
	defer j.mu.Unlock()
	var due []position
	for at, rec := range j.batches {
		seen := rec.seen
		if claimed.After(seen) {
			seen = claimed
		}
		if now.Sub(seen) > cfg.window(rec.client) || sabotage.Prune {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, comparePositions)
	return due
}

func comparePositions(a, b position) int {
	if a.epoch != b.epoch {
		return compare(a.epoch, b.epoch)
	}
	return compare(a.sequence, b.sequence)
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// reach notes that all records up to revision have been followed.
func (j *journal) reach(revision int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if revision <= j.reached {
		return
	}
	j.reached = revision
	close(j.moved)
	j.moved = make(chan struct{})
}

func (j *journal) progress() (reached int64, moved <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.reached, j.moved
}
