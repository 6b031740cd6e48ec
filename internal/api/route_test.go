package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// hang takes the request and answers nothing until the other side gives up.
func hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // net/http looks for a hang-up only once it has been read
	<-r.Context().Done()
}

// loseAnswer has the request carried out, and the connection cut before the answer.
func loseAnswer(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// once has f happen to the first request only.
func once(r *replica, f interception) interception {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		r.intercept(nil)
		f(w, req, next)
	}
}

func TestAnyReplicaTakesAWrite(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	a.lead()
	for _, r := range []*replica{a, b, c} {
		r.knows(a.pod)
		through := r.pod
		if r == a {
			through = ""
		}
		for _, w := range []answer{
			r.put("/v1/kv/a", r.pod).is(http.StatusOK),
			r.post("/v1/kv/"+r.pod, "new").is(http.StatusCreated),
			r.post("/v1/kv", `{"then": [{"put": {"key": "b", "value": "`+r.pod+`"}}]}`).is(http.StatusOK),
			r.delete("/v1/kv/b").is(http.StatusNoContent),
			r.post("/v1/kv/a", "new").is(http.StatusConflict),
			r.post("/v1/jobs/sweep/run", "").is(http.StatusOK),
		} {
			w.has(headerServedBy, a.pod).has(headerLeader, a.pod).has(headerEpoch, "1").has(headerForwardedBy, through)
		}
		a.get("/v1/kv/a").holds(r.pod)
	}
}

func TestAForwardCarriesConditionsAndTypes(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	etag := b.put("/v1/kv/a", "one", "Content-Type: text/css", "If-None-Match: *").is(http.StatusOK).etag()
	a.get("/v1/kv/a").has("Content-Type", "text/css").has("ETag", etag)
	b.put("/v1/kv/a", "two", "If-None-Match: *").is(http.StatusPreconditionFailed)
	b.put("/v1/kv/a?ttl=1h", "two", "If-Match: "+etag).is(http.StatusOK)
	if a.get("/v1/kv/a").holds("two").header.Get(headerExpires) == "" {
		t.Error("the time to live is lost on the way")
	}
	b.delete("/v1/kv/a", "If-Match: "+etag).is(http.StatusPreconditionFailed)
}

func TestAForwardedWriteIsNeverForwardedAgain(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", believing("leasehold-1", 4), waiting(200*time.Millisecond))
	b := s.on("leasehold-1", believing("leasehold-0", 4), waiting(200*time.Millisecond))
	p := a.put("/v1/kv/a", "x").is(http.StatusServiceUnavailable).problem()
	if p.Applied != appliedNo {
		t.Errorf("applied is %q", p.Applied)
	}
	if n := b.arrived.Load(); n == 0 {
		t.Error("the write was not forwarded")
	}
	if n := a.arrived.Load(); n != 0 {
		t.Errorf("it was sent back %d times", n)
	}
}

func TestAWriteIsHeldUntilSomebodyLeads(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	held := c.start(http.MethodPut, "/v1/kv/a", "x")
	own := b.start(http.MethodPut, "/v1/kv/b", "x")
	c.holds(1)
	b.holds(1)
	held.waits()
	b.lead()
	held.wait().is(http.StatusOK).has(headerServedBy, b.pod).has(headerForwardedBy, c.pod)
	own.wait().is(http.StatusOK).has(headerServedBy, b.pod).has(headerForwardedBy, "")
	a.get("/v1/kv/a?consistency=linearizable").is(http.StatusOK)
	c.holds(0)
}

func TestAWriteIsHeldWhileTheLeaderHasResigned(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	if err := a.lead().Resign(testContext(t), "", ""); err != nil {
		t.Fatal(err)
	}
	c.knows("")
	held := c.start(http.MethodPut, "/v1/kv/a", "x")
	c.holds(1)
	b.lead()
	held.wait().is(http.StatusOK).has(headerEpoch, "2")
	if n := a.arrived.Load(); n != 0 {
		t.Errorf("%d requests went to the leader that has resigned", n)
	}
}

