package client

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// attemptLimit is how long an answer is waited for before another replica is asked.
	attemptLimit = 5 * time.Second
	// triedAgain is the pause after every replica has been asked in vain, where the answers name none.
	triedAgain = 100 * time.Millisecond
	// probeEvery is how often one request goes to a replica that has not answered the last one.
	probeEvery = time.Second
	// maxReasons is how many reasons are kept of a request's failure.
	maxReasons = 5
)

// request is what is sent, to whichever replica.
type request struct {
	method string
	path   string // with its query
	header map[string]string
	body   []byte
}

// trial is what came of a request and all its attempts.
type trial struct {
	answer  Answer   // the one that settled it; zero where none did
	open    bool     // an attempt that was not settled may have been applied
	reasons []string // why it has not succeeded, each said once
}

// try sends r to one replica after another until one settles it, or ctx is done.
func (c *Client) try(ctx context.Context, first int, r request) (t trial) {
	for n := 0; ; n++ {
		p := c.choose(first + n)
		a, sent, err := c.attempt(ctx, p.url, r)
		if err != nil {
			t.because(err.Error())
			t.open = t.open || sent
		} else if a.Status >= http.StatusMultipleChoices {
			t.because(p.url + ": " + a.String())
			t.open = t.open || mayBeApplied(a)
		}
		if err == nil && settled(a) {
			p.answers()
			t.answer = a
			return t
		}
		if ctx.Err() != nil || !c.next(ctx, n, p, a) {
			return t
		}
	}
}

// next gets ready for another attempt after the n-th, which p has not settled. It returns false if ctx is done.
func (c *Client) next(ctx context.Context, n int, p *replica, a Answer) bool {
	wait := retryAfter(a)
	slowDown := a.Status == http.StatusTooManyRequests
	if !slowDown {
		p.rest(max(wait, probeEvery))
	}
	if slowDown || (n+1)%len(c.replicas) == 0 {
		return pause(ctx, max(wait, triedAgain))
	}
	return true
}

func (t *trial) because(reason string) {
	if len(t.reasons) < maxReasons && !slices.Contains(t.reasons, reason) {
		t.reasons = append(t.reasons, reason)
	}
}

// attempt sends r to the replica at url. Where there is no answer, sent says whether the replica may have the request all
// the same.
func (c *Client) attempt(ctx context.Context, url string, r request) (a Answer, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, r.method, url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return Answer{}, false, err
	}
	if len(r.body) > 0 {
		// Else net/http sends a request with an idempotency key again by itself when its connection breaks, and what the
		// second answer says of its own request would say nothing of the first one.
		req.GetBody = nil
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	a, err = Send(c.http, req)
	return a, connected.Load(), err
}

// settled tells whether sending the same request again could not make a difference.
func settled(a Answer) bool {
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

// mayBeApplied tells of an answer that is no success whether its request may have been applied all the same. A proxy's
// answer does not say.
func mayBeApplied(a Answer) bool {
	return a.Status >= http.StatusInternalServerError && a.problem().Applied != "no"
}

func retryAfter(a Answer) time.Duration {
	seconds, _ := strconv.Atoi(a.Header.Get("Retry-After")) // 0 where there is none
	return time.Duration(seconds) * time.Second
}
