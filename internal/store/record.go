package store

import (
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The records that the keys of etcd hold, for those who watch etcd itself. Entry and Leader are two more.
type (
	// HeadRecord is the place of a transaction in the chain.
	HeadRecord struct {
		Epoch, Sequence uint64
		// Resigned says that the transaction gave the epoch up.
		Resigned bool
	}
	// JournalRecord is what a batch decided.
	JournalRecord struct {
		Epoch, Sequence uint64
		Decisions       []Decision
	}
	// Decision is the outcome of one write of a batch.
	Decision struct {
		ID      ID
		Applied bool
	}
	// StateRecord is a record of the service's own.
	StateRecord struct {
		Name  string
		Value []byte
	}
	// ExpiryRecord is when an entry is due to be deleted.
	ExpiryRecord struct {
		Key string
		At  time.Time
	}
	// LockRecord is the election's own, where that is held in the store. It stands outside the chain.
	LockRecord struct{}
	// PartRecord is a record of another election than Writes: it stands outside the chain of the data.
	PartRecord struct{ Election string }
)

// DecodeEvent returns which record an event of etcd has written or deleted: one of the types above, an Entry or a Leader.
// Of a record that was deleted it knows only what the key says. The error is that of a key or a value that is none of
// the service's.
func DecodeEvent(ev *clientv3.Event) (any, error) {
	key, kv, deleted := string(ev.Kv.Key), ev.Kv, ev.Type == mvccpb.Event_DELETE
	switch {
	case key == LockKey:
		return LockRecord{}, nil
	case strings.HasPrefix(key, electionPrefix):
		election, _, _ := strings.Cut(strings.TrimPrefix(key, electionPrefix), "/")
		return PartRecord{election}, nil
	case key == headKey && !deleted:
		return decodeHead(string(kv.Value))
	case key == leaderKey && !deleted:
		return decodeLeader(kv.Value, kv.ModRevision)
	case strings.HasPrefix(key, journalPrefix):
		return decodeJournal(strings.TrimPrefix(key, journalPrefix), kv.Value)
	case strings.HasPrefix(key, entryPrefix) && deleted:
		return Entry{Key: clientKey(kv), Revision: kv.ModRevision}, nil
	case strings.HasPrefix(key, entryPrefix):
		return decodeEntry(clientKey(kv), kv.Value, kv.ModRevision)
	case strings.HasPrefix(key, statePrefix):
		return StateRecord{Name: strings.TrimPrefix(key, statePrefix), Value: kv.Value}, nil
	case strings.HasPrefix(key, expiryPrefix):
		at, entry, err := parseExpiryKey(key)
		return ExpiryRecord{Key: entry, At: at.UTC()}, err
	}
	return nil, fmt.Errorf("not a record of the service: %q", key)
}

const resignedMark = " resigned"

func decodeHead(value string) (HeadRecord, error) {
	place, resigned := strings.CutSuffix(value, resignedMark)
	at, err := parsePosition(place)
	return HeadRecord{Epoch: at.epoch, Sequence: at.sequence, Resigned: resigned}, err
}

func decodeJournal(place string, value []byte) (JournalRecord, error) {
	at, err := parsePosition(place)
	if err != nil {
		return JournalRecord{}, err
	}
	ds, err := decodeDecisions(value)
	r := JournalRecord{Epoch: at.epoch, Sequence: at.sequence}
	for _, d := range ds {
		r.Decisions = append(r.Decisions, Decision{ID: d.id, Applied: d.applied})
	}
	return r, err
}