func TestAForwardToAReplacedLeaderIsSentAgain(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	a.lead()
	c.knows(a.pod)
	a.intercept(hang)
	w := c.start(http.MethodPut, "/v1/kv/a", "x")
	a.arrives(1)
	w.waits()
	b.lead()
	w.wait().is(http.StatusOK).has(headerServedBy, b.pod).has(headerReplayed, "")
	if n := c.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestALeaderThatAppliesAndHangsAppliesOnce(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	a.lead()
	c.knows(a.pod)
	done := make(chan struct{})
	a.intercept(func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		close(done)
		<-r.Context().Done()
	})
	w := c.start(http.MethodPost, "/v1/kv/a", "x")
	<-done
	b.lead()
	w.wait().is(http.StatusCreated).has(headerReplayed, "true").has(headerEpoch, "1")
	if n := c.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestALeaderThatDiesBeforeItAnswersAppliesOnce(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	term := a.lead()
	c.knows(a.pod)
	a.intercept(func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		term.End()
		go a.crash()
		panic(http.ErrAbortHandler)
	})
	w := c.start(http.MethodPost, "/v1/kv/a", "x")
	a.arrives(1)
	b.lead()
	w.wait().is(http.StatusCreated).has(headerServedBy, b.pod)
	if n := c.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

func TestAnAnswerThatIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	a, _, c := trio(t)
	a.lead()
	c.knows(a.pod)
	a.intercept(once(a, loseAnswer))
	c.post("/v1/kv/a", "x").is(http.StatusCreated).has(headerReplayed, "true")
	if n := c.versions("a"); n != 1 {
		t.Errorf("applied %d times", n)
	}
}

// Over a connection that was used before, net/http sends some requests again by itself. Here that second
// sending is refused; the first was applied.
func TestARequestIsNotSentAgainUnnoticed(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]string{"with a body": http.MethodPut, "without one": http.MethodDelete} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSet(t)
			a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
			c := s.on("leasehold-2", believing("leasehold-0", 1), waiting(300*time.Millisecond))
			c.put("/v1/kv/first", "x").is(http.StatusOK)
			a.intercept(func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
				_ = a.internal.Listener.Close()
				loseAnswer(nil, r, next)
			})
			p := c.do(method, "/v1/kv/a", strings.Repeat("x", len(method)-len("PUT"))).is(http.StatusGatewayTimeout).problem()
			if p.Applied != appliedUnknown {
				t.Errorf("applied is %q", p.Applied)
			}
		})
	}
}

func TestALeaderThatIsNotThereIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	c := s.on("leasehold-2", believing("leasehold-0", 1))
	s.reroute(a.pod, closedAddress(t))
	w := c.start(http.MethodPut, "/v1/kv/a", "x")
	c.holds(1)
	w.waits()
	s.reroute(a.pod, a.internal.URL)
	w.wait().is(http.StatusOK).has(headerServedBy, a.pod)
}

func TestALeaderThatStartsHasDecidedNothing(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	c := s.on("leasehold-2", believing("leasehold-0", 1))
	a.intercept(once(a, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { StartingInternal(w) }))
	c.put("/v1/kv/a", "x").is(http.StatusOK).has(headerServedBy, a.pod)
}

func TestAHintOfAHigherEpochIsFollowed(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", believing("leasehold-1", 5))
	b := s.on("leasehold-1", leadingAs("leasehold-1", 5))
	cut := s.on("leasehold-2", believing("leasehold-0", 4)) // it does not hear of new records
	cut.put("/v1/kv/a", "x").is(http.StatusOK).has(headerServedBy, b.pod).has(headerEpoch, "5")
	cut.put("/v1/kv/a", "x").is(http.StatusOK)
	if n := a.arrived.Load(); n != 1 {
		t.Errorf("the old leader was asked %d times", n)
	}
}

