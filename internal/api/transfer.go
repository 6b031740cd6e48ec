package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/store"
)

// transferMargin is how much longer than the leader the replica waits that has forwarded a transfer to it.
const transferMargin = 2 * time.Second

// transfer has the leader give leadership up, to the pod that the body names or to the best one. It is forwarded once and
// not held: who asks for it means the leader of now.
func (s *Server) transfer(w http.ResponseWriter, r *http.Request) {
	sub, err := s.receive(w, r, s.decodeTransfer, headerKey)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.WriteWait+transferMargin)
	defer cancel()
	t := sub.election.router.target()
	t.changed = nil // the answer comes after the change that it reports
	answer, err := sub.election.router.try(sub.with(ctx), t, s.decideHere)
	if answer == nil {
		s.fail(w, r, transferFailed(err, t.pod))
		return
	}
	answer(w, r)
}

// transferFailed makes a problem of what kept a transfer from being decided; another error stays as it is.
func transferFailed(err error, leader string) error {
	switch {
	case errors.Is(err, store.ErrUnknown):
		return problem{
			Status: http.StatusGatewayTimeout, Leader: leader,
			Detail: "The leader was asked, but what became of the transfer could not be learned; GET /v1/leader tells who leads.",
		}
	case errors.Is(err, store.ErrNotLeading) && leader == "":
		return problem{Status: http.StatusServiceUnavailable, RetryAfter: 1, Detail: "No replica leads at the moment, so there is nothing to transfer. Try again."}
	case errors.Is(err, store.ErrNotLeading):
		return problem{
			Status: http.StatusServiceUnavailable, Leader: leader, RetryAfter: 1,
			Detail: fmt.Sprintf("The leader, %s, could not be reached, or has just stopped leading. Nothing was transferred. Try again.", leader),
		}
	}
	return err
}

// transferCommand gives the leadership of an election up to a pod, or to the best one if to is "".
type transferCommand struct {
	of *elected
	to string
}

func (c transferCommand) election() string { return c.of.Name }

func (s *Server) decodeTransfer(r *http.Request, body []byte) (command, error) {
	if err := onlyQuery(r, electionParam); err != nil {
		return nil, err
	}
	election, err := s.electionOf(r)
	if err != nil {
		return nil, err
	}
	var ask struct {
		To *string `json:"to"`
	}
	if len(bytes.TrimSpace(body)) > 0 {
		if err := decodeJSON(body, &ask); err != nil {
			return nil, err
		}
	}
	if ask.To == nil {
		return transferCommand{of: election}, nil
	}
	if !isPodName(*ask.To) {
		return nil, badRequest(fmt.Sprintf("There can be no pod of the name %.64q.", *ask.To))
	}
	return transferCommand{election, *ask.To}, nil
}

func isPodName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-."
	return name != "" && len(name) <= 253 && strings.Trim(name, allowed) == ""
}

// run steps down and waits until another pod leads. A client that hangs up calls nothing off: leadership is not left in
// the middle.
func (c transferCommand) run(s *Server, r *http.Request, _ store.ID, _ bool) (answerFunc, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.WriteWait)
	defer cancel()
	before, _ := c.of.Leader()
	err := c.of.StepDown(ctx, c.to)
	if errors.Is(err, election.ErrNotLeading) {
		return nil, store.ErrNotLeading
	}
	if err != nil {
		return nil, err
	}
	next, err := s.awaitSuccessor(ctx, c.of, before)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(headerServedBy, s.cfg.Pod)
		if c.of.Name == store.Writes { // the headers are of those
			w.Header().Set(headerLeader, next.Pod)
			w.Header().Set(headerEpoch, strconv.FormatUint(next.Epoch, 10))
		}
		answerJSON(w, transferBody{From: s.cfg.Pod, To: next.Pod, Epoch: next.Epoch})
	}, nil
}

type transferBody struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Epoch uint64 `json:"epoch"`
}

// awaitSuccessor blocks until somebody leads under a later epoch than before's, and returns who, if that is another pod.
func (s *Server) awaitSuccessor(ctx context.Context, election *elected, before store.Leader) (store.Leader, error) {
	for {
		l, changed := election.Leader()
		switch {
		case l.Epoch <= before.Epoch || l.Resigned:
		case l.Pod == s.cfg.Pod:
			return l, problem{
				Status: http.StatusServiceUnavailable, Leader: l.Pod,
				Detail: fmt.Sprintf("Leadership was given up, but nobody else took over: %s leads again, under epoch %d.", l.Pod, l.Epoch),
			}
		default:
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return l, problem{
				Status: http.StatusServiceUnavailable, RetryAfter: 1,
				Detail: "Leadership was given up, but nobody has taken over in time; GET /v1/leader tells who leads.",
			}
		}
	}
}

// history lists the changes of an election's leadership that this replica knows of.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	election, err := s.electionOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	entries, err := election.History(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answerJSON(w, struct {
		History []history.Entry `json:"history"`
	}{entries})
}
