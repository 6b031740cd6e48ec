package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/client"
)

func TestLongestGap(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, test := range []struct {
		name string
		acks []int // in the order in which they are noted
		want time.Duration
	}{
		{"between two", []int{100, 200, 700, 900}, 500 * time.Millisecond},
		{"out of order", []int{900, 100, 700, 200}, 500 * time.Millisecond},
		{"another writer fills it", []int{100, 400, 700, 900}, 300 * time.Millisecond},
		{"at the beginning", []int{600, 700, 900}, 600 * time.Millisecond},
		{"at the end", []int{100, 200}, 800 * time.Millisecond},
		{"no write at all", nil, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var ty tally
			ty.begin(start)
			for i, ms := range test.acks {
				ty.acknowledge(i, at(ms), 1)
			}
			ty.finish(at(1000))
			var o outcome
			ty.fill(&o)
			if got := o.longestGap(); got != test.want {
				t.Errorf("longest gap %s, want %s", got, test.want)
			}
		})
	}
}

func TestOutcomeIsAnErrorIfAWriteFailedOrWasLost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		o     outcome
		total string
		ok    bool
	}{
		{outcome{acks: make([]time.Time, 3)}, "acknowledged 3, failed 0, lost 0", true},
		{outcome{acks: make([]time.Time, 3), failed: []string{"a"}}, "acknowledged 3, failed 1, lost 0", false},
		{outcome{acks: make([]time.Time, 3), lost: []string{"a", "b"}}, "acknowledged 3, failed 0, lost 2", false},
	} {
		if got := test.o.total(); got != test.total {
			t.Errorf("total %q, want %q", got, test.total)
		}
		if err := test.o.err(); (err == nil) != test.ok {
			t.Errorf("%s: error %v", test.total, err)
		}
	}
}

// fakeStore is a map behind the part of the API that the writer uses.
type fakeStore struct {
	mu     sync.Mutex
	values map[string]string
	status int // of every write; 0 for success
}

func (f *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodGet {
		value, ok := f.values[r.URL.Path]
		if !ok || r.URL.Query().Get("consistency") != "linearizable" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, value)
		return
	}
	if f.status != 0 {
		w.WriteHeader(f.status)
		_, _ = io.WriteString(w, `{"detail": "No.", "applied": "no"}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	f.values[r.URL.Path] = string(body)
	w.Header().Set("Leasehold-Epoch", "7")
}

// newFake makes a store with two addresses, and a writer to it.
func newFake(t *testing.T) (*fakeStore, *writer) {
	t.Helper()
	f := &fakeStore{values: map[string]string{}}
	var urls []string
	for range 2 {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	connections := client.NewHTTP(writers)
	t.Cleanup(connections.CloseIdleConnections)
	return f, newWriter(client.New(connections, urls...))
}

// result is the outcome of the writes so far.
func (w *writer) result() (o outcome) {
	w.tally.fill(&o)
	return o
}

func TestRefusedWriteHasFailed(t *testing.T) {
	t.Parallel()
	f, w := newFake(t)
	w.write(t.Context(), 0)
	f.status = http.StatusInsufficientStorage
	w.write(t.Context(), 1)
	o := w.result()
	if len(o.acks) != 1 || w.tally.newestEpoch() != 7 || len(o.failed) != 1 || !strings.HasPrefix(o.failed[0], w.key(1)) || !strings.Contains(o.failed[0], "No.") {
		t.Errorf("%s, epoch %d: %v", o.total(), w.tally.newestEpoch(), o.failed)
	}
}

func TestLostWritesAreFound(t *testing.T) {
	t.Parallel()
	f, w := newFake(t)
	for number := range 20 {
		w.write(t.Context(), number)
	}
	f.mu.Lock()
	delete(f.values, "/v1/kv/"+w.key(3))
	f.values["/v1/kv/"+w.key(4)] = "another value"
	f.mu.Unlock()
	lost, err := w.check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lost)
	want := []string{w.key(3) + ": it is not there", w.key(4) + `: its value is "another value"`}
	if !slices.Equal(lost, want) {
		t.Errorf("lost %q, want %q", lost, want)
	}
}

func TestWritersWriteUntilTheyAreStopped(t *testing.T) {
	t.Parallel()
	_, w := newFake(t)
	g := w.start(t.Context())
	eventually(t, func() error {
		if w.tally.newestEpoch() == 0 || len(w.tally.acknowledged()) < 20 {
			return io.ErrNoProgress
		}
		return nil
	})
	g.stop()
	g.stop()
	numbers := w.tally.acknowledged()
	slices.Sort(numbers)
	for i, number := range numbers {
		if i != number {
			t.Fatalf("the writes are numbered %v", numbers)
		}
	}
	o := w.result()
	if most := int(o.end.Sub(o.start)/(time.Second/writesASecond)) + 2; len(o.acks) > most {
		t.Errorf("%d writes in %s, want %d at most", len(o.acks), o.end.Sub(o.start), most)
	}
}
