package store

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"
)

// ID is what makes a write happen once however often it is sent.
type ID [16]byte

// NewID makes a random ID, for a write whose client named none.
func NewID() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// ClientID makes the ID of a client's own idempotency key. It cannot collide with one made by NewID.
func ClientID(key string) ID { return ID(Hash("idempotency-key", key)) }

// Hash is a fingerprint of parts: 16 bytes of their SHA-256.
func Hash(parts ...string) [16]byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return [16]byte(h.Sum(nil))
}

// Conditions on a key other than "its revision is n".
const (
	Absent int64 = 0
	Exists int64 = -1
)

// Condition is that a key's entry was last written at Revision, or is Absent, or Exists.
type Condition struct {
	Key      string
	Revision int64
}

// Write is one atomic request: if all conditions hold, all operations are applied, in one transaction with
// the record of its outcome.
type Write struct {
	ID ID
	// Client says that the ID comes from a client's own idempotency key and is remembered for longer.
	Client bool
	// Hash is a fingerprint of the whole request: the same ID with another hash is refused.
	Hash [16]byte

	conditions []etcdCondition
	ops        []op
	bytes      int
	grows      bool
	data       bool // touches entries, and so not only state
	prunes     bool // makes room in the journal
}

// op is a put or delete of one key in etcd.
type op struct {
	key    string
	value  []byte
	delete bool
}

type etcdCondition struct {
	key      string
	revision int64
}

// Outcome is what came of a write.
type Outcome struct {
	// Applied is false where a condition did not hold.
	Applied bool
	// Revision is the one of the transaction that decided the write.
	Revision int64
	// Epoch is the one under which it was decided; 0 where a replay no longer knows.
	Epoch uint64
	// Replayed says that the outcome is that of an earlier request under the same ID.
	Replayed bool
}

// Require adds a condition on a client's key.
func (w *Write) Require(c Condition) {
	w.conditions = append(w.conditions, etcdCondition{entryPrefix + c.Key, c.Revision})
	w.data = true
}

// Put adds the writing of an entry. With a time to live it also adds the index by which the entry is found
// when it is due.
func (w *Write) Put(e Entry) {
	w.add(op{key: entryPrefix + e.Key, value: e.encode()})
	if !e.Expires.IsZero() {
		w.add(op{key: expiryKey(e.Expires, e.Key)})
	}
	w.grows, w.data = true, true
}

// Delete adds the deletion of a client's key.
func (w *Write) Delete(key string) {
	w.add(op{key: entryPrefix + key, delete: true})
	w.data = true
}

// PutState adds the writing of a record of the service's own, apart from clients' keys. It is taken even
// when the store is full: such records are few and small.
func (w *Write) PutState(name string, value []byte) {
	w.add(op{key: statePrefix + name, value: value})
}

func (w *Write) add(o op) {
	w.ops = append(w.ops, o)
	w.bytes += len(o.key) + len(o.value) + 16
}

// validate finds what would make etcd refuse the whole transaction that w is part of, and data that are not the election's.
func (w *Write) validate(election string) error {
	if w.data && election != Writes {
		return fmt.Errorf("%w: the data belong to the election %s, and this is a term of %s; write them under that one", ErrInvalid, Writes, election)
	}
	if len(w.ops) > maxBatchOps || w.bytes > maxBatchBytes {
		return fmt.Errorf("%w: %d operations and %d bytes; at most %d and %d go into one transaction",
			ErrInvalid, len(w.ops), w.bytes, maxBatchOps, maxBatchBytes)
	}
	if len(w.conditions) > maxConditions {
		return fmt.Errorf("%w: %d conditions; at most %d are taken", ErrInvalid, len(w.conditions), maxConditions)
	}
	seen := make(map[string]bool, len(w.ops))
	for _, o := range w.ops {
		if seen[o.key] {
			return fmt.Errorf("%w: a key is written twice", ErrInvalid)
		}
		seen[o.key] = true
	}
	return nil
}

// window is how long the outcome of w is remembered.
func (c *Config) window(client bool) time.Duration {
	if client {
		return c.ClientWindow
	}
	return c.Window
}
