package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// maxForwardedAnswer bounds what is read of a leader's answer; answers to writes are small.
const maxForwardedAnswer = 64 << 10

// aliveCheck finds out within seconds that the leader's machine is gone.
var aliveCheck = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

var forwardDialer = &net.Dialer{Timeout: time.Second, KeepAliveConfig: aliveCheck}

// newForwardClient makes the client for the way to the leader. Connections are many and kept: every held
// write may need one.
func newForwardClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         forwardDialer.DialContext,
			MaxIdleConns:        1024,
			MaxIdleConnsPerHost: 512,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// forward sends the write to the internal listener of the pod that leads. It is canceled when a newer record
// is known: the answer of a leader that has been replaced may never come.
func (rt *router) forward(sub submission, t target) (answerFunc, error) {
	ctx, cancel := context.WithCancel(sub.request.Context())
	defer cancel()
	go func() {
		select {
		case <-t.changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := rt.forwardRequest(traced, sub, t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrNotLeading, err)
	}
	resp, err := rt.client.Do(req)
	if err != nil {
		return nil, rt.unanswered(err, connected.Load())
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardedAnswer))
	if err != nil {
		return nil, rt.unanswered(err, true)
	}
	return rt.relay(resp, body)
}

func (rt *router) forwardRequest(ctx context.Context, sub submission, t target) (*http.Request, error) {
	base, err := rt.cfg.InternalURL(t.pod)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, sub.request.Method, base+sub.request.URL.EscapedPath(), bytes.NewReader(sub.body))
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = sub.request.URL.RawQuery // as it is: a # in it would end it, if it were parsed again
	for _, name := range []string{"Content-Type", "If-Match", "If-None-Match"} {
		if values := sub.request.Header.Values(name); len(values) > 0 {
			req.Header[name] = values
		}
	}
	deadline, _ := ctx.Deadline() // set for every submission
	req.Header.Set(headerForwardedKey, sub.key)
	req.Header.Set(headerElection, rt.election.Name)
	req.Header.Set(headerEpoch, strconv.FormatUint(t.epoch, 10))
	req.Header.Set(headerDeadline, strconv.FormatInt(deadline.UnixMilli(), 10))
	return req, nil
}

// unanswered tells what an attempt without an answer means: nothing was sent where there never was a
// connection to the leader, else the outcome is open.
func (rt *router) unanswered(err error, connected bool) error {
	if !connected {
		rt.metrics.forwarded.WithLabelValues("unreachable").Inc()
		return fmt.Errorf("%w: %w", store.ErrNotLeading, err)
	}
	rt.metrics.forwarded.WithLabelValues("unanswered").Inc()
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

// relay makes the leader's answer ours, unless it says that it did not decide. A refusal for want of room or speed comes
// with its answer and its error.
func (rt *router) relay(resp *http.Response, body []byte) (answerFunc, error) {
	switch resp.Header.Get(headerOutcome) {
	case outcomeNotLeading:
		rt.metrics.forwarded.WithLabelValues("not-leading").Inc()
		epoch, err := strconv.ParseUint(resp.Header.Get(headerEpoch), 10, 64)
		if err == nil && isOf(resp.Header, rt.election.Name) { // a replica with fewer elections may speak of the writes
			rt.learn(hint{pod: resp.Header.Get(headerLeader), epoch: epoch})
		}
		return nil, store.ErrNotLeading
	case outcomeUnknown:
		rt.metrics.forwarded.WithLabelValues("unknown").Inc()
		return nil, store.ErrUnknown
	}
	rt.metrics.forwarded.WithLabelValues("answered").Inc()
	return rt.answerOf(resp, body), refusalOf(resp)
}

// refusalOf is why the leader has refused a write that it may take another time; nil if it has not.
func refusalOf(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusInsufficientStorage:
		return store.ErrFull
	case http.StatusTooManyRequests:
		return store.ErrBusy
	}
	return nil
}

// answerOf makes the leader's answer ours.
func (rt *router) answerOf(resp *http.Response, body []byte) answerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, name := range []string{
			"Content-Type", "Etag", "Retry-After", headerRevision, headerEpoch, headerServedBy, headerLeader, headerReplayed,
		} {
			if value := resp.Header.Get(name); value != "" {
				h.Set(name, value)
			}
		}
		h.Set(headerForwardedBy, rt.cfg.Pod)
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(body) // a client that is gone cannot be told
	}
}