func TestAStaleHintIsNotFollowed(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 3))
	late := believing("leasehold-0", 3) // it has claimed epoch 4, and does not know it yet
	b := s.on("leasehold-1", late)
	c := s.on("leasehold-2", believing("leasehold-1", 4))
	w := c.start(http.MethodPut, "/v1/kv/a", "x")
	b.arrives(3)
	late.learn("leasehold-1", 4)
	w.waits()
	b.arrives(6)
	w.hangUp()
	w.wait()
	if n := a.arrived.Load(); n != 0 {
		t.Errorf("the leader before last was asked %d times", n)
	}
}

func TestANewRecordOutdatesAHint(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	s.on("leasehold-0", believing("leasehold-1", 5))
	s.on("leasehold-1", leadingAs("leasehold-1", 5))
	s.on("leasehold-3", leadingAs("leasehold-3", 6))
	behind := believing("leasehold-0", 4)
	c := s.on("leasehold-2", behind)
	c.put("/v1/kv/a", "x").is(http.StatusOK).has(headerServedBy, "leasehold-1")
	behind.learn("leasehold-3", 6)
	c.put("/v1/kv/a", "x").is(http.StatusOK).has(headerServedBy, "leasehold-3")
}

func TestAPoisonedNameGoesNowhere(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	for _, name := range []string{"evil.example.com", "leasehold-0@evil.example.com", "../leasehold-0", "leasehold-0/"} {
		c := s.on("leasehold-2", believing(name, 9), waiting(50*time.Millisecond))
		if p := c.put("/v1/kv/a", "x").is(http.StatusServiceUnavailable).problem(); p.Applied != appliedNo {
			t.Errorf("applied is %q", p.Applied)
		}
	}
}

func TestAPoisonedHintIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", believing("evil.example.com", 1<<60))
	behind := believing("leasehold-0", 4)
	c := s.on("leasehold-2", behind)
	b := s.on("leasehold-1", leadingAs("leasehold-1", 5))
	w := c.start(http.MethodPut, "/v1/kv/a", "x")
	a.arrives(2)
	behind.learn("leasehold-1", 5)
	w.wait().is(http.StatusOK).has(headerServedBy, b.pod)
}

func TestAClientThatHangsUpIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	b := s.on("leasehold-1", believing("leasehold-0", 1))
	c := s.on("leasehold-2", newFakeStore())
	gone := make(chan struct{})
	a.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		hang(w, r, next)
		close(gone)
	})
	held, forwarded := c.start(http.MethodPut, "/v1/kv/a", "x"), b.start(http.MethodPut, "/v1/kv/a", "x")
	c.holds(1)
	a.arrives(1)
	held.hangUp()
	forwarded.hangUp()
	c.holds(0)
	b.holds(0)
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("the leader is still asked for a client that is gone")
	}
}

func TestNothingWasSent(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	nobody := s.on("leasehold-0", newFakeStore(), waiting(50*time.Millisecond))
	p := nobody.put("/v1/kv/a", "x").is(http.StatusServiceUnavailable).has("Retry-After", "1").has(headerLeader, "").problem()
	if p.Applied != appliedNo || !strings.HasPrefix(p.Key, podKeyPrefix) || p.Leader != "" {
		t.Errorf("the problem is %+v", p)
	}
	s.reroute("leasehold-1", closedAddress(t))
	refused := s.on("leasehold-2", believing("leasehold-1", 3), waiting(50*time.Millisecond))
	p = refused.put("/v1/kv/a", "x", "Idempotency-Key: mine").is(http.StatusServiceUnavailable).has("Retry-After", "1").problem()
	if p.Applied != appliedNo || p.Key != "mine" || p.Leader != "leasehold-1" {
		t.Errorf("the problem is %+v", p)
	}
	if p.Detail != "The leader, leasehold-1, could not be reached, so the write was not applied. Try again." {
		t.Errorf("the detail is %q", p.Detail)
	}
}

