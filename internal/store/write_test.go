package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

func TestWritesAreRead(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	expires := time.UnixMilli(1_900_000_000_123).UTC()
	w := &Write{ID: NewID()}
	w.Put(Entry{Key: "a/ü", Value: []byte("\x00\xff"), ContentType: "text/plain", Expires: expires})
	o := a.apply(w)
	e := b.holds("a/ü", "\x00\xff")
	if e.Key != "a/ü" || e.ContentType != "text/plain" || !e.Expires.Equal(expires) || e.Revision != o.Revision {
		t.Errorf("read %+v", e)
	}
	if o.Epoch != 1 || o.Replayed {
		t.Errorf("outcome %+v", o)
	}
	deleted := a.apply(request(del("a/ü")))
	_, rev, err := b.Get(testContext(t), "a/ü", ReadOptions{Linearizable: true})
	if !errors.Is(err, ErrNotFound) || rev < deleted.Revision {
		t.Errorf("a deleted key reads as %v at %d", err, rev)
	}
}

func TestConditionsDecideAWrite(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	first := a.apply(request(put("there", "1"))).Revision
	for _, test := range []struct {
		condition func(*Write)
		holds     bool
	}{
		{when("there", first), true},
		{when("there", first+1), false},
		{when("there", Exists), true},
		{when("there", Absent), false},
		{when("gone", Absent), true},
		{when("gone", Exists), false},
		{when("gone", first), false},
	} {
		w := request(test.condition, put("j", "1"))
		if o := a.decide(w); o.Applied != test.holds || o.Revision == 0 || o.Epoch != 1 {
			t.Errorf("%s: %+v", describe(w), o)
		}
		w = request(test.condition) // conditions only
		if o := a.decide(w); o.Applied != test.holds {
			t.Errorf("%s: %+v", describe(w), o)
		}
	}
	both := request(when("there", first), when("gone", Exists), put("there", "2"))
	if o := a.decide(both); o.Applied {
		t.Error("one of two conditions was enough")
	}
	a.holds("there", "1")
}

func TestARequestIsAtomic(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	a.apply(request(put("old", "1")))
	o := a.apply(request(put("x", "1"), put("y", "1"), del("old")))
	if x, y := a.holds("x", "1"), a.holds("y", "1"); x.Revision != o.Revision || y.Revision != o.Revision {
		t.Errorf("%+v, %+v", x, y)
	}
	a.holds("old", "")
	if o := a.decide(request(when("old", Exists), put("x", "2"), del("y"))); o.Applied {
		t.Error("applied")
	}
	a.holds("x", "1")
	a.holds("y", "1")
}

func TestABadRequestFailsAlone(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	term := a.lead()
	tooMany := request()
	for i := range maxBatchOps + 1 {
		tooMany.Delete(fmt.Sprint(i))
	}
	held := newGate(t)
	a.wire.next(held.hold)
	plug := a.startAnytime(testContext(t), request(put("plug", "")))
	held.reached(t)
	before := a.start(request(put("before", "1")))
	a.refuse(request(put("k", "1"), put("k", "2")), ErrInvalid)
	a.refuse(request(put("k", "1"), del("k")), ErrInvalid)
	a.refuse(request(put("k", strings.Repeat("x", maxBatchBytes))), ErrInvalid)
	a.refuse(tooMany, ErrInvalid)
	after := a.start(request(put("after", "1")))
	held.open()
	plug.applied()
	if before, after := before.applied(), after.applied(); before.Revision != after.Revision {
		t.Error("the two do not share a batch")
	}
	a.holds("k", "")
	if term.Err() != nil {
		t.Error(term.Err())
	}
}

func TestTheLargestRequestsAreTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	many := request()
	for i := range maxBatchOps {
		many.Put(Entry{Key: fmt.Sprint(i)})
	}
	large := request(put("large", strings.Repeat("x", MaxValueBytes)))
	largest := request(put("l1", strings.Repeat("x", MaxValueBytes)), put("l2", strings.Repeat("x", MaxValueBytes-100)))
	for _, call := range a.together(nil, many, large, request(put("small", "1")), largest, again(many)) {
		call.applied()
	}
	if n := c.count(entryPrefix); n != maxBatchOps+5 {
		t.Errorf("%d entries", n)
	}
}

// Requests are validated before, so this takes a member that accepts less than the store believes.
func TestABatchThatEtcdRefusesDoesNotWedgeTheCommitter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(cfg *embed.Config) { cfg.MaxRequestBytes = 64 << 10 })
	a := c.replica("leasehold-0")
	term := a.lead()
	a.refuse(request(put("k", strings.Repeat("x", 128<<10))), ErrInvalid)
	a.apply(request(put("k", "1")))
	a.holds("k", "1")
	if term.Err() != nil {
		t.Error(term.Err())
	}
}

