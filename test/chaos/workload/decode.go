package workload

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
	"github.com/leasehold/leasehold/test/chaos/check"
)

// decode makes a transaction of the events of one revision; false if it is none of the chain's, and need not be.
func decode(revision int64, events []*clientv3.Event) (t check.Transaction, ok bool) {
	t.Revision = revision
	for _, ev := range events {
		record, err := store.DecodeEvent(ev)
		switch record.(type) {
		case store.LockRecord, store.PartRecord:
			continue
		}
		ok = true
		if err == nil {
			err = add(&t, record, ev.Type == mvccpb.Event_DELETE)
		}
		if err != nil {
			t.Foreign = append(t.Foreign, fmt.Sprintf("%s (%v)", ev.Kv.Key, err))
		}
	}
	return t, ok
}

func add(t *check.Transaction, record any, deleted bool) error {
	switch r := record.(type) {
	case store.HeadRecord:
		t.Head = &check.Position{Epoch: r.Epoch, Sequence: r.Sequence, Resigned: r.Resigned}
	case store.Leader:
		t.Leader = &check.Leader{Pod: r.Pod, ClaimID: r.ClaimID, Epoch: r.Epoch, Resigned: r.Resigned}
	case store.JournalRecord:
		if !deleted {
			t.Journal = journal(r)
		}
	case store.Entry:
		t.Entries = append(t.Entries, check.Entry{Key: r.Key, Value: string(r.Value), Deleted: deleted})
		if r.Key == jobs.HeartbeatKey && !deleted {
			return addEffect(t, "heartbeat", r.Value)
		}
	case store.StateRecord:
		if !deleted {
			return addEffect(t, r.Name, r.Value)
		}
	}
	return nil
}

func journal(r store.JournalRecord) *check.Journal {
	j := &check.Journal{Position: check.Position{Epoch: r.Epoch, Sequence: r.Sequence}}
	for _, d := range r.Decisions {
		j.IDs = append(j.IDs, hex.EncodeToString(d.ID[:]))
	}
	return j
}

var errState = errors.New("a record of the service's own of an unknown name")

// addEffect reads who has written a record of the service's own: the heartbeat, the state of a job, or the history of leaders.
func addEffect(t *check.Transaction, name string, value []byte) error {
	e, err := effect(name, value)
	if err == nil {
		t.Effects = append(t.Effects, e)
	}
	return err
}

func effect(name string, value []byte) (check.Effect, error) {
	job, ofJob := strings.CutPrefix(name, "jobs/")
	switch {
	case ofJob:
		var s struct {
			Pod   string
			Epoch uint64
		}
		err := json.Unmarshal(value, &s)
		return check.Effect{Job: job, Pod: s.Pod, Epoch: s.Epoch}, err
	case name == "heartbeat":
		var b struct {
			Leader string
			Epoch  uint64
		}
		err := json.Unmarshal(value, &b)
		return check.Effect{Job: name, Pod: b.Leader, Epoch: b.Epoch}, err
	case name == "history":
		var changes []struct {
			To    string
			Epoch uint64
		}
		err := json.Unmarshal(value, &changes)
		if err == nil && len(changes) == 0 {
			err = errState
		}
		if err != nil {
			return check.Effect{}, err
		}
		return check.Effect{Job: name, Pod: changes[0].To, Epoch: changes[0].Epoch}, nil
	}
	return check.Effect{}, errState
}
