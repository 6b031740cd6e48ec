package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// in opens a replica's store of an election.
func (c *cluster) in(election, name string, options ...func(*Config)) *replica {
	c.t.Helper()
	return c.replica(name, append([]func(*Config){func(cfg *Config) {
		cfg.Election = election
		cfg.KV, cfg.Watcher = Part(cfg.KV, cfg.Watcher, election)
	}}, options...)...)
}

func state(name, value string) func(*Write) {
	return func(w *Write) { w.PutState(name, []byte(value)) }
}

func (r *replica) stateIs(name, want string) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got, err := r.GetState(testContext(r.t), name); err != nil || string(got) != want {
			return fmt.Errorf("%s: %s is %q, %w; want %q", r.name, name, got, err, want)
		}
		return nil
	})
}

func TestAClaimInOneElectionChangesNothingInAnother(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	writer, worker, rival := c.in(Writes, "leasehold-0"), c.in("jobs", "leasehold-0"), c.in("jobs", "leasehold-1")
	writing, working := writer.lead(), worker.lead()
	writer.apply(request(put("k", "1"), state("s", "of the writes")))
	worker.apply(request(state("s", "of the jobs")))
	before := writer.record()

	rival.lead()
	worker.refuse(request(state("s", "too late")), ErrNotLeading)
	if err := ended(t, working); !errors.Is(err, ErrNotLeading) {
		t.Errorf("the old term ended with %v", err)
	}
	rival.apply(request(state("s", "of the rival")))

	if after := writer.record(); after != before {
		t.Errorf("the writes' record has become %+v, was %+v", after, before)
	}
	if o := writer.apply(request(put("k", "2"))); o.Epoch != writing.Epoch() {
		t.Errorf("written under epoch %d, want %d", o.Epoch, writing.Epoch())
	}
	if now := rival.record(); now.Pod != "leasehold-1" || now.Epoch != 2 {
		t.Errorf("the jobs' record is %+v", now)
	}
	writer.stateIs("s", "of the writes")
	worker.stateIs("s", "of the rival")
}

func TestAClaimOfTheWritesDoesNotFenceTheJobs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	writer, rival, worker := c.in(Writes, "leasehold-0"), c.in(Writes, "leasehold-1"), c.in("jobs", "leasehold-0")
	writer.lead()
	worker.lead()
	rival.lead()
	writer.refuse(request(put("k", "1")), ErrNotLeading)
	worker.apply(request(state("s", "goes on")))
}

// The same claim over the same part does fence: what the tests above see is the part's doing.
func TestTwoClaimsInOnePartFenceEachOther(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	together := func(cfg *Config) { cfg.KV, cfg.Watcher = Part(c.connect(), c.connect(), "jobs") }
	a, b := c.replica("leasehold-0", together), c.replica("leasehold-0", together)
	a.lead()
	b.lead()
	a.refuse(request(state("s", "1")), ErrNotLeading)
	if inside, outside := c.count(electionPrefix+"jobs/"+chainPrefix), c.count(chainPrefix); inside == 0 || outside != 0 {
		t.Errorf("%d keys of the chain are in the part, and %d outside", inside, outside)
	}
}

// What a frozen leader of another election has under way is refused, as that of the writes is.
func TestAFrozenJobsLeadersTransactionArrivesAfterANewClaim(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.in("jobs", "leasehold-0"), c.in("jobs", "leasehold-1")
	a.lead()
	late, frozen := newLatecomer(), newGate(t)
	a.wire.next(late.delay, frozen.hold)
	write := a.startAnytime(testContext(t), request(state("s", "old")))
	frozen.reached(t)
	b.lead()
	if late.arrive(t) {
		t.Error("a transaction of the old leader was applied after the new one's claim")
	}
	b.apply(request(state("s", "new")))
	frozen.open()
	write.fails(ErrNotLeading)
	a.stateIs("s", "new")
}

func TestOnlyTheLeaderOfTheWritesWritesData(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	worker := c.in("jobs", "leasehold-0")
	worker.lead()
	for what, w := range map[string]*Write{
		"an entry": request(put("k", "1")), "a deletion": request(del("k")), "a condition": request(when("k", Absent), state("s", "1")),
		"an entry beside state": request(state("s", "1"), put("k", "1")),
	} {
		_, err := worker.Write(testContext(t), w)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", what, err, ErrInvalid)
		}
	}
	worker.apply(request(state("s", "1")))
	if n := c.count(electionPrefix + "jobs/" + entryPrefix); n != 0 {
		t.Errorf("there are %d entries", n)
	}
}

func TestAnElectionsJournalIsItsOwn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	brief := func(cfg *Config) { cfg.Window = time.Nanosecond }
	writer, worker := c.in(Writes, "leasehold-0", brief), c.in("jobs", "leasehold-0", brief)
	writer.lead()
	term := worker.lead()
	writer.apply(request(put("k", "1")))
	worker.apply(request(state("s", "1")))
	kept := c.count(journalPrefix)
	if n, err := term.PruneJournal(testContext(t)); err != nil || n < 2 {
		t.Errorf("pruned %d, %v", n, err)
	}
	if now := c.count(journalPrefix); now != kept || writer.Remembered() != 1 {
		t.Errorf("of the writes' %d records %d are left, %d remembered", kept, now, writer.Remembered())
	}
	again := c.in("jobs", "leasehold-1")
	if got := again.record(); got.Epoch != 1 || got.Pod != "leasehold-0" {
		t.Errorf("opened again, the record is %+v", got)
	}
	again.stateIs("s", "1")
}

