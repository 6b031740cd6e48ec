package api

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/store"
)

const transferPath = "/v1/leader/transfer"

// stepping has a replica step down by f.
func stepping(f func(ctx context.Context, to string) error) func(*Config) {
	return func(c *Config) { c.Elections[0].StepDown = f }
}

// duo is a leader under epoch 3 that steps down by f, and a follower.
func duo(t *testing.T, f func(ctx context.Context, to string) error, options ...func(*Config)) (leader, follower *replica) {
	t.Helper()
	s := newSet(t)
	options = append(options, stepping(f))
	return s.on("leasehold-0", leadingAs("leasehold-0", 3), options...), s.on("leasehold-1", believing("leasehold-0", 3), options...)
}

func fakeOf(r *replica) *fakeStore {
	f, ok := r.cfg.Store.(*fakeStore)
	if !ok {
		panic("not on a fake")
	}
	return f
}

func TestATransferIsAskedForOfAnyReplica(t *testing.T) {
	t.Parallel()
	var leader, follower *replica
	var asked atomic.Value
	leader, follower = duo(t, func(_ context.Context, to string) error {
		asked.Store(to)
		go func() { // the record is resigned, and a moment later another pod has claimed
			f := fakeOf(leader)
			f.learn("", 3)
			time.Sleep(10 * time.Millisecond)
			f.learn("leasehold-2", 4)
		}()
		return nil
	})
	for i, r := range []*replica{leader, follower} {
		for body, to := range map[string]string{"": "", "{}": "", " \n": "", `{"to":"leasehold-2"}`: "leasehold-2"} {
			r.post(transferPath, body).is(http.StatusOK).
				holds(`{"from":"leasehold-0","to":"leasehold-2","epoch":4}`+"\n").
				has(headerServedBy, "leasehold-0").has(headerLeader, "leasehold-2").has(headerEpoch, "4")
			if got := asked.Load(); got != to {
				t.Errorf("asked %d for %q with %q, want %q", i, got, body, to)
			}
			fakeOf(leader).learn("leasehold-0", 3)
		}
	}
}

func TestATransferIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	var result atomic.Pointer[error]
	leader, follower := duo(t, func(context.Context, string) error { return *result.Load() })
	for _, test := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("leasehold-9 is %w", member.ErrNotMember), http.StatusNotFound, "leasehold-9 is not a member"},
		{fmt.Errorf("leasehold-2 %w: it is a learner", member.ErrUnfit), http.StatusConflict, "it is a learner"},
		{fmt.Errorf("leasehold-0 %w", election.ErrLeadsAlready), http.StatusConflict, "leasehold-0 leads already"},
		{fmt.Errorf("%w: %w", election.ErrBusy, context.DeadlineExceeded), http.StatusConflict, "under way already"},
		{fmt.Errorf("%w: %w", election.ErrNotMoved, errTest), http.StatusServiceUnavailable, "something broke"},
		{election.ErrNotLeading, http.StatusServiceUnavailable, "stopped leading"},
		{errTest, http.StatusServiceUnavailable, "does not answer"},
	} {
		result.Store(&test.err)
		for _, r := range []*replica{leader, follower} {
			a := r.post(transferPath, `{"to":"leasehold-2"}`).is(test.status).says(test.says)
			if a.status == http.StatusServiceUnavailable {
				a.has("Retry-After", "1")
			}
		}
	}
}

func TestABadTransferIsRefused(t *testing.T) {
	t.Parallel()
	var stepped atomic.Bool
	leader, follower := duo(t, func(context.Context, string) error { stepped.Store(true); return nil })
	for _, body := range []string{
		`{"too":"leasehold-2"}`, `{"to":""}`, `{"to":7}`, `{"to":"../leasehold-2"}`, `{"to":"leasehold 2"}`, `{} {}`, "leasehold-2", `{"to":"\u0000"}`, "\xff",
	} {
		for _, r := range []*replica{leader, follower} {
			r.post(transferPath, body).is(http.StatusBadRequest)
		}
	}
	leader.post(transferPath+"?to=leasehold-2", "").is(http.StatusBadRequest)
	leader.get(transferPath).is(http.StatusMethodNotAllowed).has("Allow", "POST")
	if stepped.Load() {
		t.Error("the leader has stepped down")
	}
}

