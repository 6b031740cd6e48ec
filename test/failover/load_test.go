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

	"github.com/leasehold/leasehold/test/lab"
)

// fakeStore is a map behind the part of the API that a load uses.
type fakeStore struct {
	hinder func(attempt int, w http.ResponseWriter) bool // it may be nil

	mu     sync.Mutex
	values map[string]string
	keys   map[string][]string // idempotency keys seen, by path
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

// newFake makes a store with two addresses, and a load for it that has not been started.
func newFake(t *testing.T, hinder func(attempt int, w http.ResponseWriter) bool) (*fakeStore, *load) {
	t.Helper()
	f := &fakeStore{values: map[string]string{}, keys: map[string][]string{}, hinder: hinder}
	l := &load{client: newLoadClient(), prefix: "test/"}
	for range 2 {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		l.targets = append(l.targets, server.URL)
	}
	t.Cleanup(l.client.CloseIdleConnections)
	return f, l
}

func TestAWriteIsTriedAgainUnderTheSameKey(t *testing.T) {
	t.Parallel()
	hindrances := map[string]func(http.ResponseWriter){
		"503 with Retry-After": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"503":              func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"429":              func(w http.ResponseWriter) { w.WriteHeader(http.StatusTooManyRequests) },
		"504":              func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) },
		"connection reset": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	}
	for name, hinder := range hindrances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, l := newFake(t, func(attempt int, w http.ResponseWriter) bool {
				if attempt <= 2 {
					hinder(w)
				}
				return attempt <= 2
			})
			l.write(t.Context(), 5)
			c := l.tally.snapshot()
			if len(c.acks) != 1 || c.acks[0].epoch != 7 || c.retried < 2 || len(c.failed) > 0 {
				t.Errorf("%+v", c)
			}
			for path, keys := range f.keys {
				if len(keys) < 3 || len(slices.Compact(keys)) != 1 || keys[0] == "" {
					t.Errorf("%s was sent under the keys %q", path, keys)
				}
			}
		})
	}
}

func TestARefusedWriteFailsAtOnce(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError} {
		_, l := newFake(t, func(_ int, w http.ResponseWriter) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"detail": "No."}`)
			return true
		})
		l.write(t.Context(), 0)
		if c := l.tally.snapshot(); len(c.failed) != 1 || c.retried != 0 || !strings.Contains(c.failed[0], "No.") {
			t.Errorf("%d: %+v", status, c)
		}
	}
}

func TestLostWritesAreFound(t *testing.T) {
	t.Parallel()
	f, l := newFake(t, nil)
	for number := range 20 {
		l.write(t.Context(), number)
	}
	f.mu.Lock()
	delete(f.values, "/v1/kv/"+l.key(3))
	f.values["/v1/kv/"+l.key(4)] = "another value"
	f.mu.Unlock()
	lost, err := l.verify(t.Context(), l.targets)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lost)
	want := []string{l.key(3) + ": it is not there", l.key(4) + `: its value is "another value"`}
	if !slices.Equal(lost, want) {
		t.Errorf("lost %q, want %q", lost, want)
	}
}

func TestALoadKeepsItsPaceUntilItIsStopped(t *testing.T) {
	t.Parallel()
	_, made := newFake(t, nil)
	began := time.Now()
	l := startLoad(t.Context(), made.client, made.targets)
	for len(l.tally.snapshot().acks) < 20 {
		if !lab.Pause(t.Context(), time.Millisecond) || time.Since(began) > 20*time.Second {
			t.Fatal("no 20 writes are acknowledged")
		}
	}
	l.stop()
	l.stop()
	n := len(l.tally.snapshot().acks)
	if most := int(time.Since(began)/(time.Second/writesASecond)) + 2; n > most {
		t.Errorf("%d writes, want %d at most", n, most)
	}
	lab.Pause(t.Context(), 3*time.Second/writesASecond)
	if after := len(l.tally.snapshot().acks); after != n {
		t.Errorf("%d writes after the end", after-n)
	}
}
