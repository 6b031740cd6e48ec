package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/link"
	"github.com/leasehold/leasehold/internal/store"
)

// linked has the replica take links, and waits until the others, who know that it leads, have one.
func (r *replica) linked(others ...*replica) {
	r.t.Helper()
	r.links.Store(true)
	for _, o := range others {
		eventually(r.t, func() error {
			if rt := o.writes().router; rt.links.to(rt.target()) == nil {
				return fmt.Errorf("%s has no link to %s", o.pod, r.pod)
			}
			return nil
		})
	}
	r.arrived.Store(0)
}

// link is the one that the replica has to the leader.
func (r *replica) link() *link.Client {
	rt := r.writes().router
	return rt.links.to(rt.target())
}

// askedAlone expects that many requests to have come over HTTP since there are links.
func (r *replica) askedAlone(times int64) {
	r.t.Helper()
	if n := r.arrived.Load(); n != times {
		r.t.Errorf("%s was asked %d times over HTTP, not %d", r.pod, n, times)
	}
}

func TestWritesGoOverTheLink(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	a.linked(b)
	etag := b.put("/v1/kv/a%2Fb?ttl=1h", "one", "Content-Type: text/css", "If-None-Match: *").is(http.StatusOK).etag()
	for _, w := range []answer{
		b.put("/v1/kv/a%2Fb", "two", "If-None-Match: *").is(http.StatusPreconditionFailed),
		b.put("/v1/kv/a%2Fb?ttl=2h", "three", "Content-Type: text/css", "If-Match: "+etag).is(http.StatusOK),
		b.post("/v1/kv/new", "x").is(http.StatusCreated),
		b.post("/v1/kv/new", "x").is(http.StatusConflict),
		b.post("/v1/kv", `{"then": [{"put": {"key": "c", "value": "x"}}]}`).is(http.StatusOK),
		b.delete("/v1/kv/c").is(http.StatusNoContent),
	} {
		w.has(headerServedBy, a.pod).has(headerLeader, a.pod).has(headerEpoch, "1").has(headerForwardedBy, b.pod)
	}
	if a.get("/v1/kv/a%2Fb").holds("three").has("Content-Type", "text/css").header.Get(headerExpires) == "" {
		t.Error("the time to live is lost on the way")
	}
	b.post("/v1/kv/once", "x", headerKey+": k").is(http.StatusCreated).has(headerReplayed, "")
	b.post("/v1/kv/once", "x", headerKey+": k").is(http.StatusCreated).has(headerReplayed, "true")
	a.askedAlone(0)
}

// TestTheAnswerIsTheSameOverALink compares it with that of a write which went over HTTP.
func TestTheAnswerIsTheSameOverALink(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	f := leadingAs("leasehold-0", 3)
	a := s.on("leasehold-0", f)
	b := s.on("leasehold-1", believing("leasehold-0", 3))
	c := s.on("leasehold-2", believing("leasehold-0", 3)) // it has no link
	a.linked(b)
	a.links.Store(false)
	for name, decided := range map[string]struct {
		outcome store.Outcome
		err     error
	}{
		"applied":    {outcome: store.Outcome{Applied: true, Revision: 9, Epoch: 3}},
		"refused":    {outcome: store.Outcome{Revision: 9, Epoch: 3}},
		"replayed":   {outcome: store.Outcome{Applied: true, Revision: 9, Epoch: 2, Replayed: true}},
		"full":       {err: store.ErrFull},
		"busy":       {err: store.ErrBusy},
		"key reused": {err: store.ErrKeyReused},
		"invalid":    {err: fmt.Errorf("%w: it is not to be", store.ErrInvalid)},
		"broken":     {err: errTest},
	} {
		f.mu.Lock()
		f.decide = func(context.Context, *store.Write) (store.Outcome, error) { return decided.outcome, decided.err }
		f.mu.Unlock()
		for _, method := range []string{http.MethodPut, http.MethodPost, http.MethodDelete} {
			over, alone := b.do(method, "/v1/kv/a", ""), c.do(method, "/v1/kv/a", "")
			for _, h := range []http.Header{over.header, alone.header} {
				h.Del("Date")
				h.Del(headerForwardedBy)
			}
			if over.status != alone.status || over.body != alone.body || fmt.Sprint(over.header) != fmt.Sprint(alone.header) {
				t.Errorf("%s, %s: over a link %d %v %s, alone %d %v %s",
					name, method, over.status, over.header, over.body, alone.status, alone.header, alone.body)
			}
		}
	}
}

func TestWhatIsTooLongForALinkGoesAlone(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	b := s.on("leasehold-1", believing("leasehold-0", 1))
	a.linked(b)
	b.put("/v1/kv/a", string(make([]byte, link.MaxMessage))).is(http.StatusOK)
	a.askedAlone(1)
}

func TestARunGoesAlone(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	a.linked(b)
	b.post("/v1/jobs/sweep/run", "").is(http.StatusOK)
	a.askedAlone(1)
}

// counted counts the writes that come to a store.
type counted struct {
	Store
	writes *atomic.Int64
}

func (c counted) Write(ctx context.Context, w *store.Write) (store.Outcome, error) {
	c.writes.Add(1)
	return c.Store.Write(ctx, w)
}

