package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/jobs"
)

func TestLeaderSaysWhoLeads(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.get("/v1/leader").is(http.StatusOK).holds(`{"leader":null,"epoch":0,"since":null,"elections":[{"election":"writes","leader":null,"epoch":0,"since":null}]}`+"\n").has(headerEpoch, "0")
	term := a.lead()
	b.knows(a.pod)
	var body struct {
		leaderBody
		Elections []electionBody `json:"elections"`
	}
	strictly(t, b.get("/v1/leader").is(http.StatusOK).has(headerLeader, a.pod).has(headerEpoch, "1").body, &body)
	if body.Leader == nil || *body.Leader != a.pod || body.Epoch != 1 || body.Since == nil || time.Since(*body.Since) > time.Minute {
		t.Errorf("the leader is %+v", body)
	}
	if err := term.Resign(testContext(t), "", ""); err != nil {
		t.Fatal(err)
	}
	b.knows("")
	b.get("/v1/leader").holds(`{"leader":null,"epoch":1,"since":null,"elections":[{"election":"writes","leader":null,"epoch":1,"since":null}]}`+"\n").has(headerLeader, "")
}

func TestClusterShowsEveryReplica(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 3))
	b := s.on("leasehold-1", believing("leasehold-0", 3))
	s.reroute("leasehold-2", closedAddress(t))
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	s.reroute("leasehold-3", silent.URL)
	got := b.get("/v1/cluster").is(http.StatusOK).body
	want := `{"leader":"leasehold-0","epoch":3,"since":"0001-01-01T00:00:00Z","replicas":[` +
		`{"pod":"leasehold-0","voter":true,"role":"leader","leads":["writes"],"reachable":true,"ready":true,"revision":"7-fake","lag":0,"boot_id":"boot-of-leasehold-0"},` +
		`{"pod":"leasehold-1","voter":true,"role":"follower","leads":[],"reachable":true,"ready":true,"revision":"7-fake","lag":0,"boot_id":"boot-of-leasehold-1"},` +
		`{"pod":"leasehold-2","voter":true,"role":"follower","leads":[],"reachable":false,"ready":false,"lag":null},` +
		`{"pod":"leasehold-3","voter":true,"role":"follower","leads":[],"reachable":false,"ready":false,"lag":null}]}` + "\n"
	if got != want {
		t.Errorf("the cluster is\n%s; want\n%s", got, want)
	}
	if a.arrived.Load() != 1 {
		t.Errorf("the leader was asked %d times", a.arrived.Load())
	}
}

func TestClusterWithoutMembers(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), func(c *Config) {
		c.Members = func(context.Context) ([]Member, error) { return nil, errTest }
	})
	r.get("/v1/cluster").is(http.StatusServiceUnavailable)
}

func TestAJobCanBeRunFromAnyReplica(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	a := s.on("leasehold-0", leadingAs("leasehold-0", 3))
	a.leading.Store(true)
	b := s.on("leasehold-1", believing("leasehold-0", 3))
	for i, r := range []*replica{a, b} {
		var status jobs.Status
		strictly(t, r.post("/v1/jobs/sweep/run", "").is(http.StatusOK).has(headerServedBy, a.pod).body, &status)
		if status.Name != "sweep" || status.Pod != a.pod || status.Runs != int64(i)+1 {
			t.Errorf("the run is %+v", status)
		}
		r.post("/v1/jobs/dance/run", "").is(http.StatusNotFound).says(`no job "dance"`)
		r.post("/v1/jobs/busy/run", "").is(http.StatusConflict)
		r.post("/v1/jobs/broken/run", "").is(http.StatusServiceUnavailable)
	}
	var list struct {
		Jobs []jobs.Status `json:"jobs"`
	}
	strictly(t, a.get("/v1/jobs").is(http.StatusOK).body, &list)
	if len(list.Jobs) != 1 || list.Jobs[0].Runs != 2 {
		t.Errorf("the jobs are %+v", list)
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore())
	r.get("/livez").is(http.StatusOK).holds("ok\n")
	r.get("/readyz").is(http.StatusOK).holds("ok\n")
	r.get("/leaderz").is(http.StatusServiceUnavailable)
	r.leading.Store(true)
	r.get("/leaderz").is(http.StatusOK).holds("leading\n")
	r.Drain()
	r.get("/readyz").is(http.StatusServiceUnavailable).says("shutting down")
	r.get("/livez").is(http.StatusOK)
	r.get("/v1/kv/a").is(http.StatusNotFound)
}

func TestAnUnknownAddressIsExplained(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore())
	for _, path := range []string{"/", "/v1", "/v2/kv/a", "/v1/kva", "/v1%2Fkv/a", "/internal/v1/status"} {
		r.get(path).is(http.StatusNotFound).says("nothing at this address")
	}
	for address, allow := range map[string]string{
		"PATCH /v1/kv/a":     "GET, HEAD, PUT, POST, DELETE",
		"PATCH /v1/kv/a%2Fb": "GET, HEAD, PUT, POST, DELETE",
		"DELETE /v1/kv":      "GET, POST",
		"POST /v1/watch":     "GET",
		"PUT /v1/leader":     "GET",
		"GET /v1/jobs/a/run": "POST",
		"BREW /livez":        "GET",
	} {
		method, path, _ := strings.Cut(address, " ")
		r.do(method, path, "").is(http.StatusMethodNotAllowed).has("Allow", allow).says(method)
	}
}

func TestMetricsCountByRoute(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore())
	r.get("/v1/kv/some/key").is(http.StatusNotFound)
	r.do("BREW", "/v1/kv/some/key", "").is(http.StatusMethodNotAllowed)
	metrics := r.get("/metrics").is(http.StatusOK).body
	for _, line := range []string{
		`http_requests_total{code="404",method="GET",route="/v1/kv/*"} 1`,
		`http_requests_total{code="405",method="other",route="`,
		"leasehold_writes_held 0",
		"leasehold_watches 0",
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(metrics, "some/key") || strings.Contains(metrics, "BREW") {
		t.Error("clients can make up labels")
	}
}

func TestAReplicaThatStartsSaysSo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler func(http.ResponseWriter)
		outcome string
	}{"clients": {Starting, ""}, "replicas": {StartingInternal, outcomeNotLeading}} {
		w := httptest.NewRecorder()
		c.handler(w)
		a := answer{t: t, status: w.Code, header: w.Header(), body: w.Body.String()}
		a.is(http.StatusServiceUnavailable).has("Retry-After", "1").has(headerOutcome, c.outcome)
		if p := a.problem(); p.Applied != appliedNo {
			t.Errorf("to %s: applied is %q", name, p.Applied)
		}
	}
}

func TestAProblemHasItsTitle(t *testing.T) {
	t.Parallel()
	got, _ := json.Marshal(problemOf(badRequest("Something is wrong.")))
	if want := `{"title":"Bad Request","status":400,"detail":"Something is wrong."}`; string(got) != want {
		t.Errorf("the problem is %s; want %s", got, want)
	}
}
