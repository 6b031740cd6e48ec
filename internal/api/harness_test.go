package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/store"
)

// The tests run replicas of the API in one process, each with a public and an internal server. Where it
// matters what is stored they stand on the real store, over one etcd member; where a case is HTTP or routing
// alone they stand on a fake of it.

// set is replicas that know each other's internal address.
type set struct {
	t    *testing.T
	etcd *embed.Etcd // nil while all replicas stand on fakes

	mu       sync.Mutex
	internal map[string]string
	replicas []*replica
}

// newSet makes a set without replicas.
func newSet(t *testing.T) *set {
	t.Helper()
	return &set{t: t, internal: map[string]string{}}
}

// internalURL knows the pods of the set alone, as the real one does.
func (s *set) internalURL(pod string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	address, ok := s.internal[pod]
	if !ok {
		return "", fmt.Errorf("%q is not a pod of this set", pod)
	}
	return address, nil
}

// reroute has forwards to pod go to address.
func (s *set) reroute(pod, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.internal[pod] = address
}

func (s *set) members(context.Context) ([]Member, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var members []Member
	for pod := range s.internal {
		members = append(members, Member{Pod: pod, Voter: true})
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Pod, b.Pod) })
	return members, nil
}

// replica is a Server with its two listeners.
type replica struct {
	conns atomic.Int64 // connections to the public server
	*Server
	t        *testing.T
	set      *set
	pod      string
	store    *store.Store // nil on a fake
	public   *httptest.Server
	internal *httptest.Server
	between  atomic.Pointer[interception]
	arrived  atomic.Int64 // requests from other replicas
	links    atomic.Bool  // takes links; without, every write that is forwarded is a request to be intercepted
	leading  atomic.Bool
	claims   atomic.Int64
}

// interception happens to what other replicas send, before it reaches the replica that is next.
type interception func(w http.ResponseWriter, r *http.Request, next http.Handler)

// leadable is a store and its leader record.
type leadable interface {
	Store
	Leader() (store.Leader, <-chan struct{})
}

// on adds a replica that stands on st.
func (s *set) on(pod string, st leadable, options ...func(*Config)) *replica {
	s.t.Helper()
	r := &replica{t: s.t, set: s, pod: pod}
	registry := prometheus.NewRegistry()
	cfg := Config{
		Pod: pod, BootID: "boot-of-" + pod, Store: st, Jobs: &fakeJobs{pod: pod, leading: r.leading.Load},
		Elections: []Election{{
			Name: store.Writes, Leader: st.Leader, Leading: r.leading.Load, Vitals: func() Vitals { return Vitals{Claiming: r.leading.Load()} },
		}},
		InternalURL: s.internalURL, Members: s.members, WriteWait: 20 * time.Second,
		Limits: DefaultLimits, Connections: r.conns.Load, Log: zap.NewNop(), Registry: registry, Gatherer: registry,
	}
	for _, o := range options {
		o(&cfg)
	}
	r.Server = New(cfg)
	r.public = httptest.NewUnstartedServer(r.Handler())
	r.public.Config.ConnState = r.countConnections
	r.public.Config.ReadTimeout = 500 * time.Millisecond // for a request to arrive; watches and held writes last longer
	r.public.Start()
	r.internal = httptest.NewServer(r.intercepted(r.Internal()))
	s.reroute(pod, r.internal.URL)
	s.mu.Lock()
	s.replicas = append(s.replicas, r)
	s.mu.Unlock()
	s.t.Cleanup(r.close)
	return r
}

func (r *replica) countConnections(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		r.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		r.conns.Add(-1)
	}
}

