package workload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leasehold/leasehold/test/chaos/check"
)

const (
	// retryPause is the pause before an attempt that follows an answer which names none; it is drawn from half of it to
	// one and a half. longestPause bounds what an answer may ask for.
	retryPause   = 100 * time.Millisecond
	longestPause = time.Second
)

// verdict is what an attempt at a write came to.
type verdict struct {
	outcome    check.Outcome // of this attempt
	again      bool          // it may be sent again
	after      time.Duration // 0: the answer names none
	reason     string
	unexpected string
}

// write sends r, under one idempotency key, until o has an outcome, its time is over, or it has been sent that many times (0: any
// number), and records it. At is the replica that answered last.
func (c *client) write(ctx context.Context, o check.Op, r request, attempts int) (done check.Op, at int) {
	r.header["Idempotency-Key"] = strings.ReplaceAll(c.w.cfg.Name+"-"+o.ID(), "/", "-")
	limit, cancel := context.WithTimeout(ctx, c.w.cfg.Limit)
	defer cancel()
	uncertain := false
	o.Start = time.Since(c.w.start)
	for {
		at = c.anywhere()
		o.Attempts++
		v := c.attempt(limit, &o, at, r)
		uncertain = uncertain || v.outcome == check.Unknown
		o.Outcome, o.Reason, o.Unexpected = v.outcome, v.reason, v.unexpected
		if v.outcome == check.Applied || v.outcome == check.Refused {
			break
		}
		if !v.again || o.Attempts == attempts || !c.pause(limit, c.delay(v.after)) {
			if uncertain {
				o.Outcome = check.Unknown
			}
			break
		}
	}
	o.End = time.Since(c.w.start)
	c.w.record(o)
	return o, at
}

func (c *client) delay(asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, longestPause)
	}
	return retryPause/2 + time.Duration(c.random.Int64N(int64(retryPause)))
}

func (c *client) attempt(ctx context.Context, o *check.Op, at int, r request) verdict {
	ctx, cancel := context.WithTimeout(ctx, c.w.cfg.Attempt)
	defer cancel()
	a, sent, err := send(ctx, c.w.cfg.Client, c.w.cfg.URLs[at], r)
	if err != nil {
		if sent {
			return verdict{outcome: check.Unknown, again: true, reason: err.Error()}
		}
		return verdict{outcome: check.NotApplied, again: true, reason: err.Error()}
	}
	v := judge(a)
	if v.outcome != check.Applied && v.outcome != check.Refused {
		return v
	}
	if err := c.decided(o, a); err != nil {
		v.unexpected = fmt.Sprintf("%s: %v", a, err)
		v.outcome = check.Unknown
		v.again = false
	}
	return v
}

// judge is what an answer to a write means.
func judge(a answer) verdict {
	v := verdict{reason: a.String(), again: true}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil {
		v.after = time.Duration(seconds) * time.Second
	}
	applied := a.problem().Applied
	switch a.status {
	case http.StatusOK, http.StatusCreated:
		return verdict{outcome: check.Applied}
	case http.StatusConflict, http.StatusPreconditionFailed:
		v.outcome = check.Refused
	case http.StatusTooManyRequests, http.StatusInsufficientStorage, http.StatusServiceUnavailable:
		v.outcome = check.Unknown
		if applied == "no" {
			v.outcome = check.NotApplied
		}
	case http.StatusGatewayTimeout:
		v.outcome = check.Unknown
		if applied != "unknown" {
			v.unexpected = fmt.Sprintf("%s, which says %q of whether it was applied", a, applied)
		}
	default:
		return verdict{outcome: check.Unknown, unexpected: a.String()}
	}
	return v
}

// decided takes over what a decision says of itself. A replay does not say who has decided.
func (c *client) decided(o *check.Op, a answer) (err error) {
	if o.Revision, err = c.w.revision(a.header.Get("Leasehold-Revision")); err != nil {
		return err
	}
	if o.Epoch, err = strconv.ParseUint(a.header.Get("Leasehold-Epoch"), 10, 64); err != nil {
		return fmt.Errorf("not an epoch: %w", err)
	}
	if a.header.Get("Idempotent-Replayed") == "" {
		o.Pod = a.header.Get("Leasehold-Served-By")
	}
	return nil
}

// read reads o's key at a replica, once, and records it.
func (c *client) read(ctx context.Context, o check.Op, at int) check.Op {
	ctx, cancel := context.WithTimeout(ctx, c.w.cfg.Attempt)
	defer cancel()
	r := request{method: http.MethodGet, path: "/v1/kv/" + o.Keys[0], header: map[string]string{}}
	if o.Linearizable {
		r.path += "?consistency=linearizable"
	}
	if o.MinRevision != 0 {
		r.header["Leasehold-Min-Revision"] = c.w.token(o.MinRevision)
	}
	o.Attempts, o.Outcome, o.Start = 1, check.NotApplied, time.Since(c.w.start)
	a, _, err := send(ctx, c.w.cfg.Client, c.w.cfg.URLs[at], r)
	o.End = time.Since(c.w.start)
	if err != nil {
		o.Reason = err.Error()
	} else if err := c.shown(&o, a); err != nil {
		o.Outcome, o.Unexpected = check.NotApplied, fmt.Sprintf("%s: %v", a, err)
	}
	c.w.record(o)
	return o
}

var errStatus = errors.New("a status that a read does not have")

// shown takes over what an answer to a read shows.
func (c *client) shown(o *check.Op, a answer) (err error) {
	switch a.status {
	case http.StatusServiceUnavailable:
		o.Reason = a.String()
		return nil
	case http.StatusOK, http.StatusNotFound:
	default:
		return errStatus
	}
	if o.Revision, err = c.w.revision(a.header.Get("Leasehold-Revision")); err != nil {
		return err
	}
	if a.status == http.StatusOK {
		o.Value = string(a.body)
		if o.Written, err = c.w.revision(strings.Trim(a.header.Get("ETag"), `"`)); err != nil {
			return err
		}
	}
	o.Outcome = check.Applied
	return nil
}