// paused has the term commit nothing until it is released.
func paused(t *testing.T, term *store.Term) (release func()) {
	t.Helper()
	held, released := make(chan struct{}), make(chan struct{})
	go func() {
		_ = term.Pause(testContext(t), func() {
			close(held)
			<-released
		})
	}()
	<-held
	return func() { close(released) }
}

func TestALinkThatEndsUnderAWriteHasItAppliedOnce(t *testing.T) {
	t.Parallel()
	var came atomic.Int64
	a, b, _ := trio(t, func(c *Config) { c.Store = counted{c.Store, &came} })
	term := a.lead()
	b.knows(a.pod)
	a.linked(b)
	release := paused(t, term)
	w := b.start(http.MethodPost, "/v1/kv/a", "x")
	eventually(t, func() error {
		if came.Load() != 1 {
			return errors.New("the write is not under way")
		}
		return nil
	})
	a.endLinked()
	a.arrives(1) // it comes again, over HTTP
	release()
	w.wait().is(http.StatusCreated)
	if n := b.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestALinkedLeaderThatIsReplacedIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	term := a.lead()
	b.knows(a.pod)
	a.linked(b)
	release := paused(t, term)
	defer release()
	w := b.start(http.MethodPost, "/v1/kv/a", "x")
	w.waits()
	c.lead()
	w.wait().is(http.StatusCreated).has(headerServedBy, c.pod)
	a.askedAlone(0) // it had gone over the link
	if n := b.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestAStaleWriteIsRefusedOverALink(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 3)
	a := newSet(t).on("leasehold-0", f)
	now := time.Now()
	for name, c := range map[string]struct {
		epoch    uint64
		deadline time.Time
		result   linkedResult
	}{
		"the epoch and in time":   {3, now.Add(time.Minute), linkedDecided},
		"late, and clocks differ": {3, now.Add(-ClockTolerance / 2), linkedDecided},
		"an older epoch":          {2, now.Add(time.Minute), linkedNotLeading},
		"a newer epoch":           {4, now.Add(time.Minute), linkedNotLeading},
		"nobody waits":            {3, now.Add(-ClockTolerance - time.Second), linkedNotLeading},
	} {
		w := linkedWrite{method: http.MethodPut, uri: "/v1/kv/a", key: name[:1], epoch: c.epoch, deadline: c.deadline}
		_, before := f.written()
		o, err := decodeLinkedOutcome(a.decideLinked(t.Context(), w.encode()))
		if err != nil || o.result != c.result {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		if o.result == linkedNotLeading && o.leader != (hint{a.pod, 3}) {
			t.Errorf("%s: it is told of %+v", name, o.leader)
		}
		if _, after := f.written(); (after > before) != (c.result == linkedDecided) {
			t.Errorf("%s: the store was asked %d times", name, after-before)
		}
	}
}

func TestAWriteWithoutAKeyIsNotDecidedOverALink(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 1)
	a := newSet(t).on("leasehold-0", f)
	w := linkedWrite{method: http.MethodPut, uri: "/v1/kv/a", epoch: 1, deadline: time.Now().Add(time.Minute)}
	if o, err := decodeLinkedOutcome(a.decideLinked(t.Context(), w.encode())); err != nil || o.result != linkedAlone {
		t.Errorf("it is answered %+v, %v", o, err)
	}
	if n, _ := f.written(); n != 0 {
		t.Errorf("%d writes came to the store", n)
	}
}

func TestAPanicCostsNoMoreThanItsWrite(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 1)
	f.decide = func(context.Context, *store.Write) (store.Outcome, error) { panic("of the test") }
	a := newSet(t).on("leasehold-0", f)
	w := linkedWrite{method: http.MethodPut, uri: "/v1/kv/a", key: "k", epoch: 1, deadline: time.Now().Add(time.Minute)}
	if o, err := decodeLinkedOutcome(a.decideLinked(t.Context(), w.encode())); err != nil || o.result != linkedUnknown {
		t.Errorf("it is answered %+v, %v", o, err)
	}
}

func TestALinkIsMadeForEachLeader(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	b := s.on("leasehold-1", leadingAs("leasehold-1", 2))
	known := believing("leasehold-0", 1)
	c := s.on("leasehold-2", known)
	a.linked(c)
	first := c.link()
	known.learn("leasehold-1", 2)
	b.linked(c)
	if !first.Ended() {
		t.Error("the link to the leader before is there still")
	}
	c.put("/v1/kv/a", "x").is(http.StatusOK).has(headerServedBy, b.pod)
	b.askedAlone(0)
	if c.writes().router.links.to(target{pod: a.pod, epoch: 1}) != nil {
		t.Error("who asks late for the leader before gets a link")
	}
}

func TestLinksEndWithTheReplica(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	b := s.on("leasehold-1", believing("leasehold-0", 1))
	a.linked(b)
	over := b.link()
	a.links.Store(false)
	a.EndLinks()
	eventually(t, func() error {
		if !over.Ended() {
			return errors.New("the link is there")
		}
		return nil
	})
	b.put("/v1/kv/a", "x").is(http.StatusOK)
	a.askedAlone(1)
}