// replica adds a replica that stands on the real store.
func (s *set) replica(pod string, options ...func(*Config)) *replica {
	s.t.Helper()
	if s.etcd == nil {
		s.etcd = etcdtest.Start(s.t)
	}
	client := v3client.New(s.etcd.Server)
	s.t.Cleanup(func() { _ = client.Close() })
	st, err := store.Open(testContext(s.t), store.Config{
		KV: client, Watcher: client, ClusterID: uint64(s.etcd.Server.Cluster().ID()), Log: zap.NewNop(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(st.Close)
	r := s.on(pod, st, options...)
	r.store = st
	return r
}

// trio makes a set of three replicas, none of which leads.
func trio(t *testing.T, options ...func(*Config)) (a, b, c *replica) {
	t.Helper()
	s := newSet(t)
	return s.replica("leasehold-0", options...), s.replica("leasehold-1", options...), s.replica("leasehold-2", options...)
}

func waiting(d time.Duration) func(*Config) { return func(c *Config) { c.WriteWait = d } }

func limited(l Limits) func(*Config) { return func(c *Config) { c.Limits = l } }

func (r *replica) close() {
	r.Drain()
	r.EndLinks()
	for _, s := range []*httptest.Server{r.public, r.internal} {
		s.CloseClientConnections()
		s.Close()
	}
}

// crash closes the internal listener: other replicas are refused from now on.
func (r *replica) crash() {
	_ = r.internal.Listener.Close()
	r.internal.CloseClientConnections()
	r.EndLinks()
}

func (r *replica) intercepted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == linkPath {
			if r.links.Load() {
				next.ServeHTTP(w, req)
				return
			}
			http.NotFound(w, req) // as one of an older version
			return
		}
		r.arrived.Add(1)
		if f := r.between.Load(); f != nil {
			(*f)(w, req, next)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// intercept has f happen to what other replicas send from now on; nil for nothing.
func (r *replica) intercept(f interception) {
	if f == nil {
		r.between.Store(nil)
		return
	}
	r.between.Store(&f)
}

// lead claims leadership on what the leader record says now.
func (r *replica) lead() *store.Term {
	r.t.Helper()
	ctx := testContext(r.t)
	seen, err := r.store.ReadLeader(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	id := fmt.Sprintf("%s/%d", r.pod, r.claims.Add(1))
	term, err := r.store.Claim(ctx, seen, store.Claimant{Pod: r.pod, BootID: "boot-of-" + r.pod, ID: id})
	if err != nil {
		r.t.Fatalf("%s claims: %v", r.pod, err)
	}
	r.leading.Store(true)
	return term
}

// knows waits until the replica has learned that pod leads.
func (r *replica) knows(pod string) {
	r.t.Helper()
	eventually(r.t, func() error {
		if l, _ := r.writes().Leader(); l.Current() != pod {
			return fmt.Errorf("%s takes %q for the leader", r.pod, l.Current())
		}
		return nil
	})
}

// holds waits until the replica holds n writes.
func (r *replica) holds(n int) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got := r.heldWrites(); got != n {
			return fmt.Errorf("%s holds %d writes, not %d", r.pod, got, n)
		}
		return nil
	})
}

func (r *replica) heldWrites() int {
	r.held.mu.Lock()
	defer r.held.mu.Unlock()
	return r.held.writes
}

// answer is what a client got.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do makes a request to the public API. The path is as it goes over the wire; a header is "Name: value".
func (r *replica) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	a, err := send(testContext(r.t), r.public.URL, method, path, strings.NewReader(body), headers)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r.checked(a)
}

func (r *replica) get(path string, headers ...string) answer {
	r.t.Helper()
	return r.do(http.MethodGet, path, "", headers...)
}

func (r *replica) put(path, body string, headers ...string) answer {
	r.t.Helper()
	return r.do(http.MethodPut, path, body, headers...)
}

func (r *replica) post(path, body string, headers ...string) answer {
	r.t.Helper()
	return r.do(http.MethodPost, path, body, headers...)
}

func (r *replica) delete(path string, headers ...string) answer {
	r.t.Helper()
	return r.do(http.MethodDelete, path, "", headers...)
}

// forwarded makes a request to the internal listener, as another replica would.
func (r *replica) forwarded(method, path, body string, headers ...string) answer {
	r.t.Helper()
	a, err := send(testContext(r.t), r.internal.URL, method, path, strings.NewReader(body), headers)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r.checked(a)
}

// call is a request under way.
type call struct {
	t      *testing.T
	done   chan answer
	hangUp context.CancelFunc
}

// start makes a request and does not wait for its answer.
func (r *replica) start(method, path, body string, headers ...string) *call {
	r.t.Helper()
	ctx, cancel := context.WithCancel(testContext(r.t))
	c := &call{t: r.t, done: make(chan answer, 1), hangUp: cancel}
	go func() {
		a, err := send(ctx, r.public.URL, method, path, strings.NewReader(body), headers)
		if err != nil {
			a.body = err.Error()
		}
		a.t = r.t
		c.done <- a
	}()
	return c
}

// wait returns the answer; one of status 0 if there was none.
func (c *call) wait() answer {
	c.t.Helper()
	select {
	case a := <-c.done:
		return a
	case <-time.After(25 * time.Second):
		c.t.Fatal("no answer")
		return answer{}
	}
}

// waits expects that there is no answer yet.
func (c *call) waits() {
	c.t.Helper()
	select {
	case a := <-c.done:
		c.t.Fatalf("answered already: %d %s", a.status, a.body)
	default:
	}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}}

