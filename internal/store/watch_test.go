package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// watcher is a client that watches, one event at a time.
type watcher struct {
	t       *testing.T
	changes <-chan Changes
	events  []Event
}

func (r *replica) watch(t *testing.T, ctx context.Context, prefix string, after int64) *watcher {
	t.Helper()
	from, changes, err := r.Watch(ctx, prefix, after)
	if err != nil || after != 0 && from != after {
		t.Fatalf("watch after %d: from %d, %v", after, from, err)
	}
	return &watcher{t: t, changes: changes}
}

// next returns the next event.
func (w *watcher) next() Event {
	w.t.Helper()
	for len(w.events) == 0 {
		c := w.change()
		if c.Err != nil {
			w.t.Fatal(c.Err)
		}
		if n := len(c.Events); n > 0 && (!c.Events[n-1].Last || c.Revision != c.Events[n-1].Entry.Revision) {
			w.t.Fatalf("a delivery that is not a whole revision: %+v", c)
		}
		w.events = c.Events
	}
	e := w.events[0]
	w.events = w.events[1:]
	return e
}

func (w *watcher) change() Changes {
	w.t.Helper()
	select {
	case c, ok := <-w.changes:
		if !ok {
			w.t.Fatal("the watch has ended")
		}
		return c
	case <-time.After(10 * time.Second):
		w.t.Fatal("nothing is delivered")
	}
	return Changes{}
}

func (w *watcher) ends() {
	w.t.Helper()
	for {
		select {
		case _, ok := <-w.changes:
			if !ok {
				return
			}
		case <-time.After(10 * time.Second):
			w.t.Fatal("the watch does not end")
		}
	}
}

func show(e Event) string {
	if e.Deleted {
		return fmt.Sprintf("%d delete %s %t", e.Entry.Revision, e.Entry.Key, e.Last)
	}
	return fmt.Sprintf("%d put %s=%s %t", e.Entry.Revision, e.Entry.Key, e.Entry.Value, e.Last)
}

func (w *watcher) expect(want ...string) {
	w.t.Helper()
	for _, s := range want {
		if got := show(w.next()); got != s {
			w.t.Fatalf("%s; want %s", got, s)
		}
	}
}

func TestAWatchDeliversEveryChange(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	before := a.apply(request(put("b/1", "old"))).Revision
	ctx, cancel := context.WithCancel(testContext(t))
	fromNow := b.watch(t, ctx, "b/", 0)
	all := b.watch(t, ctx, "", before-1)
	one := a.apply(request(put("a", "1"), put("b/1", "1"), put("b/2", "1"))).Revision
	calls := a.together(nil, request(del("b/1")), request(put("b/3", "1")), request(when("b/2", Absent), put("b/2", "no")), request(put("c", "1")))
	two := calls[0].applied().Revision
	fromNow.expect(
		fmt.Sprintf("%d put b/1=1 false", one), fmt.Sprintf("%d put b/2=1 true", one),
		fmt.Sprintf("%d delete b/1 false", two), fmt.Sprintf("%d put b/3=1 true", two))
	all.expect(
		fmt.Sprintf("%d put b/1=old true", before),
		fmt.Sprintf("%d put a=1 false", one), fmt.Sprintf("%d put b/1=1 false", one), fmt.Sprintf("%d put b/2=1 true", one),
		fmt.Sprintf("%d put plug= true", two-1),
		fmt.Sprintf("%d delete b/1 false", two), fmt.Sprintf("%d put b/3=1 false", two), fmt.Sprintf("%d put c=1 true", two))
	cancel()
	fromNow.ends()
	all.ends()
}

// A client that resumes after the last revision that it has seen to its end loses nothing, wherever it was cut.
func TestAResumedWatchLosesNothing(t *testing.T) {
	t.Parallel()
	const revisions = 8
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	start := a.apply(request(put("k", "start"))).Revision
	var want []string
	for i := range revisions {
		rev := a.apply(request(put("a", fmt.Sprint(i)), put("b", fmt.Sprint(i)), put("c", fmt.Sprint(i)))).Revision
		for j, k := range []string{"a", "b", "c"} {
			want = append(want, fmt.Sprintf("%d put %s=%d %t", rev, k, i, j == 2))
		}
	}
	for _, cut := range []int{4, 5, 7} { // more than one revision, or it would not get on
		t.Run(fmt.Sprintf("cut after %d events", cut), func(t *testing.T) {
			t.Parallel()
			seen, got := start, map[string]bool{}
			for seen < start+revisions {
				ctx, cancel := context.WithCancel(testContext(t))
				w := a.watch(t, ctx, "", seen)
				for n := 0; n < cut && seen < start+revisions; n++ {
					e := w.next()
					got[show(e)] = true
					if e.Last {
						seen = e.Entry.Revision
					}
				}
				cancel()
			}
			for _, s := range want {
				if !got[s] {
					t.Errorf("%s is lost", s)
				}
			}
		})
	}
}

func TestAWatchCannotResumeWhereHistoryIsGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	one := a.apply(request(put("k", "1"), put("j", "1"))).Revision
	two := a.apply(request(del("k"), put("j", "2"))).Revision
	three := a.apply(request(put("k", "3"), put("j", "3"))).Revision
	c.compact(two)
	for _, after := range []int64{one - 1, one - 2} {
		if _, _, err := a.Watch(testContext(t), "", after); !errors.Is(err, ErrCompacted) {
			t.Errorf("after %d: %v", after, err)
		}
	}
	// What was done at the compacted revision itself is still there.
	a.watch(t, testContext(t), "", one).expect(
		fmt.Sprintf("%d delete k false", two), fmt.Sprintf("%d put j=2 true", two),
		fmt.Sprintf("%d put k=3 false", three), fmt.Sprintf("%d put j=3 true", three))
	a.watch(t, testContext(t), "", two).expect(fmt.Sprintf("%d put k=3 false", three))
	// And where it goes after the look and before the watch, the watch says so.
	events := a.cfg.Watcher.Watch(testContext(t), entryPrefix, clientv3.WithPrefix(), clientv3.WithRev(one))
	out := make(chan Changes)
	go relay(testContext(t), events, out)
	w := &watcher{t: t, changes: out}
	if got := w.change(); !errors.Is(got.Err, ErrCompacted) || got.Revision != two {
		t.Errorf("%+v", got)
	}
	w.ends()
}

func TestAnIdleWatchHearsHowFarItIs(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	w := a.watch(t, testContext(t), "quiet/", 0)
	rev := a.apply(request(put("k", "1"))).Revision
	for {
		c := w.change()
		if len(c.Events) != 0 || c.Err != nil {
			t.Fatalf("%+v", c)
		}
		if c.Revision >= rev {
			return
		}
	}
}

func TestAWatchOfTheFutureWaits(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	rev := a.apply(request(put("k", "1"))).Revision
	w := a.watch(t, testContext(t), "", rev+1)
	a.apply(request(put("k", "2")))
	a.apply(request(put("k", "3")))
	w.expect(fmt.Sprintf("%d put k=3 true", rev+2))
}
