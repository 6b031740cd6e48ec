package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
)

func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("whole clusters are left out of the short tests")
	}
}

func TestWriteOnAnyReadOnAny(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader := c.leader()
	for i, n := range c.nodes {
		key := fmt.Sprintf("/v1/kv/greeting//../%d/.", i)
		written := n.must(http.StatusOK, "PUT", key, "hello from "+n.cfg.name, "Content-Type", "text/plain")
		if got := written.header.Get("Leasehold-Served-By"); got != leader.cfg.name {
			t.Errorf("a write on %s was served by %s, not by the leader %s", n.cfg.name, got, leader.cfg.name)
		}
		for _, other := range c.nodes {
			read := other.must(http.StatusOK, "GET", key, "", "Leasehold-Min-Revision", written.header.Get("Leasehold-Revision"))
			if read.body != "hello from "+n.cfg.name || read.header.Get("Leasehold-Served-By") != other.cfg.name {
				t.Errorf("%s answers %q, served by %s", other.cfg.name, read.body, read.header.Get("Leasehold-Served-By"))
			}
		}
	}
}

// A write may be held, be told that its outcome is unknown, be sent again as late as it was told, be held
// again and forwarded, with clocks apart: its first outcome must still be remembered.
func TestOutcomesAreRememberedForAsLongAsTheyMayBeAskedFor(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{time.Second, 10 * time.Second, 30 * time.Second} {
		held, toldWithin, heldAgain := wait, wait, wait
		if latest := held + toldWithin + heldAgain + api.ClockTolerance; window(wait) <= latest {
			t.Errorf("with a write-wait of %s outcomes are remembered for %s, and may be asked for after %s", wait, window(wait), latest)
		}
	}
}

func TestLeaderCrashLosesNoWrite(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	old := c.leader()
	survivors := c.followers()
	l := startLoad("crash", survivors...)
	l.waitMore(t, 50)
	old.crash()
	l.waitMore(t, 50)
	l.stop(t, survivors[0])

	old.shutdown()
	old.start()
	c.waitReady()
	if now := c.leader(); now == old {
		t.Errorf("%s took leadership back", old.cfg.name)
	}
}

func TestHandoverFailsNoWrite(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	for range 3 {
		old := c.leader()
		survivors := c.followers()
		l := startLoad("handover-"+old.cfg.name, survivors...)
		l.waitMore(t, 50)
		old.shutdown()
		l.waitMore(t, 50)
		l.stop(t, survivors[0])
		old.start()
		c.waitReady()
	}
}

