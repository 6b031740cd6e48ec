package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// far is the other side: a server that opens bundles, and counts them.
type far struct {
	t       *testing.T
	server  *httptest.Server
	bundles atomic.Int64
	gate    atomic.Pointer[chan struct{}] // what is served waits for it
	serve   http.HandlerFunc              // serves each request
	between func(w http.ResponseWriter, r *http.Request, next http.Handler)
	dialed  atomic.Int64
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{t: t, serve: echo}
	opener := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate := f.gate.Load(); gate != nil {
			select {
			case <-*gate:
			case <-r.Context().Done():
			}
		}
		f.serve(w, r)
	}))
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == Path {
			f.bundles.Add(1)
		}
		if f.between != nil {
			f.between(w, r, opener)
			return
		}
		opener.ServeHTTP(w, r)
	}))
	t.Cleanup(f.server.Close)
	return f
}

// echo answers with what has come.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // it is in memory
	w.Header().Set("Asked", r.Method+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery)
	w.Header().Set("Mine", r.Header.Get("Mine"))
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(body)
}

// shut has everything wait that is served from now on, until what it returns is called.
func (f *far) shut() (open func()) {
	gate := make(chan struct{})
	f.gate.Store(&gate)
	open = sync.OnceFunc(func() { f.gate.Store(nil); close(gate) })
	f.t.Cleanup(open)
	return open
}

// near makes a Transport to f.
func (f *far) near() *Transport {
	base := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		f.dialed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	f.t.Cleanup(base.CloseIdleConnections)
	return &Transport{Base: base, MaxAnswerBytes: 1 << 20}
}

func (f *far) request(ctx context.Context, method, path, body string) *http.Request {
	f.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	return req
}

// pendingCall is a request under way in the background.
type pendingCall struct {
	err    error
	status int
	header http.Header
	body   string
	done   chan struct{}
	cancel context.CancelFunc
}

func (f *far) start(tr *Transport, method, path, body string) *pendingCall {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	p := &pendingCall{done: make(chan struct{}), cancel: cancel}
	req := f.request(ctx, method, path, body)
	req.Header.Set("Mine", path)
	go func() {
		defer close(p.done)
		resp, err := tr.RoundTrip(req)
		if p.err = err; err != nil {
			return
		}
		content, err := io.ReadAll(resp.Body)
		p.status, p.header, p.body, p.err = resp.StatusCode, resp.Header, string(content), err
	}()
	return p
}

func (p *pendingCall) wait() *pendingCall {
	<-p.done
	return p
}

// comes blocks until n bundles have come.
func (f *far) comes(n int64) {
	f.t.Helper()
	eventually(f.t, func() error {
		if got := f.bundles.Load(); got != n {
			return fmt.Errorf("%d bundles have come; want %d", got, n)
		}
		return nil
	})
}

// waits blocks until n calls wait for their bundle.
func (f *far) waits(tr *Transport, n int) {
	f.t.Helper()
	f.laneIs(tr, underWay, n)
}

