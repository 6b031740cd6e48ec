package api

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/jobs"
)

// apart is another election of a replica, "jobs", beside that of the data.
type apart struct {
	*fakeStore // of which only the leader record counts
	leading    atomic.Bool
	stepDown   func(ctx context.Context, to string) error
}

func (a *apart) with(c *Config) {
	c.Elections = append(c.Elections, Election{
		Name: "jobs", Leader: a.Leader, Leading: a.leading.Load,
		Vitals:   func() Vitals { return Vitals{Epoch: 8, Claiming: a.leading.Load()} },
		StepDown: func(ctx context.Context, to string) error { return a.stepDown(ctx, to) },
		History: func(context.Context) ([]history.Entry, error) {
			return []history.Entry{{To: "leasehold-1", Epoch: 8, Reason: "first", Why: "the first leader"}}, nil
		},
	})
	c.Elections[0].History = func(context.Context) ([]history.Entry, error) { return []history.Entry{}, nil }
}

// sweeping are jobs of which "sweep" is of the election "jobs".
type sweeping struct {
	*fakeJobs
	apart *apart
}

func (s sweeping) ElectionOf(name string) (string, bool) { return "jobs", name == "sweep" }

func (s sweeping) RunNow(_ context.Context, name string) (jobs.Status, error) {
	if !s.apart.leading.Load() {
		return jobs.Status{}, jobs.ErrNotLeading
	}
	return jobs.Status{Name: name, Election: "jobs", Pod: s.pod, Runs: 1}, nil
}

// two are replicas with two elections: leasehold-0 leads the writes under epoch 3, and leasehold-1 the jobs under epoch 8.
func two(t *testing.T) (writer, worker *replica, workersJobs *apart) {
	t.Helper()
	s := newSet(t)
	on := func(pod string, st *fakeStore) (*replica, *apart) {
		a := &apart{fakeStore: believing("leasehold-1", 8)}
		a.leading.Store(pod == "leasehold-1")
		return s.on(pod, st, a.with, func(c *Config) { c.Jobs = sweeping{&fakeJobs{pod: pod}, a} }), a
	}
	writer, _ = on("leasehold-0", leadingAs("leasehold-0", 3))
	writer.leading.Store(true)
	worker, workersJobs = on("leasehold-1", believing("leasehold-0", 3))
	return writer, worker, workersJobs
}

func TestEachElectionIsShown(t *testing.T) {
	t.Parallel()
	writer, worker, _ := two(t)
	const since, jobsBody = `"since":"0001-01-01T00:00:00Z"`, `{"election":"jobs","leader":"leasehold-1","epoch":8,"since":"0001-01-01T00:00:00Z"}`
	for _, r := range []*replica{writer, worker} {
		r.get("/v1/leader").is(http.StatusOK).has(headerLeader, "leasehold-0").has(headerEpoch, "3").
			holds(`{"leader":"leasehold-0","epoch":3,` + since + `,"elections":[{"election":"writes","leader":"leasehold-0","epoch":3,` + since + `},` + jobsBody + "]}\n")
		r.get("/v1/leader?election=jobs").is(http.StatusOK).holds(jobsBody + "\n")
		r.get("/v1/leader?election=writes").is(http.StatusOK).holds(`{"election":"writes","leader":"leasehold-0","epoch":3,` + since + "}\n")
		if got := r.get("/v1/leader/history?election=jobs").is(http.StatusOK).body; !strings.Contains(got, `"to":"leasehold-1","epoch":8`) {
			t.Errorf("the history of the jobs is %s", got)
		}
		r.get("/v1/leader/history").is(http.StatusOK).holds(`{"history":[]}` + "\n")
		cluster := r.get("/v1/cluster").is(http.StatusOK).body
		for _, part := range []string{`"pod":"leasehold-0","voter":true,"role":"leader","leads":["writes"]`, `"pod":"leasehold-1","voter":true,"role":"follower","leads":["jobs"]`} {
			if !strings.Contains(cluster, part) {
				t.Errorf("the cluster is %s, without %s", cluster, part)
			}
		}
	}
	writer.get("/leaderz").is(http.StatusOK)
	writer.get("/leaderz?election=jobs").is(http.StatusServiceUnavailable)
	worker.get("/leaderz").is(http.StatusServiceUnavailable)
	worker.get("/leaderz?election=jobs").is(http.StatusOK)
	for _, path := range []string{"/v1/leader", "/v1/leader/history", "/leaderz"} {
		writer.get(path + "?election=dance").is(http.StatusNotFound).says(`no election "dance"; there are: writes, jobs`)
	}
	writer.post(transferPath+"?election=dance", "").is(http.StatusNotFound).says("writes, jobs")
}

func TestOtherReplicasAreToldOfEachElection(t *testing.T) {
	t.Parallel()
	writer, worker, _ := two(t)
	st, err := writer.Ask(testContext(t), worker.pod)
	if err != nil || st.Claiming || st.Elections["jobs"] != (Vitals{Epoch: 8, Claiming: true}) || len(st.Elections) != 1 {
		t.Errorf("the worker says %+v, %v", st, err)
	}
	// A replica with one election says what one always said.
	alone := newSet(t).on("leasehold-0", newFakeStore())
	if got := alone.forwarded(http.MethodGet, StatusPath, "").is(http.StatusOK).body; strings.Contains(got, "elections") {
		t.Errorf("it says %s", got)
	}
}

