package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAFollowerKnowsTheLeaderRecord(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	if l, _ := b.Leader(); l != (Leader{}) {
		t.Errorf("before anybody has led: %+v", l)
	}
	_, changed := b.Leader()
	term := a.lead()
	await := func() Leader {
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("no news of the leader record")
		}
		var l Leader
		l, changed = b.Leader()
		return l
	}
	if l := await(); l.Current() != "leasehold-0" || l.Epoch != 1 || l.BootID != "boot-of-leasehold-0" || l.Revision != term.record.Revision {
		t.Errorf("%+v", l)
	}
	if err := term.Resign(testContext(t), "", ""); err != nil {
		t.Fatal(err)
	}
	if l := await(); l.Current() != "" || l.Pod != "leasehold-0" {
		t.Errorf("%+v", l)
	}
}

// A watch that catches up delivers in portions, each under the newest revision of all.
func TestAFollowerHasReachedWhatItHasSeen(t *testing.T) {
	t.Parallel()
	event := func(rev int64) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{ModRevision: rev}}
	}
	header := &etcdserverpb.ResponseHeader{Revision: 9000}
	for name, test := range map[string]struct {
		resp clientv3.WatchResponse
		want int64
	}{
		"a portion":  {clientv3.WatchResponse{Header: header, Events: []*clientv3.Event{event(3), event(7)}}, 7},
		"no news":    {clientv3.WatchResponse{Header: header}, 9000},
		"created":    {clientv3.WatchResponse{Header: header, Created: true}, 0},
		"canceled":   {clientv3.WatchResponse{Header: header, Canceled: true}, 0},
		"compaction": {clientv3.WatchResponse{Header: header, CompactRevision: 5}, 0},
	} {
		if got := followedTo(test.resp); got != test.want {
			t.Errorf("%s: followed to %d; want %d", name, got, test.want)
		}
	}
}

func TestAFollowerThatIsFarBehindDoesNotBelieveItHasCaughtUp(t *testing.T) {
	t.Parallel()
	const records = 2500
	c := newCluster(t)
	b := c.replica("leasehold-0")
	b.stopFollowing()
	b.journal = newJournal()
	revisions := make([]int64, records)
	for i := range revisions {
		var id ID
		binary.BigEndian.PutUint32(id[:], uint32(i))
		resp, err := c.client.Put(testContext(t), position{1, uint64(i)}.journalKey(), string(encodeDecisions([]decision{{id: id}})))
		if err != nil {
			t.Fatal(err)
		}
		revisions[i] = resp.Header.Revision
	}
	last := revisions[records-1]
	b.followAgain(1)
	for reached := int64(0); reached < last; {
		var moved <-chan struct{}
		reached, moved = b.journal.progress()
		for i, rev := range revisions {
			var id ID
			binary.BigEndian.PutUint32(id[:], uint32(i))
			if _, ok := b.journal.lookup(id); !ok && rev <= reached {
				t.Fatalf("%d counts as reached, but what was written at %d is not known", reached, rev)
			}
		}
		if reached >= last {
			return
		}
		select {
		case <-moved:
		case <-time.After(10 * time.Second):
			t.Fatalf("stuck at %d of %d", reached, last)
		}
	}
}

func TestAFollowerThatWasAwayForTooLongReadsAfresh(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio(func(cfg *Config) { cfg.Window, cfg.ClientWindow = time.Nanosecond, time.Hour })
	term := a.lead()
	pruned, kept := request(put("k", "1")), request(put("j", "1"))
	kept.Client = true
	rev := a.apply(pruned).Revision
	if err := b.caughtUp(testContext(t), rev); err != nil {
		t.Fatal(err)
	}
	b.stopFollowing()
	o := a.apply(kept)
	if _, err := term.PruneJournal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	c.compact(a.apply(request(put("k", "2"))).Revision)
	b.followAgain(rev)
	eventually(t, func() error {
		if _, ok := b.journal.lookup(pruned.ID); ok {
			return fmt.Errorf("what was pruned is remembered")
		}
		return nil
	})
	b.lead()
	if got := b.apply(again(kept)); !got.Replayed || got.Revision != o.Revision {
		t.Errorf("%+v; want %+v, replayed", got, o)
	}
	if got := b.apply(again(pruned)); got.Replayed {
		t.Errorf("%+v", got)
	}
}

// What is committed between the reading of the chain and the taking in of what was read must stay.
func TestReadingAfreshForgetsNothingThatIsNewer(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	a.apply(request(put("k", "0")))
	a.stopFollowing()
	w := request(put("k", "1"))
	a.wire.between(func() { a.apply(w) })
	if _, err := a.load(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if o := a.apply(again(w)); !o.Replayed {
		t.Error("applied twice")
	}
}

func (r *replica) stopFollowing() {
	r.stop()
	r.tail.Wait()
}

func (r *replica) followAgain(from int64) {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.tail.Go(func() { r.follow(ctx, from) })
}

func TestAReplicaThatStartsKnowsWhatWasBefore(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	w := request(put("k", "1"))
	o := a.apply(w)
	b := c.replica("leasehold-1")
	if l, _ := b.Leader(); l.Current() != "leasehold-0" {
		t.Errorf("%+v", l)
	}
	b.lead()
	if got := b.apply(again(w)); !got.Replayed || got.Revision != o.Revision {
		t.Errorf("%+v; want %+v, replayed", got, o)
	}
}

// mute answers no read, as a member without a majority.
type mute struct{ clientv3.KV }

func (mute) Get(ctx context.Context, _ string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestOpeningWaitsForAMajorityAsLongAsItMay(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(testContext(t), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{KV: mute{}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opened: %v", err)
	}
}

// Not parallel: it counts goroutines.
func TestCloseLeavesNothingBehind(t *testing.T) {
	c := newCluster(t)
	a := c.replica("leasehold-0")
	term := a.lead()
	a.apply(request(put("k", "1")))
	ctx, cancel := context.WithCancel(testContext(t))
	_, changes, err := a.Watch(ctx, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	<-changes
	if len(ownGoroutines(t)) == 0 {
		t.Fatal("no goroutine of this package is found while it works")
	}
	cancel()
	a.Close()
	if term.Err() == nil {
		t.Error("the term goes on")
	}
	eventually(t, func() error {
		if left := ownGoroutines(t); len(left) > 0 {
			return fmt.Errorf("%d goroutines:\n%s", len(left), strings.Join(left, "\n\n"))
		}
		return nil
	})
}

// ownGoroutines are the stacks of those that run this package's code outside its tests.
func ownGoroutines(t *testing.T) []string {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, stack := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(stack, "/internal/store.") && !strings.Contains(stack, "testing.tRunner") {
			own = append(own, stack)
		}
	}
	return own
}
