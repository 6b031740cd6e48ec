package jobs

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/store"
)

func namesOf(all []Job) (names []string) {
	for _, j := range all {
		names = append(names, j.Name)
	}
	return names
}

func TestAJobRunsInItsElectionOrInTheWrites(t *testing.T) {
	t.Parallel()
	all := []Job{{Name: "a"}, {Name: "b", Election: "jobs"}, {Name: "c", Election: store.Writes}, {Name: "d", Election: "other"}, {Name: "e", Election: "jobs"}}
	for _, c := range []struct {
		election  string
		elections []string
		want      []string
	}{
		{store.Writes, []string{store.Writes}, []string{"a", "b", "c", "d", "e"}},
		{store.Writes, []string{store.Writes, "jobs"}, []string{"a", "c", "d"}},
		{"jobs", []string{store.Writes, "jobs"}, []string{"b", "e"}},
		{"other", []string{store.Writes, "jobs", "other"}, []string{"d"}},
		{"none", []string{store.Writes, "none"}, nil},
	} {
		if got := namesOf(Of(c.election, c.elections, all)); !slices.Equal(got, c.want) {
			t.Errorf("of %v, %s runs %v, want %v", c.elections, c.election, got, c.want)
		}
	}
}

// What writes data runs where the data are written, and so does what removes members: not that of the writes' leader.
func TestTheBuiltInJobsAreOfAnElection(t *testing.T) {
	t.Parallel()
	nothing := func(context.Context) error { return nil }
	all := []Job{Heartbeat(nil), Expire(), JournalPrune(store.Writes), Compact(CompactConfig{}), Members(nothing, nothing), JournalPrune("jobs")}
	both := []string{store.Writes, "jobs"}
	if got := namesOf(Of(store.Writes, both, all)); !slices.Equal(got, []string{"heartbeat", "expire", "journal-prune", "members"}) {
		t.Errorf("the writes' leader runs %v", got)
	}
	if got := namesOf(Of("jobs", both, all)); !slices.Equal(got, []string{"compact", "journal-prune-jobs"}) {
		t.Errorf("the jobs' leader runs %v", got)
	}
}

func TestSeveralSchedulersAreAskedAsOne(t *testing.T) {
	t.Parallel()
	led := ""
	scheduler := func(election string, names ...string) *Scheduler {
		var own []Job
		for _, name := range names {
			own = append(own, Job{Name: name, Run: func(context.Context, Leader) (string, error) { return "", nil }})
		}
		return New(Config{
			Election: election, Jobs: own, State: func(context.Context, string) ([]byte, error) { return nil, nil },
			Leading: func() bool { return false },
			Leadership: func() (context.Context, Leader, bool) {
				led = election
				return nil, Leader{}, false
			},
			Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		})
	}
	all := Several{scheduler("", "a", "b"), scheduler("jobs", "c")}
	statuses, err := all.Statuses(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, s := range statuses {
		listed = append(listed, s.Election+"/"+s.Name)
	}
	if want := []string{"writes/a", "writes/b", "jobs/c"}; !slices.Equal(listed, want) {
		t.Errorf("listed are %v, want %v", listed, want)
	}
	for name, election := range map[string]string{"a": store.Writes, "c": "jobs"} {
		if got, ok := all.ElectionOf(name); got != election || !ok {
			t.Errorf("%s is of %q", name, got)
		}
	}
	if _, err := all.RunNow(testContext(t), "c"); !errors.Is(err, ErrNotLeading) || led != "jobs" {
		t.Errorf("run under %q: %v", led, err)
	}
	if _, ok := all.ElectionOf("z"); ok {
		t.Error("it knows a job that there is not")
	}
	if _, err := all.RunNow(testContext(t), "z"); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("a job that there is not: %v", err)
	}
}
