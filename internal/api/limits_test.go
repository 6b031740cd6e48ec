package api

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/leasehold/leasehold/internal/store"
)

var probes = []string{"/livez", "/metrics"}

// refuses expects that r takes no request for now, but answers probes.
func (r *replica) refuses(why, applied string, refused answer) {
	r.t.Helper()
	p := refused.is(http.StatusServiceUnavailable).has("Retry-After", "1").says(why).problem()
	if p.Applied != applied {
		r.t.Errorf("applied is %q, want %q", p.Applied, applied)
	}
	for _, probe := range probes {
		r.get(probe).is(http.StatusOK)
	}
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), limited(Limits{InFlight: 2, Watches: 5, HeldWrites: 5, HeldBytes: 100, Connections: 100}))
	held := []*call{r.start(http.MethodPut, "/v1/kv/a", "x"), r.start(http.MethodPut, "/v1/kv/b", "x")}
	r.holds(2)
	r.refuses("requests under way", "", r.get("/v1/kv/a"))
	r.refuses("requests under way", appliedNo, r.put("/v1/kv/c", "x"))
	r.watch("")
	for _, w := range held {
		w.hangUp()
	}
	r.holds(0)
	eventually(t, func() error {
		if n := len(r.inUse); n != 0 {
			return fmt.Errorf("%d requests are under way", n)
		}
		return nil
	})
	r.get("/v1/kv/a").is(http.StatusNotFound)
}

func TestHeldWritesAreBoundedInNumber(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), limited(Limits{InFlight: 9, HeldWrites: 2, HeldBytes: 100, Connections: 100}))
	first := r.start(http.MethodPut, "/v1/kv/a", "x")
	r.start(http.MethodDelete, "/v1/kv/b", "")
	r.holds(2)
	r.refuses("waiting writes", appliedNo, r.put("/v1/kv/c", "x"))
	r.get("/v1/kv/a").is(http.StatusNotFound)
	first.hangUp()
	r.holds(1)
	r.start(http.MethodPut, "/v1/kv/c", "x")
	r.holds(2)
}

func TestHeldWritesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), limited(Limits{InFlight: 9, HeldWrites: 9, HeldBytes: 100, Connections: 100}))
	first := r.start(http.MethodPut, "/v1/kv/a", strings.Repeat("x", 60))
	r.holds(1)
	r.refuses("waiting writes", appliedNo, r.put("/v1/kv/b", strings.Repeat("x", 41)))
	r.start(http.MethodPut, "/v1/kv/b", strings.Repeat("x", 40))
	r.holds(2)
	r.refuses("waiting writes", appliedNo, r.put("/v1/kv/c", "x"))
	first.hangUp()
	r.holds(1)
	r.start(http.MethodPut, "/v1/kv/c", strings.Repeat("x", 60))
	r.holds(2)
}

// A body counts from the moment at which it begins to come: many slow ones fill the memory as well.
func TestABodyCountsWhileItComes(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", leadingAs("leasehold-0", 1),
		limited(Limits{InFlight: 9, HeldWrites: 9, HeldBytes: store.MaxValueBytes + 10, Connections: 100}))
	for head, room := range map[string]int{
		"Content-Length: 1048000":    576 + 10,
		"Transfer-Encoding: chunked": 10,
	} {
		conn := r.dial()
		fmt.Fprintf(conn, "PUT /v1/kv/slow HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", head)
		r.holds(1)
		r.put("/v1/kv/a", strings.Repeat("x", room)).is(http.StatusOK)
		r.refuses("waiting writes", appliedNo, r.put("/v1/kv/a", strings.Repeat("x", room+1)))
		_ = conn.Close()
		r.holds(0)
	}
	if r.held.bytes != 0 {
		t.Errorf("%d bytes are never given back", r.held.bytes)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), limited(Limits{InFlight: 9, Connections: 1}))
	r.public.Config.SetKeepAlivesEnabled(false)
	r.has(0)
	r.get("/v1/kv/a").is(http.StatusNotFound)
	r.has(0)
	conn := r.dial()
	r.has(1)
	r.refuses("connections", "", r.get("/v1/kv/a"))
	_ = conn.Close()
	r.has(0)
	r.get("/v1/kv/a").is(http.StatusNotFound)
}

// dial opens a connection and says nothing on it.
func (r *replica) dial() net.Conn {
	r.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(testContext(r.t), "tcp", strings.TrimPrefix(r.public.URL, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// has waits until n connections are open.
func (r *replica) has(n int64) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got := r.conns.Load(); got != n {
			return fmt.Errorf("%d connections are open, not %d", got, n)
		}
		return nil
	})
}