func TestATransferGoesToTheLeaderOfItsElection(t *testing.T) {
	t.Parallel()
	writer, worker, a := two(t)
	for i, r := range []*replica{writer, worker} {
		epoch := uint64(9 + i)
		a.stepDown = func(_ context.Context, to string) error {
			if to != "leasehold-2" {
				t.Errorf("to %q", to)
			}
			a.learn("leasehold-2", epoch)
			return nil
		}
		r.post(transferPath+"?election=jobs", `{"to":"leasehold-2"}`).is(http.StatusOK).has(headerServedBy, worker.pod)
		a.learn("leasehold-1", 8)
	}
	if n := worker.arrived.Load(); n != 1 {
		t.Errorf("the jobs' leader was asked %d times", n)
	}
}

func TestAJobIsRunByTheLeaderOfItsElection(t *testing.T) {
	t.Parallel()
	writer, worker, _ := two(t)
	for _, r := range []*replica{writer, worker} {
		var status jobs.Status
		strictly(t, r.post("/v1/jobs/sweep/run", "").is(http.StatusOK).body, &status)
		if status.Pod != worker.pod || status.Election != "jobs" {
			t.Errorf("the run is %+v", status)
		}
	}
	writer.put("/v1/kv/a", "1").is(http.StatusOK).has(headerServedBy, writer.pod)
	worker.put("/v1/kv/a", "1").is(http.StatusOK).has(headerServedBy, writer.pod)
}

// Who refuses says who leads that election, and nothing of another: a hint of one would else lead the writes astray.
func TestARefusalNamesTheLeaderOfItsElection(t *testing.T) {
	t.Parallel()
	writer, worker, a := two(t)
	forwarded := func(headers ...string) []string {
		return append(headers, headerForwardedKey+": k", headerDeadline+": 4102444800000")
	}
	a.leading.Store(false)
	a.learn("leasehold-2", 9)
	worker.forwarded(http.MethodPost, "/v1/jobs/sweep/run", "", forwarded(headerElection+": jobs", headerEpoch+": 8")...).
		is(http.StatusMisdirectedRequest).has(headerElection, "jobs").has(headerLeader, "leasehold-2").has(headerEpoch, "9").has(headerOutcome, outcomeNotLeading)
	worker.forwarded(http.MethodPut, "/v1/kv/a", "1", forwarded(headerEpoch+": 8")...).
		is(http.StatusMisdirectedRequest).has(headerLeader, "leasehold-0").has(headerEpoch, "3")
	writer.forwarded(http.MethodPut, "/v1/kv/a", "1", forwarded(headerElection+": writes", headerEpoch+": 3")...).is(http.StatusOK)
}

// A replica of before there were several elections answers for the writes whatever it is asked for, and names no election. The epochs of
// the writes may be higher: taken for the jobs' they would have it look for their leader in the wrong place from then on.
func TestAReplicaWithoutTheElectionLeadsNobodyAstray(t *testing.T) {
	t.Parallel()
	s := newSet(t)
	worker, a := s.on("leasehold-1", leadingAs("leasehold-1", 50)), &apart{fakeStore: believing("leasehold-1", 8)}
	asker := s.on("leasehold-0", believing("leasehold-1", 50), a.with, waiting(200*time.Millisecond), func(c *Config) { c.Jobs = sweeping{&fakeJobs{}, a} })
	worker.intercept(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set(headerOutcome, outcomeNotLeading)
		w.Header().Set(headerLeader, "leasehold-1")
		w.Header().Set(headerEpoch, "50")
		w.WriteHeader(http.StatusMisdirectedRequest)
	})
	asker.runsNothing()
	if got := asker.elections[1].router.target(); got.pod != "leasehold-1" || got.epoch != 8 {
		t.Errorf("the jobs are led by %s under epoch %d, it thinks", got.pod, got.epoch)
	}
}

// runsNothing asks for the run of a job and expects it not to be run in time. An attempt that the end cuts off is open.
func (r *replica) runsNothing() {
	r.t.Helper()
	if a := r.post("/v1/jobs/sweep/run", ""); a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
		r.t.Errorf("answered %d %s", a.status, a.body)
	}
}

// A replica that holds one election has the job run by the leader of the writes. The epochs of the jobs are higher: taken for the
// writes' they would have it send its writes to the jobs' leader from then on.
func TestAReplicaOfOneElectionIsNotLedAstray(t *testing.T) {
	t.Parallel()
	writer, worker, _ := two(t)
	old := writer.set.on("leasehold-2", believing("leasehold-0", 3), waiting(200*time.Millisecond))
	old.runsNothing()
	if writer.arrived.Load() == 0 {
		t.Fatal("the leader of the writes was not asked")
	}
	old.put("/v1/kv/a", "1").is(http.StatusOK).has(headerServedBy, writer.pod)
	if n := worker.arrived.Load(); n != 0 {
		t.Errorf("the leader of the jobs was asked %d times", n)
	}
	// And the other way round.
	alone := worker.set.on("leasehold-3", leadingAs("leasehold-3", 50))
	a := &apart{fakeStore: believing("leasehold-3", 8)}
	both := worker.set.on("leasehold-4", believing("leasehold-3", 50), a.with, waiting(200*time.Millisecond), func(c *Config) { c.Jobs = sweeping{&fakeJobs{}, a} })
	both.runsNothing()
	a.learn("leasehold-1", 9)
	both.runsNothing() // that one has the epoch 8, and says so
	if alone.arrived.Load() == 0 || worker.arrived.Load() == 0 {
		t.Errorf("asked were %d and %d times", alone.arrived.Load(), worker.arrived.Load())
	}
}
