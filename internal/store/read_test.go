package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func keys(p Page) string {
	ks := make([]string, 0, len(p.Entries))
	for _, e := range p.Entries {
		ks = append(ks, e.Key)
	}
	return strings.Join(ks, " ")
}

func (r *replica) list(prefix, after string, limit int, o ReadOptions) Page {
	r.t.Helper()
	p, err := r.List(testContext(r.t), prefix, after, limit, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestListing(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	for _, key := range []string{"a", "b/1", "b/2", "b/3", "b0", "c", "ü"} {
		a.apply(request(put(key, "v")))
	}
	state := &Write{ID: NewID()}
	state.PutState("b/state", nil)
	a.apply(state)
	for _, test := range []struct {
		prefix, after string
		limit         int
		keys, next    string
	}{
		{"", "", 100, "a b/1 b/2 b/3 b0 c ü", ""},
		{"", "", 7, "a b/1 b/2 b/3 b0 c ü", ""},
		{"", "", 6, "a b/1 b/2 b/3 b0 c", "c"},
		{"", "c", 6, "ü", ""},
		{"", "ü", 6, "", ""},
		{"b/", "", 2, "b/1 b/2", "b/2"},
		{"b/", "b/2", 2, "b/3", ""},
		{"b/", "b/15", 1, "b/2", "b/2"}, // where after itself does not exist
		{"b/", "a", 1, "b/1", "b/1"},    // before the prefix
		{"b/", "c", 10, "", ""},         // behind it
		{"b", "b/3", 10, "b0", ""},
		{"none", "", 10, "", ""},
		{"a", "", 10, "a", ""},
		{"", "b/1", 1, "b/2", "b/2"},
	} {
		for _, linearizable := range []bool{true, false} {
			p := a.list(test.prefix, test.after, test.limit, ReadOptions{Linearizable: linearizable})
			if keys(p) != test.keys || p.Next != test.next || p.Revision == 0 {
				t.Errorf("%+v: %q, next %q at %d", test, keys(p), p.Next, p.Revision)
			}
		}
	}
}

func TestAPageOfManyIsReadInPortions(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	w := request()
	for i := range 1000 {
		w.Put(Entry{Key: fmt.Sprintf("%04d", i)})
	}
	a.apply(w)
	p := a.list("", "", 999, ReadOptions{})
	if len(p.Entries) != 999 || p.Next != "0998" {
		t.Fatalf("%d entries, next %q", len(p.Entries), p.Next)
	}
	for i, e := range p.Entries {
		if e.Key != fmt.Sprintf("%04d", i) {
			t.Fatalf("entry %d is %s", i, e.Key)
		}
	}
	p = a.list("", p.Next, 999, ReadOptions{})
	if keys(p) != "0999" || p.Next != "" {
		t.Errorf("the rest is %q, next %q", keys(p), p.Next)
	}
}

func TestAPageIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	const n = 10
	for i := range n {
		a.apply(request(put(fmt.Sprintf("%02d", i), strings.Repeat("x", MaxValueBytes))))
	}
	after, seen := "", 0
	for page := 0; ; page++ {
		p := a.list("", after, 100, ReadOptions{})
		seen += len(p.Entries)
		if len(p.Entries) > maxPageBytes/MaxValueBytes || page > n {
			t.Fatalf("page %d has %d entries of 1 MiB", page, len(p.Entries))
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if seen != n {
		t.Errorf("%d of %d entries on all pages", seen, n)
	}
}

func TestPagesOfOneRevisionAreOfOneState(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	a.apply(request(put("a", "1"), put("b", "1"), put("c", "1")))
	first := a.list("", "", 1, ReadOptions{})
	a.apply(request(del("b"), put("c", "2"), put("d", "2")))
	second := a.list("", first.Next, 1, ReadOptions{Revision: first.Revision})
	if keys(second) != "b" || second.Revision != first.Revision {
		t.Errorf("the second page is %q at %d; want that of %d", keys(second), second.Revision, first.Revision)
	}
	third := a.list("", second.Next, 10, ReadOptions{Revision: second.Revision})
	if keys(third) != "c" || string(third.Entries[0].Value) != "1" {
		t.Errorf("the third page is %q", keys(third))
	}
}

func TestReadsOfThePast(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	first := a.apply(request(put("k", "1"))).Revision
	second := a.apply(request(put("k", "2"))).Revision
	gone := a.apply(request(del("k"))).Revision
	for rev, want := range map[int64]string{first: "1", second: "2"} {
		e, at, err := a.Get(testContext(t), "k", ReadOptions{Revision: rev})
		if err != nil || string(e.Value) != want || at != rev || e.Revision != rev {
			t.Errorf("at %d: %q (written at %d, read at %d), %v", rev, e.Value, e.Revision, at, err)
		}
	}
	if _, at, err := a.Get(testContext(t), "k", ReadOptions{Revision: first - 1}); !errors.Is(err, ErrNotFound) || at != first-1 {
		t.Errorf("before it was written: %v at %d", err, at)
	}
	c.compact(second)
	for _, linearizable := range []bool{true, false} {
		for rev, want := range map[int64]error{
			first: ErrCompacted, second: nil, gone: ErrNotFound, gone + 100: ErrFutureRevision,
		} {
			o := ReadOptions{Revision: rev, Linearizable: linearizable}
			if _, _, err := a.Get(testContext(t), "k", o); !errors.Is(err, want) {
				t.Errorf("at %d: %v; want %v", rev, err, want)
			}
			if _, err := a.List(testContext(t), "", "", 1, o); !errors.Is(err, want) && !errors.Is(want, ErrNotFound) {
				t.Errorf("a page at %d: %v; want %v", rev, err, want)
			}
		}
	}
	if err := a.Compact(testContext(t), first); err != nil {
		t.Errorf("compacting what is compacted: %v", err)
	}
	if err := a.Compact(testContext(t), gone); err != nil {
		t.Error(err)
	}
}

// The replica is behind when it is asked, and stays so.
func TestALinearizableReadIsNeverBehind(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	b.wire.lag(a.apply(request(put("k", "1"))).Revision)
	a.apply(request(put("k", "2"), put("l", "2")))
	if p := b.list("", "", 10, ReadOptions{}); keys(p) != "k" {
		t.Fatalf("the replica is not behind: it lists %q", keys(p))
	}
	if e, _, err := b.Get(testContext(t), "k", ReadOptions{Linearizable: true}); err != nil || string(e.Value) != "2" {
		t.Errorf("a linearizable read returned %q, which had been replaced, %v", e.Value, err)
	}
	if p := b.list("", "", 10, ReadOptions{Linearizable: true}); keys(p) != "k l" {
		t.Errorf("a linearizable listing returned %q, which had been replaced", keys(p))
	}
}

func TestAReadWaitsForItsRevision(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	old := a.apply(request(put("k", "1"))).Revision
	b.wire.lag(old)
	newer := a.apply(request(put("k", "2"))).Revision
	if e, at, err := b.Get(testContext(t), "k", ReadOptions{}); err != nil || string(e.Value) != "1" || at != old {
		t.Fatalf("the replica is not behind: %q, %v", e.Value, err)
	}
	read := make(chan string, 1)
	go func() {
		e, _, err := b.Get(testContext(t), "k", ReadOptions{MinRevision: newer})
		read <- fmt.Sprintf("%s %v", e.Value, err)
	}()
	select {
	case got := <-read:
		t.Errorf("it has not waited: %s", got)
	case <-time.After(20 * minRevisionPoll):
	}
	b.wire.heal()
	if got := <-read; got != "2 <nil>" {
		t.Error(got)
	}
}

func TestAReadThatHasWaitedLongEnoughAsksTheMajority(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	b.wire.lag(a.apply(request(put("k", "1"))).Revision)
	newer := a.apply(request(put("k", "2"))).Revision
	t.Run("which knows", func(t *testing.T) {
		t.Parallel()
		e, _, err := b.Get(testContext(t), "k", ReadOptions{MinRevision: newer})
		if err != nil || string(e.Value) != "2" {
			t.Errorf("%q, %v", e.Value, err)
		}
	})
	t.Run("which does not know either", func(t *testing.T) {
		t.Parallel()
		if _, _, err := b.Get(testContext(t), "k", ReadOptions{MinRevision: newer + 1000}); !errors.Is(err, ErrFutureRevision) {
			t.Error(err)
		}
		if _, _, err := b.Get(testContext(t), "k", ReadOptions{MinRevision: newer + 1000, Linearizable: true}); !errors.Is(err, ErrFutureRevision) {
			t.Error(err)
		}
	})
	t.Run("unless nobody waits any more", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(testContext(t), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, _, err := b.Get(ctx, "k", ReadOptions{MinRevision: newer}); err == nil || time.Since(start) > minRevisionWait/2 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestRevisionTokens(t *testing.T) {
	t.Parallel()
	ours, theirs := &Store{cfg: Config{ClusterID: 0xabc0042}}, &Store{cfg: Config{ClusterID: 0xabc0043}}
	token := ours.FormatRevision(57)
	if token != "57-0042" {
		t.Errorf("the token is %q", token)
	}
	if rev, err := ours.ParseRevision(token); err != nil || rev != 57 {
		t.Errorf("%d, %v", rev, err)
	}
	if _, err := theirs.ParseRevision(token); !errors.Is(err, ErrForeignRevision) {
		t.Errorf("in another cluster: %v", err)
	}
	for _, bad := range []string{
		"", "57", "57-", "-0042", "-57-0042", "0-0042", "x-0042", "57 -0042", "9223372036854775808-0042", "1e3-0042",
	} {
		if rev, err := ours.ParseRevision(bad); !errors.Is(err, ErrBadRevision) {
			t.Errorf("%q: %d, %v", bad, rev, err)
		}
	}
}
