package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

const (
	outcomeNotLeading = "not-leading"
	outcomeUnknown    = "unknown"

	firstRetry   = 5 * time.Millisecond
	longestRetry = 200 * time.Millisecond
)

// router brings a write to whoever leads its election, for as long as its client waits. It is free to send a write again:
// the write's ID has it applied once.
type router struct {
	server   *Server
	cfg      Config
	election Election
	metrics  *metrics
	client   *http.Client // shared by the routers
	links    *links

	mu   sync.Mutex
	hint hint
	last uint64 // the epoch when a write was last brought to its leader
}

// hint is who leads as another replica told it; it counts while it is newer than the record known here.
type hint struct {
	pod   string
	epoch uint64
}

func newRouter(s *Server, election Election) *router {
	return &router{
		server: s, cfg: s.cfg, election: election, metrics: s.metrics, client: s.client,
		links: &links{url: s.cfg.InternalURL, dial: forwardDialer.DialContext},
	}
}

// target is where a write is to go. changed is closed when a newer record is known.
type target struct {
	pod     string // "" while nobody is known to lead
	epoch   uint64
	changed <-chan struct{}
}

func (rt *router) target() target {
	leader, changed := rt.election.Leader()
	t := target{pod: leader.Current(), epoch: leader.Epoch, changed: changed}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.hint.epoch > t.epoch {
		t.pod, t.epoch = rt.hint.pod, rt.hint.epoch
	}
	if t.epoch != rt.last {
		rt.last = t.epoch
		rt.client.CloseIdleConnections() // the pod that leads now may have led before, at another address
	}
	return t
}

// learn keeps a hint that is newer than the last, if the pod that it names can exist.
func (rt *router) learn(h hint) {
	if _, err := rt.cfg.InternalURL(h.pod); err != nil {
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if h.epoch > rt.hint.epoch {
		rt.hint = h
	}
}

// deliver has the write decided, here or by the leader, however often leaders change meanwhile, until its
// context is done. here decides it on this replica. There is an answer, or an error, or the answer of a leader that refused the write with the error that
// it means.
func (rt *router) deliver(sub submission, here func(submission) (answerFunc, error)) (answerFunc, error) {
	ctx, unknown, rest := sub.request.Context(), false, firstRetry
	for {
		t := rt.target()
		answer, err := rt.try(sub, t, here)
		switch {
		case err == nil:
			return answer, nil
		case errors.Is(err, store.ErrUnknown):
			unknown = true
			if _, run := sub.command.(runCommand); run {
				return nil, rt.givenUp(sub, unknown, t.pod) // a run has no ID that would have it happen once
			}
		case errors.Is(err, store.ErrNotLeading):
		case unknown && (errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrBusy)):
			// That this attempt was refused does not say that an earlier one was not applied, or is not yet to be.
		default:
			return answer, err
		}
		timer := time.NewTimer(rest)
		select {
		case <-t.changed:
			rest = firstRetry
		case <-timer.C:
			rest = min(2*rest, longestRetry)
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || expired(ctx) {
			return nil, rt.givenUp(sub, unknown, t.pod)
		}
	}
}

// try makes one attempt. ErrNotLeading means that nothing was applied, ErrUnknown that something may have
// been; any other error is the answer, unless there is one.
func (rt *router) try(sub submission, t target, here func(submission) (answerFunc, error)) (answerFunc, error) {
	switch t.pod {
	case "":
		return nil, store.ErrNotLeading
	case rt.cfg.Pod:
		return here(sub)
	}
	answer, err := rt.forwardLinked(sub, t)
	if errors.Is(err, errAlone) {
		return rt.forward(sub, t)
	}
	return answer, err
}

// expired asks the clock: a process that stood still must not send a write whose ID may be forgotten by now.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Now().Round(0).After(deadline.Round(0))
}

// givenUp is the answer to a write that nobody decided in time.
func (rt *router) givenUp(sub submission, unknown bool, leader string) problem {
	if _, run := sub.command.(runCommand); unknown && run {
		return problem{
			Status: http.StatusGatewayTimeout, Applied: appliedUnknown, Leader: leader,
			Detail: "The job was to be run, but what became of it could not be learned in time; GET /v1/jobs tells.",
		}
	}
	if unknown {
		return problem{
			Status: http.StatusGatewayTimeout, Applied: appliedUnknown, Key: sub.key, Leader: leader,
			Detail: fmt.Sprintf("The write was sent, but its outcome could not be learned in time. Send the same request with the header %s: %s within %s to learn it; it is applied once.", headerKey, sub.key, rt.cfg.WriteWait),
		}
	}
	detail := "No replica leads at the moment, so the write was not applied. Try again."
	if leader != "" {
		detail = fmt.Sprintf("The leader, %s, could not be reached, so the write was not applied. Try again.", leader)
	}
	return problem{Status: http.StatusServiceUnavailable, Applied: appliedNo, Key: sub.key, Leader: leader, RetryAfter: 1, Detail: detail}
}
