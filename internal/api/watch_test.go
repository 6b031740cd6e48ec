package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// events is a stream as a client reads it.
type events struct {
	t      *testing.T
	header http.Header
	blocks chan string // closed at the end of the stream
	hangUp context.CancelFunc
}

// watch opens a stream and reads its first block, which tells after which revision it begins.
func (r *replica) watch(query string, headers ...string) (*events, string) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(testContext(r.t))
	r.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.public.URL+"/v1/watch"+query, http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("the watch is answered %s", resp.Status)
	}
	e := &events{t: r.t, header: resp.Header, blocks: make(chan string, 100), hangUp: cancel}
	go func() {
		defer resp.Body.Close()
		defer close(e.blocks)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 4<<20)
		block := ""
		for lines.Scan() {
			if lines.Text() != "" {
				block += lines.Text() + "\n"
				continue
			}
			e.blocks <- block
			block = ""
		}
	}()
	id, ok := strings.CutPrefix(e.next(), "retry: 1000\nid: ")
	if !ok {
		r.t.Fatal("the stream does not begin with where it begins")
	}
	return e, strings.TrimSpace(id)
}

// next returns the next block of the stream; "" if it has ended.
func (e *events) next() string {
	e.t.Helper()
	select {
	case b := <-e.blocks:
		return b
	case <-time.After(20 * time.Second):
		e.t.Fatal("nothing comes")
		return ""
	}
}

// bring expects the next blocks.
func (e *events) bring(blocks ...string) {
	e.t.Helper()
	for _, want := range blocks {
		if got := e.next(); got != want {
			e.t.Fatalf("the stream has\n%s; want\n%s", got, want)
		}
	}
}

func (e *events) end() {
	e.t.Helper()
	if got := e.next(); got != "" {
		e.t.Fatalf("the stream has\n%s; want its end", got)
	}
}

func putEvent(id bool, revision, key, value string) string {
	body, _ := json.Marshal(entryBody{Key: key, Value: value, Encoding: encodingUTF8, Revision: revision})
	return idLine(id, revision) + "event: put\ndata: " + string(body) + "\n"
}

func deleteEvent(id bool, revision, key string) string {
	return idLine(id, revision) + fmt.Sprintf("event: delete\ndata: {\"key\":%q,\"revision\":%q}\n", key, revision)
}

func idLine(id bool, revision string) string {
	if !id {
		return ""
	}
	return "id: " + revision + "\n"
}

func TestAWatchShowsEveryChange(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	before := a.put("/v1/kv/a", "before").revision()
	b.get("/v1/kv/a", "Leasehold-Min-Revision: "+before).is(http.StatusOK)
	w, from := b.watch("?prefix=a")
	for name, value := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", headerServedBy: b.pod} {
		if got := w.header.Get(name); got != value {
			t.Errorf("the header %s is %q", name, got)
		}
	}
	if w.header.Get(headerRevision) != from {
		t.Errorf("the stream begins after %s; the header says %s", from, w.header.Get(headerRevision))
	}
	one := a.put("/v1/kv/a", "one\ntwo").revision()
	a.put("/v1/kv/b", "not of the prefix").is(http.StatusOK)
	gone := a.delete("/v1/kv/a").revision()
	w.bring(putEvent(true, one, "a", "one\ntwo"), deleteEvent(true, gone, "a"))
}

func TestAnIDComesWithTheLastEventOfARevision(t *testing.T) {
	t.Parallel()
	a := leader(t)
	start := a.put("/v1/kv/c", "old").revision()
	txn := a.post("/v1/kv", `{"then": [
		{"put": {"key": "a", "value": "1"}}, {"put": {"key": "b", "value": "2"}}, {"delete": {"key": "c"}}]}`).is(http.StatusOK).revision()
	after := a.put("/v1/kv/d", "3").revision()
	all := []string{
		putEvent(false, txn, "a", "1"), putEvent(false, txn, "b", "2"), deleteEvent(true, txn, "c"), putEvent(true, after, "d", "3"),
	}
	resumed, from := a.watch("", "Last-Event-ID: "+start)
	if from != start {
		t.Errorf("the stream begins after %s, not %s", from, start)
	}
	resumed.bring(all...)
	byQuery, _ := a.watch("?revision=" + start)
	byQuery.bring(all...)
	later, _ := a.watch("?revision="+start, "Last-Event-ID: "+txn)
	later.bring(all[3])
}