func TestAnUnknownOutcomeCanBeLearned(t *testing.T) {
	t.Parallel()
	for name, given := range map[string][]string{"under the client's key": {"Idempotency-Key: order-66"}, "under the pod's": nil} {
		for what, applied := range map[string]bool{"applied": true, "lost": false} {
			t.Run(what+" "+name, func(t *testing.T) {
				t.Parallel()
				s := newSet(t)
				a, c := s.replica("leasehold-0"), s.replica("leasehold-2", waiting(500*time.Millisecond))
				a.lead()
				c.knows(a.pod)
				a.intercept(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if applied {
						next.ServeHTTP(httptest.NewRecorder(), r)
					}
					hang(w, r, next)
				})
				p := c.post("/v1/kv/a", "x", given...).is(http.StatusGatewayTimeout).problem()
				if p.Applied != appliedUnknown || p.Key == "" || !strings.Contains(p.Detail, p.Key) {
					t.Fatalf("the problem is %+v", p)
				}
				a.intercept(nil)
				replayed := map[bool]string{true: "true"}[applied]
				again := c.post("/v1/kv/a", "x", "Idempotency-Key: "+p.Key).is(http.StatusCreated).has(headerReplayed, replayed)
				a.post("/v1/kv/a", "x", "Idempotency-Key: "+p.Key).is(http.StatusCreated).has("ETag", again.etag()).has(headerReplayed, "true")
				a.post("/v1/kv/a", "y", "Idempotency-Key: "+p.Key).is(http.StatusUnprocessableEntity)
				if n := c.versions("a"); n != 1 {
					t.Errorf("applied %d times", n)
				}
			})
		}
	}
}

func TestAJobWhoseRunIsUnknown(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
	c := s.on("leasehold-2", believing("leasehold-0", 1), waiting(200*time.Millisecond))
	a.intercept(hang)
	p := c.post("/v1/jobs/sweep/run", "").is(http.StatusGatewayTimeout).problem()
	if p.Applied != appliedUnknown || p.Key != "" {
		t.Errorf("the problem is %+v", p)
	}
}

func TestTheLeaderItselfMayNotKnow(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 1)
	f.decide = func(ctx context.Context, _ *store.Write) (store.Outcome, error) {
		<-ctx.Done()
		return store.Outcome{}, store.ErrUnknown
	}
	s := newSet(t)
	a := s.on("leasehold-0", f, waiting(100*time.Millisecond))
	c := s.on("leasehold-2", believing("leasehold-0", 1), waiting(100*time.Millisecond))
	for _, r := range []*replica{a, c} {
		if p := r.put("/v1/kv/a", "x").is(http.StatusGatewayTimeout).problem(); p.Applied != appliedUnknown {
			t.Errorf("applied is %q", p.Applied)
		}
	}
}

func TestTheStoresErrorsAreTold(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]problem{
		store.ErrFull:      {Status: http.StatusInsufficientStorage, Applied: appliedNo},
		store.ErrBusy:      {Status: http.StatusTooManyRequests, Applied: appliedNo},
		store.ErrKeyReused: {Status: http.StatusUnprocessableEntity, Applied: appliedNo},
		store.ErrInvalid:   {Status: http.StatusBadRequest},
		errTest:            {Status: http.StatusServiceUnavailable},
	} {
		f := leadingAs("leasehold-0", 1)
		f.decide = func(context.Context, *store.Write) (store.Outcome, error) {
			return store.Outcome{}, fmt.Errorf("%w: really", err)
		}
		s := newSet(t)
		a, c := s.on("leasehold-0", f), s.on("leasehold-2", believing("leasehold-0", 1))
		for _, r := range []*replica{a, c} {
			w := r.put("/v1/kv/a", "x").is(want.Status).has(headerServedBy, a.pod)
			if p := w.problem(); p.Applied != want.Applied {
				t.Errorf("%v: applied is %q", err, p.Applied)
			}
		}
	}
}