func TestATransferIsNotHeld(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	never := stepping(func(context.Context, string) error { panic("asked") })
	s.on("leasehold-1", believing("", 3), never).post(transferPath, "").is(http.StatusServiceUnavailable).
		has("Retry-After", "1").says("No replica leads")
	s.reroute("leasehold-0", closedAddress(t))
	s.on("leasehold-2", believing("leasehold-0", 3), never).post(transferPath, "").is(http.StatusServiceUnavailable).
		has("Retry-After", "1").says("could not be reached")
	// One that does not know yet that it has been replaced, and one that another believes in wrongly.
	s.on("leasehold-0", believing("leasehold-3", 4), never)
	s.on("leasehold-4", believing("leasehold-0", 3), never).post(transferPath, "").is(http.StatusServiceUnavailable)
}

// Who forwards does not ask twice, and does not give up when the leader record changes: that is what was asked for.
func TestATransferIsForwardedOnce(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	var leader, follower *replica
	leader, follower = duo(t, func(context.Context, string) error {
		<-proceed
		fakeOf(leader).learn("leasehold-1", 4)
		return nil
	})
	c := follower.start(http.MethodPost, transferPath, "")
	leader.arrives(1)
	fakeOf(follower).learn("", 3)
	fakeOf(follower).learn("leasehold-1", 4)
	time.Sleep(50 * time.Millisecond)
	c.waits()
	close(proceed)
	c.wait().is(http.StatusOK).has(headerForwardedBy, follower.pod)

	fakeOf(follower).learn("leasehold-0", 5)
	fakeOf(leader).learn("leasehold-0", 5)
	leader.intercept(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) })
	follower.post(transferPath, "").is(http.StatusGatewayTimeout).says("could not be learned")
	if n := leader.arrived.Load(); n != 2 {
		t.Errorf("asked %d times for two transfers", n)
	}
}

func TestATransferThatNobodyTakes(t *testing.T) {
	t.Parallel()
	var leader, follower *replica
	leader, follower = duo(t, func(context.Context, string) error {
		fakeOf(leader).learn("", 3)
		return nil
	}, waiting(200*time.Millisecond))
	for _, r := range []*replica{leader, follower} {
		r.post(transferPath, "").is(http.StatusServiceUnavailable).has("Retry-After", "1").says("nobody has taken over")
		fakeOf(leader).learn("leasehold-0", 3)
	}
	var back *replica
	back, _ = duo(t, func(context.Context, string) error {
		fakeOf(back).learn("leasehold-0", 4)
		return nil
	})
	back.post(transferPath, "").is(http.StatusServiceUnavailable).says("leasehold-0 leads again, under epoch 4")
}

// Once leadership is being given up it is seen through.
func TestATransferGoesOnWithoutItsClient(t *testing.T) {
	t.Parallel()
	begun, result := make(chan struct{}), make(chan error, 1)
	leader, _ := duo(t, func(ctx context.Context, _ string) error {
		close(begun)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		if _, bounded := ctx.Deadline(); !bounded {
			result <- errTest
		}
		result <- ctx.Err()
		return errTest
	})
	c := leader.start(http.MethodPost, transferPath, "")
	<-begun
	c.hangUp()
	if err := <-result; err != nil {
		t.Errorf("the transfer ends with its client: %v", err)
	}
}

func TestHistoryIsShown(t *testing.T) {
	t.Parallel()
	gap, at := int64(120), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var err error
	r := newSet(t).on("leasehold-0", newFakeStore(), func(c *Config) {
		c.Elections[0].History = func(context.Context) ([]history.Entry, error) {
			return []history.Entry{
				{From: "leasehold-0", To: "leasehold-1", Epoch: 2, At: at, Reason: "transfer", Why: "leasehold-0 gave leadership up", GapMS: &gap},
				{To: "leasehold-0", Epoch: 1, At: at, Reason: "first", Why: "the first leader"},
			}, err
		}
	})
	r.get("/v1/leader/history").is(http.StatusOK).holds(`{"history":[` +
		`{"from":"leasehold-0","to":"leasehold-1","epoch":2,"at":"2026-01-02T03:04:05Z","reason":"transfer","why":"leasehold-0 gave leadership up","gap_ms":120},` +
		`{"from":"","to":"leasehold-0","epoch":1,"at":"2026-01-02T03:04:05Z","reason":"first","why":"the first leader","gap_ms":null}]}` + "\n")
	err = store.ErrUnknown
	r.get("/v1/leader/history").is(http.StatusServiceUnavailable)
}
