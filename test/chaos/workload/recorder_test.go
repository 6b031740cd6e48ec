package workload

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/store"
	"github.com/leasehold/leasehold/test/chaos/check"
)

// chain is a store on an etcd of its own, and who leads.
type chain struct {
	t      *testing.T
	server *etcdserver.EtcdServer
	client *clientv3.Client
	store  *store.Store
	term   *store.Term
}

func startChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, server: etcdtest.Start(t).Server}
	c.client = c.connect()
	s, err := store.Open(testContext(t), store.Config{
		KV: c.client, Watcher: c.client, ClusterID: uint64(c.server.Cluster().ID()), Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	c.store = s
	return c
}

func (c *chain) connect() *clientv3.Client {
	client := v3client.New(c.server)
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *chain) claim(pod string) {
	c.t.Helper()
	seen, err := c.store.ReadLeader(testContext(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	c.term, err = c.store.Claim(testContext(c.t), seen, store.Claimant{Pod: pod, BootID: "boot", ID: fmt.Sprintf("%s/%d", pod, seen.Epoch)})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) write(fill func(*store.Write)) int64 {
	c.t.Helper()
	w := &store.Write{ID: store.NewID()}
	fill(w)
	o, err := c.term.Write(testContext(c.t), w)
	if err != nil {
		c.t.Fatal(err)
	}
	return o.Revision
}

func (c *chain) put(key, value string) int64 {
	c.t.Helper()
	return c.write(func(w *store.Write) { w.Put(store.Entry{Key: key, Value: []byte(value)}) })
}

// run writes the state of a job.
func (c *chain) run(job, pod string, epoch uint64) {
	c.t.Helper()
	c.write(func(w *store.Write) {
		w.PutState("jobs/"+job, fmt.Appendf(nil, `{"pod": %q, "epoch": %d}`, pod, epoch))
	})
}

func (c *chain) resign() {
	c.t.Helper()
	if err := c.term.Resign(testContext(c.t), "graceful", ""); err != nil {
		c.t.Fatal(err)
	}
}

// recorded is the log of the members up to a revision.
func recorded(t *testing.T, revision int64, members ...*clientv3.Client) *check.Log {
	t.Helper()
	r := startRecorder(context.Background(), members, 200*time.Millisecond)
	defer r.stop()
	if err := r.await(testContext(t), revision); err != nil {
		t.Fatal(err)
	}
	return r.snapshot()
}

// judged is what a check has against the log, that it is all there is to check apart.
func judged(l *check.Log, i check.Invariant) (found []check.Violation) {
	for _, v := range check.Check(check.History{Log: l}, check.Final{}) {
		if v.Invariant == i {
			found = append(found, v)
		}
	}
	return found
}

func TestTheLogHasWhatWasWrittenBeforeAndAfter(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	first := c.put("a", "one")
	r := startRecorder(context.Background(), []*clientv3.Client{c.connect()}, time.Minute)
	defer r.stop()
	c.run("sweep", "leasehold-0", 1)
	gone := c.write(func(w *store.Write) { w.Delete("a") })
	c.resign()
	c.claim("leasehold-1")
	c.run("sweep", "leasehold-1", 2)
	c.write(func(w *store.Write) {
		w.PutState("history", []byte(`[{"to": "leasehold-1", "epoch": 2}, {"to": "leasehold-0", "epoch": 1}]`))
	})
	last := c.put("b", "two")
	if err := r.await(testContext(t), last); err != nil {
		t.Fatal(err)
	}
	l := r.snapshot()
	entries := map[int64]check.Entry{}
	var effects []check.Effect
	for _, t := range l.Transactions {
		for _, e := range t.Entries {
			entries[t.Revision] = e
		}
		effects = append(effects, t.Effects...)
	}
	if entries[first] != (check.Entry{Key: "a", Value: "one"}) || entries[gone] != (check.Entry{Key: "a", Deleted: true}) || len(entries) != 3 {
		t.Errorf("entries: %v", entries)
	}
	if want := "[{sweep leasehold-0 1} {sweep leasehold-1 2} {history leasehold-1 2}]"; fmt.Sprint(effects) != want {
		t.Errorf("effects: %v; want %s", effects, want)
	}
	for _, i := range []check.Invariant{check.OneWriter, check.JobsFenced, check.AppliedOnce} {
		for _, v := range judged(l, i) {
			t.Error(v)
		}
	}
}

func TestAJobUnderAnOldEpochIsFoundInTheLog(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	c.resign()
	c.claim("leasehold-1")
	c.run("sweep", "leasehold-0", 1)
	if found := judged(recorded(t, c.put("a", "one"), c.connect()), check.JobsFenced); len(found) != 1 {
		t.Errorf("found: %v", found)
	}
}

func TestAWriteAroundTheChainIsFoundInTheLog(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		"leasehold/kv/a": "\x01\x00\x00one", "leasehold/kv/b": "none of the store's", "elsewhere": "", "leasehold/chain/head": "000000000009/000000000001",
		"leasehold/state/jobs/sweep": "{",
	} {
		t.Run(strings.ReplaceAll(key, "/", "-"), func(t *testing.T) {
			t.Parallel()
			c := startChain(t)
			c.claim("leasehold-0")
			put, err := c.client.Put(testContext(t), key, value)
			if err != nil {
				t.Fatal(err)
			}
			if found := judged(recorded(t, put.Header.Revision, c.connect()), check.OneWriter); len(found) == 0 {
				t.Error("nothing is found")
			}
		})
	}
}

func TestTheElectionsLockIsNoPartOfTheChain(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	put, err := c.client.Put(testContext(t), store.LockKey, "held")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range judged(recorded(t, put.Header.Revision, c.connect()), check.OneWriter) {
		t.Error(v)
	}
}

func TestTheLogGoesOnAtAnotherReplica(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	silent, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	mortal, other := v3client.New(c.server), c.connect()
	r := startRecorder(context.Background(), []*clientv3.Client{silent, mortal, other}, 200*time.Millisecond)
	defer r.stop()
	if err := r.await(testContext(t), c.put("a", "one")); err != nil {
		t.Fatal(err)
	}
	_ = mortal.Close() // it says that its own context is done
	for i := range 20 {
		c.put("a", fmt.Sprint(i))
	}
	if err := r.await(testContext(t), c.put("a", "last")); err != nil {
		t.Fatal(err)
	}
	l := r.snapshot()
	if len(l.Transactions) != 23 || len(l.Gaps) != 0 {
		t.Errorf("%d transactions; gaps: %v", len(l.Transactions), l.Gaps)
	}
	for _, v := range judged(l, check.OneWriter) {
		t.Error(v)
	}
}

func TestWhatWasCompactedIsNotSeen(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	c.put("a", "one")
	second := c.put("a", "two")
	last := c.put("a", "three")
	if _, err := c.client.Compact(testContext(t), second); err != nil {
		t.Fatal(err)
	}
	l := recorded(t, last, c.connect())
	if want := (check.Gap{From: 1, To: second - 1}); len(l.Gaps) != 1 || l.Gaps[0] != want || len(l.Transactions) != 2 {
		t.Errorf("%d transactions; gaps: %v; want %v", len(l.Transactions), l.Gaps, want)
	}
	if found := judged(l, check.Checked); !strings.Contains(fmt.Sprint(found), "were not seen") {
		t.Errorf("found: %v", found)
	}
}

func TestALogThatEndsEarlyIsAnError(t *testing.T) {
	t.Parallel()
	c := startChain(t)
	c.claim("leasehold-0")
	r := startRecorder(context.Background(), []*clientv3.Client{c.connect()}, 50*time.Millisecond)
	defer r.stop()
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	if err := r.await(ctx, 1000); err == nil || !strings.Contains(err.Error(), "before 1000") {
		t.Errorf("err: %v", err)
	}
}

func TestTheDataOfEachMemberAreHashed(t *testing.T) {
	t.Parallel()
	a, b := startChain(t), startChain(t)
	var revision int64
	for _, c := range []*chain{a, b} {
		c.claim("leasehold-0")
		revision = c.put("a", "one")
	}
	got, err := hash(testContext(t), []*clientv3.Client{a.connect(), a.connect(), b.connect()}, func() int64 { return revision })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Hash != got[1].Hash || got[0].Hash == got[2].Hash {
		t.Errorf("two of one member and one of another with other claims: %v", got)
	}
}