// The store asks in these ways; see also clientv3's own namespaces, on which a part stands.
func TestAPartIsAnEtcdOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ctx := testContext(t)
	kv, watcher := Part(c.client, c.client, "jobs")
	twice := []clientv3.WatchChan{
		watcher.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithRev(1)), watcher.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithRev(1)),
		watcher.Watch(ctx, "a/1", clientv3.WithRev(1)), watcher.Watch(ctx, "a/", clientv3.WithFromKey(), clientv3.WithRev(1)),
	}
	outside := c.client.Watch(ctx, electionPrefix, clientv3.WithPrefix(), clientv3.WithRev(1))
	if _, err := c.client.Put(ctx, "a/1", "outside"); err != nil {
		t.Fatal(err)
	}
	resp, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("a/1"), "=", 0)).
		Then(clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision("a/2"), "=", 0)},
			[]clientv3.Op{clientv3.OpPut("a/1", "inside"), clientv3.OpGet("a/1")}, nil)).Commit()
	if err != nil || !resp.Succeeded {
		t.Fatalf("%+v, %v", resp, err)
	}
	nested := resp.Responses[0].GetResponseTxn()
	if got := nested.GetResponses()[1].GetResponseRange().GetKvs(); !nested.GetSucceeded() || keysOf(got...) != "a/1" {
		t.Errorf("the transaction inside answers %v", got)
	}
	for _, opts := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}, {clientv3.WithSerializable(), clientv3.WithKeysOnly()}} {
		all, err := kv.Get(ctx, "a/", append(opts, clientv3.WithPrefix())...)
		if err != nil || keysOf(all.Kvs...) != "a/1" {
			t.Errorf("a range holds %v, %v", all, err)
		}
		one, err := kv.Get(ctx, "a/1", opts...)
		if err != nil || keysOf(one.Kvs...) != "a/1" || one.Kvs[0].ModRevision != resp.Header.Revision {
			t.Errorf("a read holds %v, %v", one, err)
		}
	}
	for i, events := range append(twice, outside) {
		want := "a/1"
		if i == len(twice) {
			want = electionPrefix + "jobs/a/1"
		}
		got := <-events
		if len(got.Events) != 1 || keysOf(got.Events[0].Kv) != want || got.Header.Revision < resp.Header.Revision {
			t.Errorf("watch %d sees %+v, want %s", i, got, want)
		}
	}
	if _, err := kv.Delete(ctx, "a/1"); err != nil {
		t.Fatal(err)
	}
	if gone := <-twice[0]; gone.Events[0].Type != mvccpb.Event_DELETE || keysOf(gone.Events[0].Kv) != "a/1" {
		t.Errorf("the deletion is seen as %+v", gone)
	}
	if left := c.get("a/1"); string(left) != "outside" {
		t.Errorf("outside there is %q", left)
	}
}

func TestAWatchOfAPartEnds(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, watcher := Part(c.client, c.client, "jobs")
	ctx, cancel := context.WithCancel(testContext(t))
	events := watcher.Watch(ctx, "a")
	cancel()
	for resp := range events { // which hangs if it does not
		if resp.Err() == nil && len(resp.Events) > 0 {
			t.Errorf("it sees %+v", resp)
		}
	}
	first, err := c.client.Put(testContext(t), "k", "1")
	if err != nil {
		t.Fatal(err)
	}
	last, err := c.client.Put(testContext(t), "k", "2")
	if err != nil {
		t.Fatal(err)
	}
	c.compact(last.Header.Revision)
	resp, open := <-watcher.Watch(testContext(t), "a", clientv3.WithRev(first.Header.Revision))
	if !open || !errors.Is(resp.Err(), rpctypes.ErrCompacted) {
		t.Errorf("from a revision that is compacted it sees %+v", resp)
	}
}

// A store of a part whose watch was left behind by a compaction starts from what there is.
func TestAPartsStoreIsReadAfreshAfterACompaction(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var breaks brokenOnce
	reader := c.in("jobs", "leasehold-0", func(cfg *Config) { breaks.Watcher, cfg.Watcher = cfg.Watcher, &breaks })
	writer := c.in("jobs", "leasehold-1")
	writer.lead()
	eventually(t, func() error {
		if l, _ := reader.Leader(); l.Pod != "leasehold-1" {
			return fmt.Errorf("the record is %+v", l)
		}
		return nil
	})
	if breaks.watches.Load() < 2 {
		t.Error("its watch was not broken")
	}
}

// brokenOnce is a Watcher whose first watch ends as one does whose beginning is compacted.
type brokenOnce struct {
	clientv3.Watcher
	watches atomic.Int64
}

func (w *brokenOnce) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	if w.watches.Add(1) > 1 {
		return w.Watcher.Watch(ctx, key, opts...)
	}
	broken := make(chan clientv3.WatchResponse, 1)
	broken <- clientv3.WatchResponse{Canceled: true, CompactRevision: 1}
	close(broken)
	return broken
}

func keysOf(kvs ...*mvccpb.KeyValue) string {
	var keys []string
	for _, kv := range kvs {
		keys = append(keys, string(kv.Key))
	}
	return strings.Join(keys, " ")
}

func TestAnElectionsRecordsAreToldFromThoseOfTheData(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.in("jobs", "leasehold-0").lead()
	c.in(Writes, "leasehold-1").lead()
	written, _ := c.events()
	if parts := wrote[PartRecord](written); len(parts) != 3 || parts[0].Election != "jobs" {
		t.Errorf("of the jobs there are %+v", parts)
	}
	if leaders := wrote[Leader](written); len(leaders) != 1 || leaders[0].Pod != "leasehold-1" {
		t.Errorf("of the writes there are the leaders %+v", leaders)
	}
}