func TestAFullStoreTakesWhatDoesNotGrowIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var full atomic.Bool
	a, b, _ := c.trio(func(cfg *Config) { cfg.Full = full.Load })
	a.lead()
	known := request(put("k", "1"))
	a.apply(known)
	full.Store(true)
	grow := request(put("j", "1"))
	a.refuse(grow, ErrFull)
	a.refuse(request(del("k"), put("j", "1")), ErrFull)
	if o := a.apply(again(known)); !o.Replayed {
		t.Errorf("%+v", o)
	}
	a.apply(request(del("k")))
	state := &Write{ID: NewID()}
	state.PutState("job", []byte("ran"))
	a.apply(state)
	b.lead()
	full.Store(false)
	if o := b.apply(again(grow)); o.Replayed {
		t.Error("the refused write is remembered as applied")
	}
}

func TestStateIsApartFromEntries(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	w := &Write{ID: NewID()}
	w.PutState("jobs/x", []byte("1"))
	a.apply(w)
	if got, err := a.GetState(testContext(t), "jobs/x"); err != nil || !bytes.Equal(got, []byte("1")) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := a.GetState(testContext(t), "jobs/y"); err != nil || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	if n := c.count(entryPrefix); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestAClientThatGoesAwayIsToldThatTheOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	held := newGate(t)
	a.wire.next(held.hold)
	ctx, cancel := context.WithCancel(testContext(t))
	underWay := a.startAnytime(ctx, request(put("under way", "1")))
	held.reached(t)
	waiting := a.startAnytime(ctx, request(put("waiting", "1")))
	eventually(t, func() error {
		if n := len(a.term.Load().committer.queue); n != 1 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	cancel()
	underWay.fails(ErrUnknown)
	waiting.fails(ErrUnknown)
	held.open()
	a.apply(request(put("k", "1")))
	a.holds("under way", "1")
	a.holds("waiting", "") // nobody waits for it any more
}

func TestTheEndOfATermAnswersWhoeverWaits(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	term := a.lead()
	held := newGate(t)
	a.wire.next(held.hold)
	underWay := a.startAnytime(testContext(t), request(put("under way", "1")))
	held.reached(t)
	var waiting []*call
	for i := range 10 {
		waiting = append(waiting, a.start(request(put(fmt.Sprint(i), "1"))))
	}
	term.End()
	a.refuse(request(put("late", "1")), ErrNotLeading)
	for range 20 { // none of them waits for the batch under way
		if _, err := term.Write(testContext(t), request(put("late", "1"))); !errors.Is(err, ErrNotLeading) {
			t.Fatalf("a write after the end: %v", err)
		}
	}
	held.open()
	underWay.applied()
	for _, c := range waiting {
		c.fails(ErrNotLeading)
	}
	b.holds("0", "")
	term.End() // a second time
}

func TestMoreThanTheBoundDoNotWait(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	term := a.lead()
	sameKey := func() *pending {
		return &pending{ctx: context.Background(), write: request(put("same key", "")), answer: make(chan answer, 1)}
	}
	held := newGate(t)
	a.wire.next(held.hold)
	plug := a.startAnytime(testContext(t), request(put("plug", "")))
	held.reached(t)
	for range maxQueued {
		term.committer.queue <- sameKey()
	}
	impatient, cancel := context.WithCancel(testContext(t))
	cancel()
	a.startAnytime(impatient, request(put("k", "1"))).fails(ErrNotLeading) // never handed over
	second := newGate(t)
	a.wire.next(second.hold)
	held.open()
	plug.applied()
	second.reached(t) // one of them is under way, the others wait for their turn, one by one
	for range 2 * maxQueued {
		select {
		case term.committer.queue <- sameKey():
			continue
		default:
		}
		break
	}
	third := newGate(t)
	a.wire.next(third.hold)
	second.open()
	third.reached(t)
	// The committer holds third in its gate, so nobody else touches its fields.
	if n := len(term.committer.waiting); n > maxQueued {
		t.Errorf("%d writes are put off; the bound is %d", n, maxQueued)
	}
	term.End()
	third.open()
}

func TestAPauseHoldsWritesBack(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	term := a.lead()
	before := a.wire.attempts()
	var calls []*call
	err := term.Pause(testContext(t), func() {
		eventually(t, func() error { // the first batch is decided already, and not sent
			calls = append(calls, a.startAnytime(testContext(t), request(put(fmt.Sprint(len(calls)), "1"))))
			if n := len(term.committer.queue); n < 10 {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		if n := a.wire.attempts(); n != before {
			t.Errorf("%d transactions in the pause", n-before)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		c.applied()
	}
	if n := a.wire.attempts() - before; n > 3 {
		t.Errorf("%d transactions for %d writes that came in a pause", n, len(calls))
	}
}