// laneIs blocks until that many bundles are under way, and that many calls wait.
func (f *far) laneIs(tr *Transport, bundles, waiting int) {
	f.t.Helper()
	eventually(f.t, func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		var is lane
		if l := tr.lanes[f.server.URL]; l != nil {
			is = *l
		}
		if is.underWay != bundles || len(is.waiting) != waiting {
			return fmt.Errorf("%d bundles are under way and %d calls wait; want %d and %d", is.underWay, len(is.waiting), bundles, waiting)
		}
		return nil
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// occupy has as many bundles be under way as may be. What comes after gathers.
func (f *far) occupy(tr *Transport) (open func(), first []*pendingCall) {
	f.t.Helper()
	open = f.shut()
	for i := range underWay {
		first = append(first, f.start(tr, http.MethodPut, fmt.Sprintf("/first/%d", i), "x"))
		f.comes(int64(i + 1))
	}
	return open, first
}

func TestWhatGathersGoesTogether(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	tr := f.near()
	open, calls := f.occupy(tr)
	for i := range 50 {
		calls = append(calls, f.start(tr, http.MethodPut, fmt.Sprintf("/more/%d%%2Fx?a=b", i), strings.Repeat("y", i)))
	}
	f.waits(tr, 50)
	open()
	for i, c := range calls {
		if c.wait(); c.err != nil {
			t.Fatal(c.err)
		}
		path, body := fmt.Sprintf("/first/%d", i), "x"
		if i >= underWay {
			path, body = fmt.Sprintf("/more/%d%%2Fx?a=b", i-underWay), strings.Repeat("y", i-underWay)
		}
		asked := "PUT " + path
		if i < underWay {
			asked += "?"
		}
		if c.status != http.StatusAccepted || c.body != body || c.header.Get("Asked") != asked || c.header.Get("Mine") != path {
			t.Errorf("call %d was answered %d %q %v", i, c.status, c.body, c.header)
		}
	}
	if n := f.bundles.Load(); n != underWay+1 {
		t.Errorf("%d bundles were sent", n)
	}
	if n := f.dialed.Load(); n > underWay {
		t.Errorf("%d connections were made for %d bundles at a time", n, underWay)
	}
	f.laneIs(tr, 0, 0)
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	tr := f.near()
	for range 20 {
		if c := f.start(tr, http.MethodPut, "/a", "x").wait(); c.err != nil {
			t.Fatal(c.err)
		}
	}
	if n := f.dialed.Load(); n > underWay {
		t.Errorf("%d connections for 20 requests, one after the other", n)
	}
}

func TestAnAnswerWithoutABody(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.serve = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	tr := f.near()
	open, calls := f.occupy(tr)
	for range 3 {
		calls = append(calls, f.start(tr, http.MethodDelete, "/a", ""))
	}
	f.waits(tr, 3)
	open()
	for _, c := range calls {
		if c.wait(); c.err != nil || c.status != http.StatusNoContent || c.body != "" {
			t.Errorf("answered %d %q, %v", c.status, c.body, c.err)
		}
	}
}

// A bundle is bounded, and what does not fit into it goes in the next.
func TestABundleIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ calls, size, bundles int }{
		"in number":        {maxRequests + 1, 1, 2},
		"in bytes":         {4, 400 << 10, 2},
		"but for a single": {2, maxBytes + 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFar(t)
			tr := f.near()
			open, calls := f.occupy(tr)
			for range c.calls {
				calls = append(calls, f.start(tr, http.MethodPut, "/a", strings.Repeat("x", c.size)))
			}
			f.waits(tr, c.calls)
			open()
			for _, c := range calls {
				if c.wait(); c.err != nil {
					t.Fatal(c.err)
				}
			}
			if n := f.bundles.Load() - underWay; n != int64(c.bundles) {
				t.Errorf("%d bundles were sent; want %d", n, c.bundles)
			}
		})
	}
}

func TestALongAnswerIsCutOffAndTheNextIsRead(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	tr := f.near()
	tr.MaxAnswerBytes = 3
	open, calls := f.occupy(tr)
	for range 3 {
		calls = append(calls, f.start(tr, http.MethodPut, "/a", "abcdefgh"))
	}
	f.waits(tr, 3)
	open()
	for _, c := range calls[underWay:] {
		if c.wait(); c.err != nil || c.body != "abc" {
			t.Errorf("the answer is %q, %v", c.body, c.err)
		}
	}
}

func TestWhoLeavesIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	tr := f.near()
	open, first := f.occupy(tr)
	gathering := f.start(tr, http.MethodPut, "/a", "x")
	stays := f.start(tr, http.MethodPut, "/b", "x")
	f.waits(tr, 2)
	gathering.cancel()
	if err := gathering.wait().err; !errors.Is(err, ErrNotServed) || !errors.Is(err, context.Canceled) {
		t.Errorf("one that has not gone yet: %v", err)
	}
	first[0].cancel()
	if err := first[0].wait().err; errors.Is(err, ErrNotServed) || !errors.Is(err, context.Canceled) {
		t.Errorf("one that has gone: %v", err)
	}
	open()
	if c := stays.wait(); c.err != nil || c.body != "x" || c.header.Get("Mine") != "/b" {
		t.Errorf("the one that stays: %q %v", c.body, c.err)
	}
}

func TestABundleThatNobodyWaitsForIsCanceled(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	gone := make(chan struct{})
	f.serve = func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	}
	c := f.start(f.near(), http.MethodPut, "/a", "x")
	f.comes(1)
	c.cancel()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("the other side still works on it")
	}
}

// lateDial is a Base that has a connection only when it is told so.
type lateDial struct {
	http.RoundTripper
	connected chan struct{}
}

func (d lateDial) RoundTrip(req *http.Request) (*http.Response, error) {
	<-d.connected
	return d.RoundTripper.RoundTrip(req)
}

