package workload

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/test/chaos/check"
)

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// eventually polls until f returns nil, and prints why not yet when time is up.
func eventually(tb testing.TB, f func() error) {
	tb.Helper()
	err := f()
	for deadline := time.Now().Add(time.Minute); err != nil; err = f() {
		if time.Now().After(deadline) {
			tb.Fatalf("still not so: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// begin has clients work on m until each workload has some acknowledged writes.
func begin(t *testing.T, m *model) *Workload {
	t.Helper()
	client := NewClient()
	t.Cleanup(client.CloseIdleConnections)
	w := Start(testContext(t), Config{URLs: m.urls, Client: client, Seed: 3, Rate: 1500})
	eventually(t, func() error { return busy(w, 40) })
	return w
}

func busy(w *Workload, least int) error {
	written := map[check.Workload]int{}
	h := w.History()
	for _, o := range h.Ops {
		if o.Kind != check.Read && o.Outcome == check.Applied {
			written[o.Workload]++
		}
	}
	for _, workload := range h.Workloads {
		if written[workload] < least {
			return fmt.Errorf("%d writes of %s were acknowledged", written[workload], workload)
		}
	}
	return nil
}

// end stops w, and returns its history, with the log of m, and what m holds.
func end(t *testing.T, w *Workload, m *model) (check.History, check.Final) {
	t.Helper()
	if err := w.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	f, err := w.Final(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	h := w.History()
	h.Log = m.snapshot()
	for _, r := range f.Replicas {
		f.Hashes = append(f.Hashes, check.Hash{Member: r.Name}) // the model has no members
	}
	return h, f
}

func TestAServiceThatKeepsItsPromisesPasses(t *testing.T) {
	t.Parallel()
	m := startModel(t, none)
	h, f := end(t, begin(t, m), m)
	for _, v := range check.Check(h, f) {
		t.Error(v)
	}
	seen := map[check.Outcome]bool{}
	for _, o := range h.Ops {
		seen[o.Outcome] = true
	}
	for _, o := range []check.Outcome{check.Applied, check.Refused, check.NotApplied, check.Unknown} {
		if !seen[o] {
			t.Errorf("no operation was %s", o)
		}
	}
}

func TestBrokenPromisesAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		broken breach
		want   check.Invariant
		// seen is what clients see of it, where nobody has looked into the store.
		seen check.Invariant
	}{
		{losesWrites, check.NothingLost, check.NothingLost},
		{appliesAgain, check.AppliedOnce, ""},
		{readsStale, check.Linearizable, check.Linearizable},
		{ignoresMinimum, check.FreshReads, check.FreshReads},
		{appliesRefused, check.NotThere, check.NotThere},
		{ignoresTests, check.Linearizable, check.Linearizable},
		{splitBatches, check.NothingLost, check.Linearizable},
		{differs, check.Equal, check.Equal},
		{twoLeaders, check.OneWriter, check.OneWriter},
		{oldJobs, check.JobsFenced, ""},
		{wrongAnswers, check.AsDocumented, check.AsDocumented},
	} {
		t.Run(string(c.broken), func(t *testing.T) {
			t.Parallel()
			m := startModel(t, c.broken)
			h, f := end(t, begin(t, m), m)
			finds(t, check.Check(h, f), c.want)
			h.Log = nil
			if c.seen != "" {
				finds(t, check.Check(h, f), c.seen)
			}
		})
	}
}

func finds(t *testing.T, found []check.Violation, want check.Invariant) {
	t.Helper()
	if !slices.ContainsFunc(found, func(v check.Violation) bool { return v.Invariant == want }) {
		t.Errorf("%q is not found; found: %v", want, found)
	}
}

func TestClientsGoOnUntilTheirLastOperationSucceeds(t *testing.T) {
	t.Parallel()
	m := startModel(t, none)
	w := begin(t, m)
	m.setDown(true)
	stopped := make(chan error, 1)
	go func() { stopped <- w.Stop(testContext(t)) }()
	refused := func(h check.History) (n int) {
		for _, o := range h.Ops {
			if o.Kind == check.Read && o.Outcome == check.NotApplied {
				n++
			}
		}
		return n
	}
	before := refused(w.History())
	eventually(t, func() error {
		if n := refused(w.History()); n == before {
			return fmt.Errorf("%d reads were refused, as before", n)
		}
		return nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("the clients have stopped: %v", err)
	default:
	}
	m.setDown(false)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAClientThatDoesNotSucceedIsNamed(t *testing.T) {
	t.Parallel()
	m := startModel(t, none)
	w := begin(t, m)
	m.setDown(true)
	ctx, cancel := context.WithTimeout(testContext(t), 500*time.Millisecond)
	defer cancel()
	if err := w.Stop(ctx); err == nil || !strings.Contains(err.Error(), "set-15") {
		t.Errorf("stopped with: %v", err)
	}
	h := w.History()
	h.Log = m.snapshot()
	finds(t, check.Check(h, check.Final{}), check.LastSucceeded)
}

func TestMeasureLooksAtNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	w := &Workload{}
	for second := range 100 {
		w.record(check.Op{Number: second, End: time.Duration(second) * time.Second})
	}
	w.record(check.Op{Number: 100, End: 98 * time.Second}) // out of turn
	ops := w.since(98 * time.Second)
	if len(ops) != 8 || ops[0].Number != 93 {
		t.Errorf("%d operations from %v", len(ops), ops[0])
	}
	if n := len(w.since(-time.Hour)); n != 101 {
		t.Errorf("%d operations of all, want 101", n)
	}
}

func TestMeasureCountsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	m := startModel(t, none)
	from := time.Now()
	w := begin(t, m)
	until := time.Now()
	got := w.Measure(from, until)
	if got.Acknowledged < 200 || got.PerSecond <= 0 || got.Retried == 0 || got.LongestGap <= 0 || got.LongestGap > until.Sub(from) {
		t.Errorf("%+v", got)
	}
	if err := w.Stop(testContext(t)); err != nil {
		t.Error(err)
	}
	now := time.Now()
	if later := w.Measure(now, now.Add(time.Second)); later.Acknowledged != 0 || later.LongestGap != time.Second {
		t.Errorf("after the end: %+v", later)
	}
}

func TestTheSeedDecidesWhatAClientDoes(t *testing.T) {
	t.Parallel()
	does := func(seed uint64) (all []string) {
		m := startModel(t, none)
		client := NewClient()
		defer client.CloseIdleConnections()
		w := Start(testContext(t), Config{URLs: m.urls, Client: client, Seed: seed, Rate: 1500})
		eventually(t, func() error { return busy(w, 5) })
		if err := w.Stop(testContext(t)); err != nil {
			t.Fatal(err)
		}
		for _, o := range w.History().Ops {
			if o.Client == "register-0" && o.Number == 0 {
				all = append(all, fmt.Sprint(o.Kind, o.Keys))
			}
			if o.Client == "counter-0" && o.Number == 0 {
				all = append(all, fmt.Sprint(o.Kind, o.Keys))
			}
		}
		slices.Sort(all)
		return all
	}
	if a, b := does(5), does(5); !slices.Equal(a, b) {
		t.Errorf("%v; and with the same seed %v", a, b)
	}
}
