package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/leasehold/leasehold/test/lab"
)

// shelf is a replica's keys in memory.
type shelf struct {
	mu     sync.Mutex
	values map[string]string
	writes int
	asked  int

	readyAfter int // times it was asked
}

func newShelf(t *testing.T) (*shelf, *lab.Replica) {
	t.Helper()
	s := &shelf{values: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, &lab.Replica{Name: "one", URL: server.URL}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _ := strings.CutPrefix(r.URL.Path, "/v1/kv/")
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case r.Method == http.MethodPost:
		s.transaction(w, body)
	case r.Method == http.MethodPut:
		s.values[key] = string(body)
	case r.URL.Path == "/readyz":
		if s.asked++; s.asked <= s.readyAfter {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case s.values[key] == "":
		w.WriteHeader(http.StatusNotFound)
	default:
		fmt.Fprint(w, s.values[key])
	}
}

func (s *shelf) transaction(w http.ResponseWriter, body []byte) {
	var t transaction
	if err := json.Unmarshal(body, &t); err != nil || len(body) > 1<<20 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, p := range t.Then {
		s.values[p.Put.Key] = p.Put.Value
		s.writes++
	}
}

// fillShelf has every filler write its share.
func fillShelf(t *testing.T, r *lab.Replica, n int) error {
	t.Helper()
	var err error
	for filler := range growthFillers {
		err = errors.Join(err, fillKeyShare(t.Context(), http.DefaultClient, r.URL+"/v1/kv", filler, n))
	}
	return err
}

func TestEveryKeyIsWrittenOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, putsAtOnce, putsAtOnce + 1, growthFillers*putsAtOnce*2 + 3} {
		s, r := newShelf(t)
		if err := fillShelf(t, r, n); err != nil || len(s.values) != n || s.writes != n {
			t.Errorf("%d keys: there are %d, of %d writes (%v)", n, len(s.values), s.writes, err)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if value := s.values[growthKey(i)]; len(value) != valueBytes {
				t.Errorf("%d keys: %s is %q", n, growthKey(i), value)
			}
		}
		if err := hasKeys(t.Context(), r, n); err != nil {
			t.Errorf("%d keys: %v", n, err)
		}
	}
}

func TestAFillThatIsRefusedFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInsufficientStorage)
		fmt.Fprint(w, `{"detail": "The store is full."}`)
	}))
	t.Cleanup(server.Close)
	err := fillShelf(t, &lab.Replica{URL: server.URL}, 5)
	if err == nil || !strings.Contains(err.Error(), "bench/key-0000000 and the next: 507 The store is full.") {
		t.Error(err)
	}
}

func TestAKeyThatIsMissingAfterAStartIsNoticed(t *testing.T) {
	t.Parallel()
	s, r := newShelf(t)
	if err := fillShelf(t, r, samples); err != nil {
		t.Fatal(err)
	}
	s.values[growthKey(7)] = "short"
	if err := hasKeys(t.Context(), r, samples); err == nil || !strings.Contains(err.Error(), "without the right bench/key-0000007: it has 5 bytes") {
		t.Error(err)
	}
	delete(s.values, growthKey(7))
	if err := hasKeys(t.Context(), r, samples); err == nil || !strings.Contains(err.Error(), "without the right bench/key-0000007: 404") {
		t.Error(err)
	}
}

func TestAReplicaIsUpWhenItIsReadyAndHasTheKeys(t *testing.T) {
	t.Parallel()
	s, r := newShelf(t)
	client := newHTTPClient(r.URL)
	defer client.close()
	if err := isUp(client); err == nil {
		t.Error("a replica without a key is up")
	}
	if err := fillShelf(t, r, 1); err != nil {
		t.Fatal(err)
	}
	s.asked, s.readyAfter = 0, 3
	if err := awaitUp(t.Context(), r, takesWrites); err != nil || s.asked != 4 || s.values[keyPrefix+"started"] == "" {
		t.Errorf("asked %d times (%v): %q", s.asked, err, s.values)
	}
}
