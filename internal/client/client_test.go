package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is the deadline of a request that is to be settled.
const patience = time.Minute

// server is a replica that a test has the say over.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

// serve starts a replica that answers the n-th request, counted from 0, as it is told.
func serve(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		n := len(s.requests)
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
		s.mu.Unlock()
		answer(n, w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// seen is how many requests have come.
func (s *server) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func applied(_ int, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("ETag", `"42-3f2a"`)
	w.Header().Set("Leasehold-Epoch", "7")
}

// says answers with a status and a problem document.
func says(status int, document string, header ...string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, document)
	}
}

func hangUp(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// firstThen answers the first request in one way, and all others in another one.
func firstThen(first, then func(int, http.ResponseWriter, *http.Request)) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			first(n, w, r)
			return
		}
		then(n, w, r)
	}
}

func newClient(t *testing.T, urls ...string) *Client {
	t.Helper()
	connections := NewHTTP(4)
	t.Cleanup(connections.CloseIdleConnections)
	return New(connections, urls...)
}

// put writes one value, starting with the first replica.
func put(t *testing.T, c *Client, limit time.Duration) (Applied, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return c.Put(ctx, Write{Key: "a/b", Value: []byte("one"), IdempotencyKey: "key-1"})
}

// deadURL is one where nobody listens.
func deadURL() string {
	down := httptest.NewServer(http.NotFoundHandler())
	defer down.Close()
	return down.URL
}

const (
	no      = `{"detail": "No.", "applied": "no"}`
	unknown = `{"detail": "Who knows.", "applied": "unknown"}`
)

func TestPutSaysWhatIsToBeWritten(t *testing.T) {
	t.Parallel()
	s := serve(t, applied)
	c := newClient(t, s.URL+"/")
	for _, w := range []Write{{IfRevision: "41-3f2a"}, {IfNew: true}} {
		w.Key, w.Value, w.IdempotencyKey = "a/b", []byte("one"), "key-1"
		if got, err := c.Put(t.Context(), w); err != nil || got != (Applied{"42-3f2a", 7}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for i, want := range []http.Header{{"If-Match": {`"41-3f2a"`}}, {"If-None-Match": {"*"}}} {
		r := s.requests[i]
		if r.Method != http.MethodPut || r.URL.Path != "/v1/kv/a/b" || s.bodies[i] != "one" || r.Header.Get("Idempotency-Key") != "key-1" {
			t.Errorf("%s %s %q %v", r.Method, r.URL, s.bodies[i], r.Header)
		}
		for _, name := range []string{"If-Match", "If-None-Match"} {
			if r.Header.Get(name) != want.Get(name) {
				t.Errorf("%s is %q, want %q", name, r.Header.Get(name), want.Get(name))
			}
		}
	}
}

func TestWriteGoesOnToTheNextReplicaUnderTheSameKey(t *testing.T) {
	t.Parallel()
	for name, hindrance := range map[string]func(int, http.ResponseWriter, *http.Request){
		"429":              says(http.StatusTooManyRequests, no),
		"502":              says(http.StatusBadGateway, ""),
		"503":              says(http.StatusServiceUnavailable, no, "Retry-After", "30"),
		"504":              says(http.StatusGatewayTimeout, unknown),
		"connection reset": hangUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := serve(t, hindrance), serve(t, applied)
			if got, err := put(t, newClient(t, first.URL, second.URL), patience); err != nil || got.Epoch != 7 {
				t.Errorf("%+v, %v", got, err)
			}
			if first.seen() != 1 || second.seen() != 1 {
				t.Fatalf("%d and %d requests, want one each", first.seen(), second.seen())
			}
			for _, s := range []*server{first, second} {
				if s.bodies[0] != "one" || s.requests[0].Header.Get("Idempotency-Key") != "key-1" {
					t.Errorf("%q under the key %q", s.bodies[0], s.requests[0].Header.Get("Idempotency-Key"))
				}
			}
		})
	}
}

func TestRetryAfterIsHeededWhereThereIsNoOtherReplica(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		s := serve(t, firstThen(says(status, no, "Retry-After", "1"), applied))
		began := time.Now()
		if _, err := put(t, newClient(t, s.URL), patience); err != nil || time.Since(began) < time.Second {
			t.Errorf("%d: after %s: %v", status, time.Since(began), err)
		}
	}
}