// The first attempt goes to a leader that keeps it, the second to one that has no room for it. The first may still be applied.
func TestARefusalDoesNotHideAnEarlierAttempt(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{store.ErrFull, store.ErrBusy} {
		for _, leader := range []string{"leasehold-1", "leasehold-2"} { // of the second attempt: another replica, or this one
			s := newSet(t)
			a := s.on("leasehold-0", leadingAs("leasehold-0", 1))
			a.intercept(hang)
			full := leadingAs(leader, 2)
			full.decide = func(context.Context, *store.Write) (store.Outcome, error) { return store.Outcome{}, refusal }
			if leader == "leasehold-1" {
				s.on("leasehold-1", full)
			}
			f := believing("leasehold-0", 1)
			f.decide = full.decide
			c := s.on("leasehold-2", f, waiting(500*time.Millisecond))
			w := c.start(http.MethodPut, "/v1/kv/a", "x")
			a.arrives(1)
			f.learn(leader, 2)
			if p := w.wait().is(http.StatusGatewayTimeout).problem(); p.Applied != appliedUnknown {
				t.Errorf("%v by %s: applied is %q", refusal, leader, p.Applied)
			}
		}
	}
}

func TestTheSameKeyIsAppliedOnce(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	a.lead()
	var calls []*call
	for i := range 30 {
		r := []*replica{a, b, c}[i%3]
		calls = append(calls, r.start(http.MethodPut, "/v1/kv/a", "x", "Idempotency-Key: one-of-many"))
	}
	first := 0
	for _, w := range calls {
		if w.wait().is(http.StatusOK).header.Get(headerReplayed) == "" {
			first++
		}
	}
	if n := a.versions("a"); n != 1 || first != 1 {
		t.Errorf("applied %d times, %d of the answers say that they are the first", n, first)
	}
}

func TestAKeyStandsForOneRequest(t *testing.T) {
	t.Parallel()
	a := leader(t)
	etag := a.put("/v1/kv/a?ttl=1h", "x", "Idempotency-Key: k").is(http.StatusOK).etag()
	a.put("/v1/kv/a?ttl=1h", "x", "Idempotency-Key: k").is(http.StatusOK).has(headerReplayed, "true").has("ETag", etag)
	for _, other := range []answer{
		a.put("/v1/kv/a?ttl=1h", "y", "Idempotency-Key: k"),
		a.put("/v1/kv/a?ttl=2h", "x", "Idempotency-Key: k"),
		a.put("/v1/kv/b?ttl=1h", "x", "Idempotency-Key: k"),
		a.put("/v1/kv/a?ttl=1h", "x", "Idempotency-Key: k", "If-Match: *"),
		a.put("/v1/kv/a?ttl=1h", "x", "Idempotency-Key: k", "Content-Type: text/css"),
		a.post("/v1/kv/a?ttl=1h", "x", "Idempotency-Key: k"),
		a.delete("/v1/kv/a", "Idempotency-Key: k"),
	} {
		if p := other.is(http.StatusUnprocessableEntity).problem(); p.Applied != appliedNo {
			t.Errorf("applied is %q", p.Applied)
		}
	}
	a.put("/v1/kv/a", "x", "Idempotency-Key: refused", "If-None-Match: *").is(http.StatusPreconditionFailed)
	a.delete("/v1/kv/a").is(http.StatusNoContent)
	a.put("/v1/kv/a", "x", "Idempotency-Key: refused", "If-None-Match: *").is(http.StatusPreconditionFailed).has(headerReplayed, "true")
}

func TestBadIdempotencyKeys(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 1)
	r := newSet(t).on("leasehold-0", f)
	for _, bad := range []string{"with space", "ümlaut", strings.Repeat("k", 129), "tab\tbed"} {
		r.put("/v1/kv/a", "x", "Idempotency-Key: "+bad).is(http.StatusBadRequest).says("Idempotency-Key")
	}
	for _, good := range []string{strings.Repeat("k", 128), "leasehold-", "leasehold-xyz", `"8e03978e-40d5-43dd"`} {
		r.put("/v1/kv/a", "x", "Idempotency-Key: "+good).is(http.StatusOK)
	}
	if n, _ := f.written(); n != 4 {
		t.Errorf("%d writes have reached the store", n)
	}
}

