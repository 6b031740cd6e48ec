package store

import (
	"fmt"
	"testing"
	"time"
)

func TestWhatIsDueIsDeleted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	term := a.lead()
	now := time.Now()
	a.apply(request(putUntil("due", "1", now.Add(-time.Millisecond))))
	a.apply(request(putUntil("not due", "1", now.Add(time.Second))))
	a.apply(request(put("never", "1")))
	a.apply(request(putUntil("renewed", "1", now.Add(-time.Second))))
	a.apply(request(putUntil("renewed", "2", now.Add(time.Minute))))
	a.apply(request(putUntil("made permanent", "1", now.Add(-time.Second))))
	a.apply(request(put("made permanent", "2")))
	a.apply(request(putUntil("deleted", "1", now.Add(-time.Second))))
	a.apply(request(del("deleted")))
	a.holds("due", "1") // readable for as long as it is there
	if n, err := term.Expire(testContext(t), now); err != nil || n != 1 {
		t.Fatalf("deleted %d, %v", n, err)
	}
	a.holds("due", "")
	a.holds("not due", "1")
	a.holds("never", "1")
	a.holds("renewed", "2")
	a.holds("made permanent", "2")
	if n := c.count(expiryPrefix); n != 2 {
		t.Errorf("%d left in the index; want those of the two that are not due", n)
	}
	if n, err := term.Expire(testContext(t), now.Add(2*time.Minute)); err != nil || n != 2 {
		t.Fatalf("later: deleted %d, %v", n, err)
	}
	if n := c.count(expiryPrefix); n != 0 {
		t.Errorf("%d left in the index", n)
	}
}

func TestManyAreDueAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	term := a.lead()
	due := time.Now().Add(-time.Second)
	const n = 2*upkeepPortion + 7
	w := request()
	for i := range n {
		if len(w.ops) >= maxBatchOps-1 {
			a.apply(w)
			w = request()
		}
		w.Put(Entry{Key: fmt.Sprint(i), Expires: due})
	}
	a.apply(w)
	before := a.wire.attempts()
	if deleted, err := term.Expire(testContext(t), time.Now()); err != nil || deleted != n {
		t.Fatalf("deleted %d of %d, %v", deleted, n, err)
	}
	if left := c.count(entryPrefix) + c.count(expiryPrefix); left != 0 {
		t.Errorf("%d keys are left", left)
	}
	if sent := a.wire.attempts() - before; sent > n/4 {
		t.Errorf("%d transactions for %d entries", sent, n)
	}
}

func TestAnEntryThatIsWrittenWhileItExpiresStays(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	term := a.lead()
	due := time.UnixMilli(time.Now().Add(-time.Second).UnixMilli())
	a.apply(request(putUntil("k", "1", due)))
	index, err := a.due(testContext(t), time.Now())
	if err != nil || len(index) != 1 {
		t.Fatalf("%v, %v", index, err)
	}
	held := newGate(t)
	a.wire.next(held.hold)
	plug := a.startAnytime(testContext(t), request(put("plug", "")))
	held.reached(t)
	renewal := a.start(request(put("k", "2"))) // before the expiry's own write, after its look
	result := make(chan bool, 1)
	go func() {
		gone, err := term.expire(testContext(t), index[0])
		if err != nil {
			t.Error(err)
		}
		result <- gone
	}()
	eventually(t, func() error {
		if n := len(term.committer.queue); n != 2 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	held.open()
	plug.applied()
	renewal.applied()
	if <-result {
		t.Error("it says that it has deleted the entry")
	}
	a.holds("k", "2")
}

// Two writes of a key in the same millisecond share their index key. The second may come after the first has
// been found due and its entry gone.
func TestAnEntryIsNotLeftWithoutItsIndex(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	term := a.lead()
	due := time.UnixMilli(time.Now().Add(-time.Second).UnixMilli())
	a.apply(request(putUntil("k", "1", due)))
	a.apply(request(del("k")))
	index, err := a.due(testContext(t), time.Now())
	if err != nil || len(index) != 1 {
		t.Fatalf("%v, %v", index, err)
	}
	held := newGate(t)
	a.wire.next(held.hold)
	plug := a.startAnytime(testContext(t), request(put("plug", "")))
	held.reached(t)
	renewal := a.start(request(putUntil("k", "2", due)))
	go func() {
		eventually(t, func() error {
			if n := len(term.committer.queue); n != 2 {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		held.open()
	}()
	if _, err := term.expire(testContext(t), index[0]); err != nil {
		t.Fatal(err)
	}
	plug.applied()
	renewal.applied()
	if n, err := term.Expire(testContext(t), time.Now()); err != nil || n != 1 {
		t.Errorf("deleted %d, %v", n, err)
	}
	a.holds("k", "")
}