// An answer of "no" is about its own request: it settles nothing of an earlier one under the same key.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer func(int, http.ResponseWriter, *http.Request)
		want   error
		text   string
	}{
		{"refused", says(http.StatusBadRequest, no), ErrNotApplied, "400 No."},
		{"full", says(http.StatusInsufficientStorage, no), ErrNotApplied, "507 No."},
		{"broken", says(http.StatusInternalServerError, ""), ErrUnknown, "500"},
		{"condition", says(http.StatusPreconditionFailed, no), ErrCondition, "412 No."},
		{"no, until the deadline", says(http.StatusServiceUnavailable, no, "Retry-After", "30"), ErrNotApplied, "503 No."},
		{"a proxy that does not say", says(http.StatusServiceUnavailable, "upstream"), ErrUnknown, "503"},
		{"unknown", says(http.StatusGatewayTimeout, unknown), ErrUnknown, "504 Who knows."},
		{"unknown, then no", firstThen(says(http.StatusGatewayTimeout, unknown), says(http.StatusServiceUnavailable, no)), ErrUnknown, "504 Who knows.; then "},
		{"no answer, then no", firstThen(hangUp, says(http.StatusServiceUnavailable, no)), ErrUnknown, "503 No."},
		{"no answer, then refused", firstThen(hangUp, says(http.StatusInsufficientStorage, no)), ErrUnknown, "507 No."},
		{"unknown, then condition", firstThen(says(http.StatusGatewayTimeout, unknown), says(http.StatusPreconditionFailed, no)), ErrCondition, "412 No."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			_, err := put(t, newClient(t, s.URL), 2*time.Second)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v: …%s", err, test.want, test.text)
			}
		})
	}
}

func TestWriteThatWasNeverSentIsNotApplied(t *testing.T) {
	t.Parallel()
	_, err := put(t, newClient(t, deadURL()), time.Second)
	if !errors.Is(err, ErrNotApplied) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
}

func TestReplicaThatDoesNotAnswerIsPassedOver(t *testing.T) {
	t.Parallel()
	sick, well := serve(t, hangUp), serve(t, applied)
	c := newClient(t, sick.URL, well.URL)
	began := time.Now()
	for range 20 {
		if _, err := put(t, c, patience); err != nil {
			t.Fatal(err)
		}
	}
	if most := 1 + int(time.Since(began)/probeEvery); sick.seen() > most {
		t.Errorf("%d of 20 writes went to a replica that hangs up, want %d at most", sick.seen(), most)
	}
}

func TestTiredReplicaTakesOneRequestNowAndThenUntilItAnswers(t *testing.T) {
	t.Parallel()
	var r replica
	r.rest(time.Second)
	now := time.Now()
	later := now.Add(time.Second)
	if r.takes(now) || !r.takes(later) || r.takes(later) || !r.takes(later.Add(probeEvery)) {
		t.Error("it takes more or less than one request after each rest")
	}
	r.answers()
	for range 2 {
		if !r.takes(now) {
			t.Error("it has answered, and is passed over")
		}
	}
}

func TestReadAndDelete(t *testing.T) {
	t.Parallel()
	s := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/kv/none":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/v1/kv/bad":
			w.WriteHeader(http.StatusBadRequest)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("ETag", `"42-3f2a"`)
			_, _ = io.WriteString(w, r.URL.RawQuery)
		}
	})
	c := newClient(t, deadURL(), s.URL)
	for linearizable, query := range map[bool]string{true: "consistency=linearizable", false: ""} {
		if v, err := c.Get(t.Context(), Read{Key: "a", Linearizable: linearizable}); err != nil || string(v.Value) != query || v.Revision != "42-3f2a" {
			t.Errorf("%q, %+v, %v", v.Value, v, err)
		}
	}
	for key, want := range map[string]error{"none": ErrNotFound, "bad": ErrNotRead} {
		if _, err := c.Get(t.Context(), Read{Key: key}); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", key, err, want)
		}
	}
	if err := c.Delete(t.Context(), "a", 0); err != nil {
		t.Error(err)
	}
	if err := c.Delete(t.Context(), "bad", 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v", err)
	}
}

// One request more by net/http's own doing would make what the second answer says useless.
func TestBrokenConnectionIsNoSecondRequestByNetHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, firstThen(applied, hangUp))
	c := newClient(t, s.URL)
	request := request{http.MethodPut, "/v1/kv/a", map[string]string{"Idempotency-Key": "key-2"}, []byte("two")}
	for _, wantErr := range []bool{false, true} { // the second one goes by a connection that has been used
		if _, sent, err := c.attempt(t.Context(), s.URL, request); !sent || (err != nil) != wantErr {
			t.Errorf("sent %t, error %v", sent, err)
		}
	}
	if s.seen() != 2 {
		t.Errorf("%d requests, want 2", s.seen())
	}
}

func TestReasonsAreFewAndSaidOnce(t *testing.T) {
	t.Parallel()
	var tr trial
	for _, reason := range slices.Repeat([]string{"a", "b", "c", "d", "e", "f"}, 2) {
		tr.because(reason)
	}
	if got := tr.failed(ErrUnknown).Error(); got != "outcome unknown: a; then b; then c; then d; then e" {
		t.Error(got)
	}
}
