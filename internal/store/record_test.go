package store

import (
	"reflect"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// events are all that the cluster's etcd has ever seen, by the record that they wrote or deleted.
func (c *cluster) events() (written, deleted []any) {
	c.t.Helper()
	resp, err := c.client.Get(testContext(c.t), headKey)
	if err != nil {
		c.t.Fatal(err)
	}
	last := resp.Header.Revision
	for resp := range c.client.Watch(testContext(c.t), "\x00", clientv3.WithFromKey(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			c.t.Fatal(err)
		}
		for _, ev := range resp.Events {
			record, err := DecodeEvent(ev)
			if err != nil {
				c.t.Fatal(err)
			}
			if ev.Type == mvccpb.Event_DELETE {
				deleted = append(deleted, record)
			} else {
				written = append(written, record)
			}
		}
		if n := len(resp.Events); n > 0 && resp.Events[n-1].Kv.ModRevision == last {
			return written, deleted
		}
	}
	c.t.Fatal("the watch ended")
	return nil, nil
}

// wrote are the records of one type.
func wrote[R any](all []any) (records []R) {
	for _, r := range all {
		if r, ok := r.(R); ok {
			records = append(records, r)
		}
	}
	return records
}

func same[R any](t *testing.T, what string, got []R, want ...R) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v; want %+v", what, got, want)
	}
}

func TestWhatIsWrittenCanBeReadFromEtcd(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	r := c.replica("leasehold-0")
	term := r.lead()
	due := time.UnixMilli(1_700_000_000_000).UTC()
	put := &Write{ID: NewID()}
	put.Put(Entry{Key: "a", Value: []byte("one"), ContentType: "text/plain", Expires: due})
	put.PutState("jobs/sweep", []byte("{}"))
	first := r.apply(put)
	refused := &Write{ID: NewID()}
	refused.Require(Condition{Key: "a", Revision: Absent})
	refused.Put(Entry{Key: "a", Value: []byte("two")})
	r.decide(refused)
	gone := &Write{ID: NewID()}
	gone.Delete("a")
	last := r.apply(gone)
	if err := term.Resign(testContext(t), "graceful", ""); err != nil {
		t.Fatal(err)
	}
	written, deleted := c.events()
	same(t, "heads", wrote[HeadRecord](written), HeadRecord{Epoch: 1}, HeadRecord{Epoch: 1, Sequence: 1},
		HeadRecord{Epoch: 1, Sequence: 2}, HeadRecord{Epoch: 1, Sequence: 3}, HeadRecord{Epoch: 1, Resigned: true})
	same(t, "journal", wrote[JournalRecord](written), JournalRecord{Epoch: 1},
		JournalRecord{Epoch: 1, Sequence: 1, Decisions: []Decision{{put.ID, true}}},
		JournalRecord{Epoch: 1, Sequence: 2, Decisions: []Decision{{refused.ID, false}}},
		JournalRecord{Epoch: 1, Sequence: 3, Decisions: []Decision{{gone.ID, true}}})
	same(t, "entries", wrote[Entry](written),
		Entry{Key: "a", Value: []byte("one"), ContentType: "text/plain", Expires: due, Revision: first.Revision})
	same(t, "deleted", wrote[Entry](deleted), Entry{Key: "a", Revision: last.Revision})
	same(t, "state", wrote[StateRecord](written), StateRecord{Name: "jobs/sweep", Value: []byte("{}")})
	same(t, "expiry", wrote[ExpiryRecord](written), ExpiryRecord{Key: "a", At: due})
	leaders := wrote[Leader](written)
	if len(leaders) != 2 || leaders[0].Resigned || !leaders[1].Resigned || leaders[1].Pod != "leasehold-0" {
		t.Errorf("leader records: %+v", leaders)
	}
}

func TestWhatIsNoRecordIsNotDecoded(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		"elsewhere": "", headKey: "nowhere", leaderKey: "{", journalPrefix + "1": "", journalPrefix + "1/1": "short", entryPrefix + "a": "",
		expiryPrefix + "soon": "",
	} {
		ev := &clientv3.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)}}
		if record, err := DecodeEvent(ev); err == nil {
			t.Errorf("%s: %+v", key, record)
		}
	}
}
