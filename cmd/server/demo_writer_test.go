package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
	keys   map[string][]string // idempotency keys seen, by path
	hinder func(attempt int, w http.ResponseWriter) bool
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
	body, _ := io.ReadAll(r.Body)
	f.keys[r.URL.Path] = append(f.keys[r.URL.Path], r.Header.Get("Idempotency-Key"))
	if f.hinder != nil && f.hinder(len(f.keys[r.URL.Path]), w) {
		return
	}
	f.values[r.URL.Path] = string(body)
	w.Header().Set("Leasehold-Epoch", "7")
}

// newFake makes a store with two addresses, and a writer to it.
func newFake(t *testing.T, hinder func(attempt int, w http.ResponseWriter) bool) (*fakeStore, *writer) {
	t.Helper()
	f := &fakeStore{values: map[string]string{}, keys: map[string][]string{}, hinder: hinder}
	var urls []string
	for range 2 {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	w := newWriter(newDemoClient(), urls)
	t.Cleanup(w.client.CloseIdleConnections)
	return f, w
}

// result is the outcome of the writes so far.
func (w *writer) result() (o outcome) {
	w.tally.fill(&o)
	return o
}

func TestWriteIsTriedAgainUnderTheSameKey(t *testing.T) {
	t.Parallel()
	hindrances := map[string]func(http.ResponseWriter){
		"503 with Retry-After": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"429 with Retry-After": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"504":              func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		"connection reset": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	}
	for name, hinder := range hindrances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, w := newFake(t, func(attempt int, rw http.ResponseWriter) bool {
				if attempt <= 2 {
					hinder(rw)
				}
				return attempt <= 2
			})
			w.write(t.Context(), 5)
			if o := w.result(); len(o.acks) != 1 || len(o.failed) != 0 || w.tally.newestEpoch() != 7 {
				t.Errorf("%s, epoch %d: %v", o.total(), w.tally.newestEpoch(), o.failed)
			}
			for path, keys := range f.keys {
				if len(keys) < 3 || len(slices.Compact(keys)) != 1 || keys[0] == "" {
					t.Errorf("%s was sent under the keys %q", path, keys)
				}
			}
		})
	}
}

func TestRefusedConnectionGoesToTheOtherReplica(t *testing.T) {
	t.Parallel()
	_, w := newFake(t, nil)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	w.targets[0] = down.URL
	w.write(t.Context(), 0)
	w.write(t.Context(), 1)
	if o := w.result(); len(o.acks) != 2 || len(o.failed) != 0 {
		t.Errorf("%s: %v", o.total(), o.failed)
	}
}

func TestRefusedWriteFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusServiceUnavailable} {
		var attempts atomic.Int32
		_, w := newFake(t, func(_ int, rw http.ResponseWriter) bool {
			attempts.Add(1)
			rw.WriteHeader(status) // a 503 without Retry-After is not to be tried again
			_, _ = io.WriteString(rw, `{"detail": "No."}`)
			return true
		})
		w.write(t.Context(), 0)
		o := w.result()
		if attempts.Load() != 1 || len(o.failed) != 1 || !strings.Contains(o.failed[0], "No.") {
			t.Errorf("%d: %d attempts, %s: %v", status, attempts.Load(), o.total(), o.failed)
		}
	}
}

func TestLostWritesAreFound(t *testing.T) {
	t.Parallel()
	f, w := newFake(t, nil)
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
	_, w := newFake(t, nil)
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