// While there is no connection, whoever leaves is told that nothing was sent; and nothing is, though the others' bundle goes.
func TestWhatWasToldNotToBeSentIsNotSent(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	var served sync.Map
	f.serve = func(w http.ResponseWriter, r *http.Request) {
		served.Store(r.URL.Path, true)
		echo(w, r)
	}
	tr := f.near()
	connected := make(chan struct{})
	tr.Base = lateDial{tr.Base, connected}
	var alone []*pendingCall
	for i := range underWay {
		alone = append(alone, f.start(tr, http.MethodPut, "/alone", "x"))
		f.laneIs(tr, i+1, 0)
	}
	leaves, stays := f.start(tr, http.MethodPut, "/leaves", "x"), f.start(tr, http.MethodPut, "/stays", "x")
	f.waits(tr, 2)
	together := tr.gather(f.server.URL, tr.lanes[f.server.URL]) // taken, but not sent
	leaves.cancel()
	if err := leaves.wait().err; !errors.Is(err, ErrNotServed) {
		t.Errorf("left while there was no connection: %v", err)
	}
	alone[0].cancel()
	if err := alone[0].wait().err; !errors.Is(err, ErrNotServed) {
		t.Errorf("left alone while there was no connection: %v", err)
	}
	close(connected)
	together.exchange(f.server.URL)
	if c := stays.wait(); c.err != nil || c.header.Get("Mine") != "/stays" {
		t.Errorf("the one that stayed: %v %v", c.header, c.err)
	}
	if _, ok := served.Load("/leaves"); ok {
		t.Error("a request was served that was said not to be sent")
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.server.Close()
	if err := f.start(f.near(), http.MethodPut, "/a", "x").wait().err; !errors.Is(err, ErrNotServed) {
		t.Errorf("the error is %v", err)
	}
}

func TestARefusalOfTheWholeServesNothing(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.between = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := f.start(f.near(), http.MethodPut, "/a", "x").wait().err; !errors.Is(err, ErrNotServed) {
		t.Errorf("the error is %v", err)
	}
}

// What was answered before the connection broke is answered; of the rest nothing is known.
func TestAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.between = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		answers := httptest.NewRecorder()
		next.ServeHTTP(answers, r)
		whole := answers.Body.String()
		_, _ = io.WriteString(w, strings.TrimSuffix(whole, "the end"))
		_ = http.NewResponseController(w).Flush()
		if strings.HasSuffix(whole, "the end") {
			panic(http.ErrAbortHandler)
		}
	}
	tr := f.near()
	open, _ := f.occupy(tr)
	answered := f.start(tr, http.MethodPut, "/a", "x")
	f.waits(tr, 1)
	broken := f.start(tr, http.MethodPut, "/b", "to the end")
	f.waits(tr, 2)
	open()
	if answered.wait(); answered.err != nil || answered.header.Get("Mine") != "/a" {
		t.Errorf("the first: %v %v", answered.header, answered.err)
	}
	if broken.wait(); broken.err == nil || errors.Is(broken.err, ErrNotServed) {
		t.Errorf("the second: %v", broken.err)
	}
}

func TestAPanicIsOneOfTheConnection(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.serve = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	if err := f.start(f.near(), http.MethodPut, "/a", "x").wait().err; err == nil || errors.Is(err, ErrNotServed) {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatIsNoBundleIsServedAsItIs(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	resp, err := http.DefaultTransport.RoundTrip(f.request(t.Context(), http.MethodPut, "/a", "x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Asked"); got != "PUT /a?" {
		t.Errorf("asked %q", got)
	}
}

// A bundle is served whole or not at all.
func TestABadBundleIsRefused(t *testing.T) {
	t.Parallel()
	good := "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
	for name, c := range map[string]struct {
		content string
		status  int
	}{
		"no HTTP":               {"hello\r\n\r\n", http.StatusBadRequest},
		"one that ends early":   {strings.TrimSuffix(good, "x"), http.StatusBadRequest},
		"a good one and a half": {good + good[:20], http.StatusBadRequest},
		"too many":              {strings.Repeat(good, maxRequests+1), http.StatusBadRequest},
		"too large":             {strings.Replace(good, " 1\r\n\r\nx", fmt.Sprintf(" %d\r\n\r\n%s", maxTakenBytes, strings.Repeat("x", maxTakenBytes)), 1), http.StatusRequestEntityTooLarge},
		"an empty one":          {"", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			served := 0
			h := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(c.content)))
			if w.Code != c.status || served != 0 {
				t.Errorf("answered %d with %d served: %s", w.Code, served, w.Body)
			}
		})
	}
}
