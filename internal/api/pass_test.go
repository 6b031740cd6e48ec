package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// at is a fake that has reached a revision.
type at struct {
	*fakeStore
	revision int64
}

func (a at) Reached() int64 { return a.revision }

// holding is a fake that has the key "a", and takes leasehold-0 for the leader.
func holding(value string) *fakeStore {
	f := believing("leasehold-0", 1)
	f.entries["a"] = store.Entry{Key: "a", Value: []byte(value), Revision: 7}
	return f
}

// passing makes the leader of a set, which does that with reads.
func (s *set) passing(mode string, st leadable) *replica {
	s.t.Helper()
	r := s.on("leasehold-0", st, func(c *Config) { c.LeaderReads, c.PublicURL = mode, s.publicURL })
	r.leading.Store(true)
	return r
}

// publicURL knows the replicas that have been given to it.
func (s *set) publicURL(pod string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.replicas {
		if r.pod == pod {
			return r.public.URL, nil
		}
	}
	return "", fmt.Errorf("%q is not a pod of this set", pod)
}

// finds waits until the leader knows which followers are fit.
func (r *replica) finds(pods ...string) {
	r.t.Helper()
	eventually(r.t, func() error {
		r.followers.next(r.fitFollowers)
		r.followers.mu.Lock()
		defer r.followers.mu.Unlock()
		if got := strings.Join(r.followers.fit, " "); got != strings.Join(pods, " ") || r.followers.seen.IsZero() {
			return fmt.Errorf("it takes %q to be fit; want %q", got, pods)
		}
		return nil
	})
}

func TestTheLeaderHasFollowersAnswerInTurn(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	leader := s.passing(ReadsProxy, holding("of the leader"))
	s.on("leasehold-1", holding("of 1"))
	s.on("leasehold-2", holding("of 2"))
	leader.finds("leasehold-1", "leasehold-2")
	asked := map[string]int{}
	for range 20 {
		a := leader.get("/v1/kv/a", "Leasehold-Min-Revision: 7-fake").is(http.StatusOK).has(headerForwardedBy, "leasehold-0").has("ETag", `"7-fake"`)
		pod := a.header.Get(headerServedBy)
		a.holds(strings.Replace(pod, "leasehold-", "of ", 1))
		if n := len(a.header.Values(headerServedBy)); n != 1 {
			t.Errorf("it says %d times who has served it", n)
		}
		asked[pod]++
	}
	if asked["leasehold-1"] != 10 || asked["leasehold-2"] != 10 {
		t.Errorf("asked %v", asked)
	}
	leader.get("/v1/kv/none").is(http.StatusNotFound).has(headerForwardedBy, "leasehold-0")
	leader.get("/v1/kv/a?consistency=strange").is(http.StatusBadRequest)
}

func TestOptionsOfAReadArePassedOn(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	leader := s.passing(ReadsProxy, holding("of the leader"))
	f := holding("of 1")
	s.on("leasehold-1", f)
	leader.finds("leasehold-1")
	leader.get("/v1/kv/a?consistency=linearizable", "Leasehold-Min-Revision: 5-fake").is(http.StatusOK)
	leader.get("/v1/kv/a%2F%2Fb?revision=3-fake").is(http.StatusNotFound)
	want := []store.ReadOptions{{Linearizable: true, MinRevision: 5}, {Revision: 3}}
	if len(f.reads) != 2 || f.reads[0] != want[0] || f.reads[1] != want[1] {
		t.Errorf("the follower was asked for %+v", f.reads)
	}
}

func TestTheLeaderAnswersWhereNobodyIsFit(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	leader := s.passing(ReadsProxy, at{holding("of the leader"), 7 + caughtUp + 1})
	s.on("leasehold-1", holding("too old"))
	s.on("leasehold-2", holding("of one that drains")).Drain()
	s.reroute("leasehold-3", closedAddress(t))
	leader.get("/v1/kv/a").is(http.StatusOK).holds("of the leader") // before it has looked
	leader.finds()
	leader.get("/v1/kv/a").is(http.StatusOK).holds("of the leader").has(headerForwardedBy, "")
}

func TestAFollowerThatFailsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]interception{
		"hangs": hang,
		"breaks off": func(http.ResponseWriter, *http.Request, http.Handler) {
			panic(http.ErrAbortHandler)
		},
		"starts": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { StartingInternal(w) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSet(t)
			leader := s.passing(ReadsProxy, holding("of the leader"))
			leader.passLimit = 100 * time.Millisecond
			follower := s.on("leasehold-1", holding("of 1"))
			leader.finds("leasehold-1")
			follower.intercept(fails)
			leader.get("/v1/kv/a").is(http.StatusOK).holds("of the leader").has(headerServedBy, "leasehold-0").has(headerForwardedBy, "")
			if _, ok := leader.followers.next(func() []string { return nil }); ok {
				t.Error("the next read would go there as well")
			}
		})
	}
}

// Two replicas that both take themselves for the leader send nothing in a circle.
func TestAReadIsPassedOnOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{ReadsProxy, ReadsRedirect} {
		s := newSet(t)
		a := s.passing(mode, holding("of 0"))
		b := s.on("leasehold-1", holding("of 1"), func(c *Config) { c.LeaderReads, c.PublicURL = mode, s.publicURL })
		b.leading.Store(true)
		a.finds("leasehold-1")
		b.finds("leasehold-0")
		a.get("/v1/kv/a").is(http.StatusOK).holds("of 1")
		b.get("/v1/kv/a").is(http.StatusOK).holds("of 0")
	}
}

func TestTheLeaderSendsClientsToAFollower(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	leader := s.passing(ReadsRedirect, holding("of the leader"))
	follower := s.on("leasehold-1", holding("of 1"))
	leader.finds("leasehold-1")
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/kv/a%2F%2Fb?consistency=linearizable", nil)
	leader.Handler().ServeHTTP(w, r)
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	want := follower.public.URL + "/v1/kv/a%2F%2Fb?consistency=linearizable&passed-by=leasehold-0"
	if w.Code != http.StatusTemporaryRedirect || to.String() != want {
		t.Errorf("answered %d to %s; want %s", w.Code, to, want)
	}
	leader.get("/v1/kv/a").is(http.StatusOK).holds("of 1").has(headerServedBy, "leasehold-1")
	leader.get("/v1/kv?prefix=a&passed-by=leasehold-0").is(http.StatusServiceUnavailable).has(headerServedBy, "leasehold-0") // the fake lists nothing
}

func TestWhoDoesNotLeadPassesNothingOn(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	r := s.passing(ReadsProxy, holding("its own"))
	r.leading.Store(false)
	s.on("leasehold-1", holding("of 1"))
	r.finds("leasehold-1")
	r.get("/v1/kv/a").is(http.StatusOK).holds("its own")
}
