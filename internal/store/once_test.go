package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func TestTheSameRequestIsAppliedOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio()
	a.lead()
	w := request(put("k", "1"))
	first := a.apply(w)
	a.apply(request(put("k", "2")))
	for _, r := range []*replica{a, b} {
		if r == b {
			b.lead()
		}
		o := r.apply(again(w))
		if !o.Replayed || o.Revision != first.Revision || o.Epoch != first.Epoch {
			t.Errorf("%s answers %+v; want %+v, replayed", r.name, o, first)
		}
	}
	if n := c.writes("k"); n != 2 {
		t.Errorf("two requests, one of them sent three times, were applied %d times", n)
	}
	b.holds("k", "2")
}

func TestAnIDIsNotUsedForTwoRequests(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	w, other := request(put("k", "1")), request(put("k", "2"))
	w.ID, other.ID = ClientID("order 7"), ClientID("order 7")
	a.apply(w)
	a.refuse(other, ErrKeyReused)
	b.lead()
	b.refuse(other, ErrKeyReused)
	b.holds("k", "1")
}

func TestOneRequestSentManyTimesToTwoLeadersIsAppliedOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio()
	a.lead()
	w := request(put("k", "1"))
	var senders sync.WaitGroup
	revisions := make([]int64, 50)
	for i := range revisions {
		senders.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			revisions[i] = insist(t, rng, []*replica{a, b}, w).Revision
		})
	}
	for i := range 6 {
		[]*replica{b, a}[i%2].lead()
	}
	senders.Wait()
	for _, rev := range revisions {
		if rev != revisions[0] || rev == 0 {
			t.Fatalf("revisions %v", revisions)
		}
	}
	if n := c.writes("k"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestTheWindowCountsFromTheClaim(t *testing.T) {
	t.Parallel()
	cfg := &Config{Window: 30 * time.Second, ClientWindow: 2 * time.Minute}
	start := time.Now()
	claimed := start.Add(10 * time.Minute)
	j := newJournal()
	j.add(position{1, 0}, nil, 1, start)
	j.add(position{1, 1}, []decision{{id: ID{1}}}, 2, start)
	j.add(position{1, 2}, []decision{{id: ID{2}}, {id: ID{3}, client: true}}, 3, start)
	j.add(position{2, 1}, []decision{{id: ID{4}}}, 5, claimed.Add(5*time.Second))
	for _, test := range []struct {
		after time.Duration // the claim
		want  []position
	}{
		{0, nil},
		{30 * time.Second, nil},
		{30*time.Second + 1, []position{{1, 0}, {1, 1}}},
		{35 * time.Second, []position{{1, 0}, {1, 1}}},
		{35*time.Second + 1, []position{{1, 0}, {1, 1}, {2, 1}}},
		{2 * time.Minute, []position{{1, 0}, {1, 1}, {2, 1}}},
		{2*time.Minute + 1, []position{{1, 0}, {1, 1}, {1, 2}, {2, 1}}},
	} {
		got := j.prunable(cfg, claimed, claimed.Add(test.after))
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s after the claim: %v; want %v", test.after, got, test.want)
		}
	}
}

// Between a write and its being sent again, because the answer was lost, another replica claims, and prunes at once.
func TestPruningForgetsNothingWithinItsWindow(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio(func(cfg *Config) { cfg.Window, cfg.ClientWindow = time.Hour, time.Hour })
	a.lead()
	w := request(put("k", "1"))
	a.apply(w)
	term := b.lead()
	if n, err := term.PruneJournal(testContext(t)); err != nil || n != 0 {
		t.Errorf("pruned %d records within their window, %v", n, err)
	}
	b.apply(request(put("k", "2")))
	if o := b.apply(again(w)); !o.Replayed {
		t.Error("a write that was sent again within the window was applied again")
	}
	b.holds("k", "2")
}

func TestPruningForgetsOnEveryReplica(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, d := c.trio(func(cfg *Config) { cfg.Window, cfg.ClientWindow = time.Nanosecond, time.Hour })
	old := a.lead()
	ours, clients := request(put("k", "1")), request(put("j", "1"))
	clients.Client = true
	a.apply(ours)
	a.apply(clients)
	for i := range 10 {
		a.apply(request(put(fmt.Sprint(i), "1")))
	}
	term := b.lead()
	if _, err := old.PruneJournal(testContext(t)); err == nil {
		t.Error("a replaced leader prunes")
	}
	if n, err := term.PruneJournal(testContext(t)); err != nil || n != 13 { // with the two claims
		t.Fatalf("pruned %d, %v", n, err)
	}
	for _, r := range []*replica{a, b, d} {
		eventually(t, func() error {
			if n := r.Remembered(); n != 2 { // the client's and the pruning itself
				return fmt.Errorf("%s remembers %d", r.name, n)
			}
			return nil
		})
	}
	if n := c.count(journalPrefix); n != 2 {
		t.Errorf("%d records in the journal", n)
	}
	if o := b.apply(again(ours)); o.Replayed {
		t.Error("still remembered")
	}
	if o := b.apply(again(clients)); !o.Replayed {
		t.Error("the client's own key is forgotten early")
	}
}

// An outcome that is remembered without a record to prune must not keep the pruning busy for ever.
func TestPruningEndsWhereARecordIsGoneAlready(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0", func(cfg *Config) { cfg.Window = time.Nanosecond })
	term := a.lead()
	a.journal.add(position{1, 99}, []decision{{id: NewID()}}, 1, time.Now().Add(-time.Hour))
	if n, err := term.PruneJournal(testContext(t)); err != nil || n != 2 {
		t.Fatalf("pruned %d, %v", n, err)
	}
	if n := a.Remembered(); n != 1 {
		t.Errorf("%d are remembered", n)
	}
}

func TestNothingIsForgottenEarlyToMakeRoom(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio(func(cfg *Config) { cfg.MaxRemembered, cfg.Window = 5, time.Nanosecond })
	a.lead()
	var known []*Write
	for i := range 5 {
		w := request(put(fmt.Sprint(i), "1"))
		a.apply(w)
		known = append(known, w)
	}
	a.refuse(request(put("one more", "1")), ErrBusy)
	term := b.lead()
	b.refuse(request(put("one more", "1")), ErrBusy)
	for _, w := range known {
		if o := b.apply(again(w)); !o.Replayed {
			t.Errorf("%s is forgotten", describe(w))
		}
	}
	b.holds("one more", "")
	if _, err := term.PruneJournal(testContext(t)); err != nil { // it is a write itself
		t.Fatalf("nothing can ever be pruned: %v", err)
	}
	b.apply(request(put("one more", "1")))
}