func TestResumingWhereHistoryIsGone(t *testing.T) {
	t.Parallel()
	a := leader(t)
	old := a.put("/v1/kv/a", "one").revision()
	a.put("/v1/kv/a", "two").is(http.StatusOK)
	now := a.put("/v1/kv/a", "three")
	a.compact(now)
	for _, id := range []string{old, "5-zzzz"} {
		p := a.get("/v1/watch", "Last-Event-ID: "+id).is(http.StatusGone).problem()
		w, from := a.watch("?revision=" + p.Revision)
		if from != p.Revision {
			t.Errorf("the revision to go on from is %q", p.Revision)
		}
		w.hangUp()
	}
	a.get("/v1/watch", "Last-Event-ID: nonsense").is(http.StatusBadRequest)
	a.get("/v1/watch?revision=5").is(http.StatusBadRequest)
}

func TestAQuietStreamKeepsAliveAndMovesOn(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	r := newSet(t).on("leasehold-0", f)
	r.keepAlive = 5 * time.Millisecond
	w, _ := r.watch("")
	w.bring(": still here\n", ": still here\n")
	f.changes <- store.Changes{Revision: 9}
	for {
		if block := w.next(); block == "id: 9-fake\n" {
			return
		} else if block != ": still here\n" {
			t.Fatalf("the stream has %q", block)
		}
	}
}

// The server allows a request a time to arrive, here half a second. A stream goes on for longer.
func TestAStreamOutlivesTheTimeToReadARequest(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore())
	r.keepAlive = r.public.Config.ReadTimeout / 2
	w, _ := r.watch("")
	w.bring(": still here\n", ": still here\n", ": still here\n", ": still here\n")
}

func TestAStreamThatBreaksSaysWhy(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	r := newSet(t).on("leasehold-0", f)
	w, _ := r.watch("")
	f.changes <- store.Changes{Err: store.ErrCompacted}
	data, ok := strings.CutPrefix(w.next(), "event: error\ndata: ")
	var p problem
	strictly(t, data, &p)
	if !ok || p.Status != http.StatusGone || p.Title != "Gone" || p.Revision != "7-fake" || !isSentence(p.Detail) {
		t.Errorf("the stream ends with %q", data)
	}
	w.end()
}

func TestDrainEndsTheWatches(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore())
	w, _ := r.watch("")
	r.Drain()
	w.end()
}

func TestAClientThatHangsUpFreesItsPlace(t *testing.T) {
	t.Parallel()
	r := newSet(t).on("leasehold-0", newFakeStore(), limited(Limits{InFlight: 1, Watches: 1, Connections: 100}))
	w, _ := r.watch("")
	r.get("/v1/watch").is(http.StatusServiceUnavailable).has("Retry-After", "1")
	w.hangUp()
	r.isWatched(0)
	r.watch("")
}

func TestASlowReaderIsCut(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	r := newSet(t).on("leasehold-0", f)
	r.watchWriteLimit = 50 * time.Millisecond
	conn, err := (&net.Dialer{}).DialContext(testContext(t), "tcp", strings.TrimPrefix(r.public.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n") // and never reads
	r.isWatched(1)
	large := store.Changes{Events: []store.Event{{Last: true, Entry: store.Entry{Key: "a", Value: make([]byte, 1<<20), Revision: 8}}}}
	go func() {
		for ctx := t.Context(); ; {
			select {
			case f.changes <- large:
			case <-ctx.Done():
				return
			}
		}
	}()
	r.isWatched(0)
}

// isWatched waits until n watches are open.
func (r *replica) isWatched(n int) {
	r.t.Helper()
	eventually(r.t, func() error {
		if got := len(r.watches); got != n {
			return fmt.Errorf("%d watches are open, not %d", got, n)
		}
		return nil
	})
}