// Whoever comes next, here the same replica, finds the record resigned and the lock free, and waits for no lease.
func TestTheEndComesAfterTheRelease(t *testing.T) {
	t.Parallel()
	n := startCluster(t, 1).nodes[0]
	first := n.running().bootID
	n.shutdown()
	n.start()
	now := n.cluster.leader().running()
	if began := now.writes().election.Leadership().Began; began.Reason != election.Graceful {
		t.Errorf("its next term began because of: %s (%s)", began.Reason, began.Why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var holders []string
	for resp := range now.member.Client().Watch(ctx, store.LockKey, clientv3.WithRev(1)) {
		for _, ev := range resp.Events {
			var lock struct {
				HolderIdentity string
				BootID         string `json:"leaseholdBootID"`
			}
			decodeInto(t, string(ev.Kv.Value), &lock)
			if lock.HolderIdentity != "" && lock.BootID != first {
				if len(holders) == 0 || holders[len(holders)-1] != "" {
					t.Errorf("the lock was still held when it was taken again: %q", holders)
				}
				return
			}
			holders = append(holders, lock.HolderIdentity)
		}
	}
	t.Errorf("the lock was not taken again: %q", holders)
}

func TestAllRestartFromDisk(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	written := c.nodes[0].must(http.StatusOK, "PUT", "/v1/kv/kept", "on disk")
	epoch := c.leader().running().writes().store
	before, _ := epoch.Leader()
	c.stopAll()
	for _, n := range c.nodes {
		n.start()
	}
	c.waitReady()
	after, _ := c.leader().running().writes().store.Leader()
	if after.Epoch <= before.Epoch {
		t.Errorf("epoch %d follows epoch %d", after.Epoch, before.Epoch)
	}
	read := c.nodes[2].must(http.StatusOK, "GET", "/v1/kv/kept", "")
	if read.body != "on disk" || read.header.Get("ETag") != written.header.Get("ETag") {
		t.Errorf("read %q %s, want %q %s", read.body, read.header.Get("ETag"), "on disk", written.header.Get("ETag"))
	}
}

func TestWipedReplicaJoinsAgain(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	c.nodes[0].must(http.StatusOK, "PUT", "/v1/kv/a", "kept by the others")
	lost := c.followers()[0]
	lost.shutdown()
	lost.wipe()
	lost.start()
	c.waitReady()
	if read := lost.must(http.StatusOK, "GET", "/v1/kv/a", ""); read.body != "kept by the others" {
		t.Errorf("the wiped replica reads %q", read.body)
	}
	eventually(t, func() error {
		var body struct {
			Replicas []struct {
				Pod   string
				Voter bool
			}
		}
		decodeInto(t, c.nodes[0].must(http.StatusOK, "GET", "/v1/cluster", "").body, &body)
		voters := 0
		for _, r := range body.Replicas {
			if r.Voter {
				voters++
			}
		}
		if voters != 3 {
			return fmt.Errorf("%d voters: %+v", voters, body.Replicas)
		}
		return nil
	})
}

func TestSameKeyOnAllReplicasIsAppliedOnce(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	old := c.leader()
	survivors := c.followers()
	var clients sync.WaitGroup
	revisions := make(chan string, 100)
	for i := range 50 {
		clients.Go(func() {
			r, err := survivors[i%2].do("POST", "/v1/kv/once", "only once", "Idempotency-Key", "the-key")
			if err == nil && r.status == http.StatusCreated {
				revisions <- r.header.Get("Leasehold-Revision")
				return
			}
			t.Errorf("client %d: %v %d %s", i, err, r.status, r.body)
		})
		if i == 10 {
			old.crash()
		}
	}
	clients.Wait()
	close(revisions)
	seen := map[string]int{}
	for r := range revisions {
		seen[r]++
	}
	if len(seen) != 1 {
		t.Errorf("created at %d revisions: %v", len(seen), seen)
	}
}

func TestHeartbeatCountNeverGoesBack(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	type beat struct {
		Leader string
		Epoch  uint64
		Count  int64
	}
	read := func(n *node) (b beat) {
		decodeInto(t, n.must(http.StatusOK, "GET", "/v1/kv/"+jobs.HeartbeatKey+"?consistency=linearizable", "").body, &b)
		return b
	}
	eventually(t, func() error { // it may be running by itself just now
		r, err := c.nodes[0].do("POST", "/v1/jobs/heartbeat/run", "")
		if err == nil && r.status != http.StatusOK {
			err = fmt.Errorf("%d %s", r.status, r.body)
		}
		return err
	})
	first := read(c.nodes[0])
	old := c.leader()
	survivor := c.followers()[0]
	old.crash()
	eventually(t, func() error {
		if now := read(survivor); now.Leader == old.cfg.name || now.Epoch <= first.Epoch || now.Count <= first.Count {
			return fmt.Errorf("the heartbeat is still %+v", now)
		}
		return nil
	})
}

// A replica that has been replaced behind its back, its elector none the wiser, writes nothing more.
func TestReplacedLeaderIsFenced(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	old := c.leader().running()
	rival := c.followers()[0].running()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	term, ok := old.writes().election.Leadership().Term.(*store.Term)
	if !ok {
		t.Fatal("the term is not the store's")
	}
	seen, err := rival.writes().store.ReadLeader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rival.writes().store.Claim(ctx, seen, store.Claimant{Pod: rival.cfg.name, BootID: "a rival's", ID: "a rival's claim"}); err != nil {
		t.Fatal(err)
	}
	w := &store.Write{ID: store.NewID()}
	w.Put(store.Entry{Key: "stale", Value: []byte("must not be there")})
	if o, err := term.Write(ctx, w); err == nil {
		t.Errorf("the replaced leader wrote: %+v", o)
	}
	if _, _, err := rival.writes().store.Get(ctx, "stale", store.ReadOptions{Linearizable: true}); err == nil {
		t.Error("the replaced leader's write is there")
	}
	// The rival has no elector behind it, so the others find a leader again.
	eventually(t, func() error {
		now, _ := rival.writes().store.Leader()
		if now.Epoch <= seen.Epoch+1 || now.Resigned {
			return fmt.Errorf("the newest claim is that of %s under epoch %d", now.Pod, now.Epoch)
		}
		return nil
	})
	c.nodes[0].must(http.StatusOK, "PUT", "/v1/kv/after", "written")
}
