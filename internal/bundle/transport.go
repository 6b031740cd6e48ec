package bundle

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Transport is an http.RoundTripper that sends requests in bundles. A request and its answer are held in memory whole.
type Transport struct {
	// Base sends the bundles. It must not send one again by itself once it has read of its body.
	Base http.RoundTripper
	// MaxAnswerBytes bounds the body of an answer; of a larger one the rest is cut off.
	MaxAnswerBytes int64

	mu    sync.Mutex
	lanes map[string]*lane // by scheme and host; those in use
}

// lane is the way to one host.
type lane struct {
	waiting  []*call
	underWay int // bundles
}

// call is one request on its way. The mutex of the Transport guards bundle and left.
type call struct {
	request *http.Request
	wire    []byte // as it is sent
	bundle  *bundle
	left    bool // nobody waits for it any more
	done    chan result
}

type result struct {
	answer *http.Response
	err    error
}

// RoundTrip implements http.RoundTripper. It blocks until there is an answer, or until the context of the request is
// done; the other requests of its bundle are not disturbed by that.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	c := &call{request: req, wire: wire.Bytes(), done: make(chan result, 1)}
	t.add(c)
	select {
	case r := <-c.done:
		return r.answer, r.err
	case <-req.Context().Done():
	}
	err := t.leave(c)
	select {
	case r := <-c.done: // it came at the same time
		return r.answer, r.err
	default:
		return nil, err
	}
}

// CloseIdleConnections closes those of Base.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func host(req *http.Request) string { return req.URL.Scheme + "://" + req.URL.Host }

// add has c sent as soon as may be.
func (t *Transport) add(c *call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lanes == nil {
		t.lanes = map[string]*lane{}
	}
	l := t.lanes[host(c.request)]
	if l == nil {
		l = &lane{}
		t.lanes[host(c.request)] = l
	}
	l.waiting = append(l.waiting, c)
	if l.underWay < underWay {
		l.underWay++
		go t.drive(host(c.request), l)
	}
}

// leave gives c up, and tells whether it may have been sent.
func (t *Transport) leave(c *call) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.left = true
	err := c.request.Context().Err()
	if c.bundle == nil {
		return fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	return c.bundle.leave(err)
}

// drive sends one bundle after the other, until nothing waits.
func (t *Transport) drive(host string, l *lane) {
	for {
		b := t.gather(host, l)
		if b == nil {
			return
		}
		b.exchange(host)
	}
}

// gather makes a bundle of what waits. If there is nothing it returns nil, and the caller drives no longer.
func (t *Transport) gather(host string, l *lane) *bundle {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := newBundle(t)
	size, taken := 0, 0
	for _, c := range l.waiting {
		if len(b.calls) == maxRequests || size > 0 && size+len(c.wire) > maxBytes {
			break
		}
		taken++
		if !c.left {
			c.bundle = b
			b.calls = append(b.calls, c)
			size += len(c.wire)
		}
	}
	l.waiting = slices.Delete(l.waiting, 0, taken)
	if b.staying = len(b.calls); b.staying > 0 {
		return b
	}
	b.cancel()
	if l.underWay--; l.underWay == 0 {
		delete(t.lanes, host)
	}
	return nil
}