func send(ctx context.Context, base, method, path string, body io.Reader, headers []string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text)}, err
}

// checked expects what is true of every answer: it says who serves it and where in the history that stands,
// and if something is wrong it explains that.
func (r *replica) checked(a answer) answer {
	r.t.Helper()
	a.t = r.t
	for _, name := range []string{headerRevision, headerEpoch, headerServedBy, headerLeader} {
		if _, ok := a.header[http.CanonicalHeaderKey(name)]; !ok {
			r.t.Errorf("an answer (%d %s) without the header %s", a.status, a.body, name)
		}
	}
	if a.status >= http.StatusBadRequest && a.body != "" {
		_ = a.problem()
	}
	return a
}

// is expects a status.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("answered %d %s; want %d", a.status, a.body, status)
	}
	return a
}

// has expects a header to have a value; "" means that it is not there.
func (a answer) has(name, value string) answer {
	a.t.Helper()
	if got := a.header.Get(name); got != value {
		a.t.Errorf("the header %s is %q; want %q", name, got, value)
	}
	return a
}

// holds expects the body.
func (a answer) holds(body string) answer {
	a.t.Helper()
	if a.body != body {
		a.t.Errorf("the body is %.200q; want %.200q", a.body, body)
	}
	return a
}

// says expects the detail of a problem to contain text.
func (a answer) says(text string) answer {
	a.t.Helper()
	if p := a.problem(); !strings.Contains(p.Detail, text) {
		a.t.Errorf("the detail is %q; want %q in it", p.Detail, text)
	}
	return a
}

func (a answer) etag() string { return a.header.Get("ETag") }

func (a answer) revision() string { return a.header.Get(headerRevision) }

// problem expects a problem document as RFC 9457 has it, and returns it.
func (a answer) problem() problem {
	a.t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("a problem (%d %s) has the content type %q", a.status, a.body, got)
	}
	var p problem
	strictly(a.t, a.body, &p)
	if p.Status != a.status || p.Title != http.StatusText(a.status) || p.Title == "" {
		a.t.Errorf("the problem has status %d and title %q; the answer is %d", p.Status, p.Title, a.status)
	}
	if !isSentence(p.Detail) {
		a.t.Errorf("the detail is not a sentence: %q", p.Detail)
	}
	return p
}

func isSentence(text string) bool {
	return len(text) > 10 && text[0] >= 'A' && text[0] <= 'Z' && strings.HasSuffix(text, ".") && strings.Contains(text, " ")
}

// strictly decodes JSON that has no other fields than v.
func strictly(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// eventually polls until f returns nil, and prints why not yet when time is up.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	err := f()
	for deadline := time.Now().Add(20 * time.Second); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// arrives waits until as many requests of other replicas have reached r.
func (r *replica) arrives(n int64) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got := r.arrived.Load(); got < n {
			return fmt.Errorf("%d requests have reached %s", got, r.pod)
		}
		return nil
	})
}

// testContext ends with the test, or after 30 s.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// closedAddress is the URL of a port on which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// versions tells how often an entry has been written since it was absent, by a look behind the store's back.
func (r *replica) versions(key string) int64 {
	r.t.Helper()
	resp, err := v3client.New(r.set.etcd.Server).Get(testContext(r.t), "leasehold/kv/"+key)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return 0
	}
	return resp.Kvs[0].Version
}

var errTest = errors.New("something broke")