func TestAForwardedWriteIsRefusedWhereItDoesNotBelong(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 5)
	a := newSet(t).on("leasehold-0", f)
	until := func(d time.Duration) string {
		return headerDeadline + ": " + strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10)
	}
	epoch := func(n int) string { return headerEpoch + ": " + strconv.Itoa(n) }
	key := headerForwardedKey + ": k"
	for name, c := range map[string]struct {
		status  int
		headers []string
	}{
		"an older epoch":      {http.StatusMisdirectedRequest, []string{key, epoch(4), until(time.Second)}},
		"a newer epoch":       {http.StatusMisdirectedRequest, []string{key, epoch(6), until(time.Second)}},
		"delayed for minutes": {http.StatusMisdirectedRequest, []string{key, epoch(5), until(-3 * time.Minute)}},
		"just too late":       {http.StatusMisdirectedRequest, []string{key, epoch(5), until(-ClockTolerance)}},
		"no key":              {http.StatusBadRequest, []string{"Idempotency-Key: k", epoch(5), until(time.Second)}},
		"no epoch":            {http.StatusBadRequest, []string{key, until(time.Second)}},
		"no deadline":         {http.StatusBadRequest, []string{key, epoch(5)}},
		"not a deadline":      {http.StatusBadRequest, []string{key, epoch(5), headerDeadline + ": soon"}},
	} {
		got := a.forwarded(http.MethodPut, "/v1/kv/a", "x", c.headers...).is(c.status)
		if c.status == http.StatusMisdirectedRequest {
			got.has(headerOutcome, outcomeNotLeading).has(headerLeader, a.pod).has(headerEpoch, "5")
		}
		if n, _ := f.written(); n != 0 {
			t.Fatalf("%s: the write has reached the store", name)
		}
	}
	a.forwarded(http.MethodPut, "/v1/kv/a", "x", key, epoch(5), until(time.Second)).is(http.StatusOK)
	a.forwarded(http.MethodPatch, "/v1/kv/a", "").is(http.StatusMethodNotAllowed)
	a.forwarded(http.MethodGet, "/v1/cluster", "").is(http.StatusNotFound)
}

// A forward that is read in time, and then waits for the committer past its deadline.
func TestALeaderStopsWhenTheClientHas(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 5)
	deadline := make(chan time.Time, 1)
	f.decide = func(ctx context.Context, _ *store.Write) (store.Outcome, error) {
		d, _ := ctx.Deadline()
		deadline <- d
		return store.Outcome{}, store.ErrNotLeading
	}
	a := newSet(t).on("leasehold-0", f)
	until := time.Now().Add(time.Minute).Truncate(time.Millisecond)
	a.forwarded(http.MethodPut, "/v1/kv/a", "x", headerForwardedKey+": k", headerEpoch+": 5",
		headerDeadline+": "+strconv.FormatInt(until.UnixMilli(), 10)).is(http.StatusMisdirectedRequest)
	if got := <-deadline; !got.Equal(until.Add(ClockTolerance)) {
		t.Errorf("the store is asked to be done by %s; the client waits until %s", got, until)
	}
}

// idleCounter counts how often the idle connections are closed.
type idleCounter struct {
	http.RoundTripper
	closed int
}

func (c *idleCounter) CloseIdleConnections() { c.closed++ }

func TestIdleConnectionsEndWithTheEpoch(t *testing.T) {
	t.Parallel()
	f := believing("leasehold-0", 1)
	rt := newRouter(&Server{}, Election{Leader: f.Leader})
	idle := &idleCounter{}
	rt.client = &http.Client{Transport: idle}
	for _, epoch := range []uint64{1, 1, 2, 2} { // a pod that leads again has started anew
		f.learn("leasehold-0", epoch)
		rt.target()
		if idle.closed != int(epoch) {
			t.Errorf("under epoch %d idle connections were closed %d times", epoch, idle.closed)
		}
	}
}
