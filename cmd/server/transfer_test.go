package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/history"
)

// transfer asks n to have leadership go to another pod, and returns who leads then.
func (n *node) transfer(body string) (from, to string, epoch uint64) {
	n.cluster.t.Helper()
	var b struct {
		From, To string
		Epoch    uint64
	}
	decodeInto(n.cluster.t, n.must(http.StatusOK, "POST", "/v1/leader/transfer", body).body, &b)
	return b.From, b.To, b.Epoch
}

func TestTransferFailsNoWrite(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	l := startLoad("transfer", c.nodes...)
	for i := range 6 {
		l.waitMore(t, 50)
		old, followers := c.leader(), c.followers()
		next := followers[i/3]
		before, _ := old.running().writes().store.Leader()
		asked := []*node{old, followers[0], followers[1]}[i%3]
		from, to, epoch := asked.transfer(fmt.Sprintf(`{"to": %q}`, next.cfg.name))
		if from != old.cfg.name || to != next.cfg.name || epoch != before.Epoch+1 {
			t.Errorf("from %s to %s, epoch %d; want from %s (epoch %d) to %s", from, to, epoch, old.cfg.name, before.Epoch, next.cfg.name)
		}
		if now := c.leader(); now != next || next.running().member.RaftLeader() != next.cfg.name {
			t.Errorf("%s leads, and etcd's leader is on %s; want %s", now.cfg.name, next.running().member.RaftLeader(), next.cfg.name)
		}
	}
	old := c.leader()
	if from, to, _ := c.followers()[0].transfer(""); from != old.cfg.name || to == from {
		t.Errorf("without a name: from %s to %s", from, to)
	}
	l.waitMore(t, 50)
	l.stop(t, c.nodes[0])
}

func TestTransferIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	leader, followers := c.leader(), c.followers()
	gone, asked := followers[0], followers[1]
	gone.crash()
	for to, status := range map[string]int{
		leader.cfg.name: http.StatusConflict, gone.cfg.name: http.StatusConflict, "leasehold-9": http.StatusNotFound, "../x": http.StatusBadRequest,
	} {
		r := asked.must(status, "POST", "/v1/leader/transfer", fmt.Sprintf(`{"to": %q}`, to))
		t.Log(r.body)
	}
	if now := c.leader(); now != leader {
		t.Errorf("%s leads", now.cfg.name)
	}
	asked.must(http.StatusOK, "PUT", "/v1/kv/a", "written")
}

func (n *node) history() []history.Entry {
	n.cluster.t.Helper()
	var b struct{ History []history.Entry }
	decodeInto(n.cluster.t, n.must(http.StatusOK, "GET", "/v1/leader/history", "").body, &b)
	return b.History
}

// hasHistory waits until every replica that runs shows these reasons, the newest first, and returns the entries.
func (c *cluster) hasHistory(reasons ...string) []history.Entry {
	c.t.Helper()
	var entries []history.Entry
	for _, n := range c.nodes {
		if n.running() == nil {
			continue
		}
		eventually(c.t, func() error {
			entries = n.history()
			var got []string
			for _, e := range entries {
				got = append(got, e.Reason)
			}
			if !slices.Equal(got, reasons) {
				return fmt.Errorf("%s shows %+v, want %v", n.cfg.name, entries, reasons)
			}
			return nil
		})
	}
	return entries
}

func TestHistoryShowsWhoLedAndWhy(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	first := c.leader()
	c.hasHistory("first")
	l := startLoad("history", c.followers()...)
	l.waitMore(t, 50)
	first.shutdown()
	c.hasHistory("graceful", "first")
	l.waitMore(t, 50)
	first.start()
	c.waitReady()
	second := c.leader()
	second.transfer(fmt.Sprintf(`{"to": %q}`, first.cfg.name))
	third := c.leader()
	l.waitMore(t, 50)
	l.stop(t, c.nodes[0])

	entries := c.hasHistory("transfer", "graceful", "first")
	for i, want := range []history.Entry{
		{From: second.cfg.name, To: third.cfg.name}, {From: first.cfg.name, To: second.cfg.name}, {To: first.cfg.name},
	} {
		e := entries[i]
		if e.From != want.From || e.To != want.To || e.Epoch != entries[2].Epoch+2-uint64(i) || e.Why == "" || time.Since(e.At) > patience {
			t.Errorf("entry %d is %+v, want %+v", i, e, want)
		}
		if e.GapMS == nil != (i == 2) {
			t.Errorf("entry %d is %+v", i, e)
		} else if e.GapMS != nil {
			t.Logf("%s: %d ms", e.Reason, *e.GapMS)
			if *e.GapMS < 0 || *e.GapMS > 4000 { // shorter than the lease: nobody has waited for that
				t.Errorf("a gap of %d ms: %+v", *e.GapMS, e)
			}
		}
	}
}

func TestHistoryOfACrash(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	old := c.leader()
	c.hasHistory("first")
	survivors := c.followers()
	old.crash()
	eventually(t, func() error {
		for _, n := range survivors {
			h := n.history()
			if len(h) < 2 {
				return fmt.Errorf("%s shows %+v", n.cfg.name, h)
			}
			if e := h[0]; e.From != old.cfg.name || e.GapMS == nil || *e.GapMS < 100 || e.Reason == "graceful" || e.Reason == "transfer" {
				t.Errorf("%+v", e)
			}
		}
		return nil
	})
}

func TestEtcdsLeadershipFollowsTheLeader(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	leader := c.leader()
	m := leader.running().member
	eventually(t, func() error { // the first election need not have been won by etcd's leader
		if at := m.RaftLeader(); at != leader.cfg.name {
			return fmt.Errorf("etcd's leader is on %s", at)
		}
		return nil
	})
	before, _ := leader.running().writes().store.Leader()
	away := c.followers()[0].cfg.name
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, move, err := m.PrepareMove(ctx, away)
	if err != nil {
		t.Fatal(err)
	}
	if err := move(ctx); err != nil || m.RaftLeader() != away {
		t.Fatalf("etcd's leader is on %s: %v", m.RaftLeader(), err)
	}
	l := startLoad("follows", c.nodes...)
	eventually(t, func() error {
		if at := m.RaftLeader(); at != leader.cfg.name {
			return fmt.Errorf("etcd's leader is still on %s", at)
		}
		return nil
	})
	l.waitMore(t, 50)
	l.stop(t, c.nodes[0])
	if after, _ := leader.running().writes().store.Leader(); after != before {
		t.Errorf("the leader record has become %+v, was %+v", after, before)
	}
}
