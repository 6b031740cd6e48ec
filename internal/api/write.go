package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
)

const (
	maxClientKeyBytes = 128
	// podKeyPrefix marks an idempotency key that a replica made. What follows is the write's ID itself.
	podKeyPrefix = "leasehold-"
	// ClockTolerance is how far the clocks of two replicas may be apart.
	ClockTolerance = 5 * time.Second
)

// routed serves a write on the replica that the client has chosen: it is decided here if this replica leads,
// else brought to the leader, and held while there is none.
func (s *Server) routed(decode decoder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		size := bodyBound(r)
		if !s.held.take(size) {
			s.fail(w, r, problem{
				Status: http.StatusServiceUnavailable, Applied: appliedNo, RetryAfter: 1,
				Detail: "This replica holds as many waiting writes as it takes. Try again, or ask another replica.",
			})
			return
		}
		defer func() { s.held.give(size) }()
		sub, err := s.receive(w, r, decode, headerKey)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.held.shrink(size, int64(len(sub.body)))
		size = int64(len(sub.body))
		s.metrics.held.Inc()
		defer s.metrics.held.Dec()
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.WriteWait)
		defer cancel()
		answer, err := sub.election.router.deliver(sub.with(ctx), s.decideHere)
		if answer == nil {
			s.fail(w, r, err)
			return
		}
		answer(w, r)
	}
}

// direct serves a write that another replica has forwarded. It is decided here or refused.
func (s *Server) direct(decode decoder) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		sub, err := s.receive(w, r, decode, headerForwardedKey)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		addressed, err := addressOf(r.Header)
		if err == nil {
			err = sub.election.addressedHere(addressed)
		}
		if err != nil {
			s.refuseForward(w, r, sub.election, err)
			return
		}
		ctx, cancel := addressed.waiting(r.Context())
		defer cancel()
		answer, err := s.decideHere(sub.with(ctx))
		if err != nil {
			s.refuseForward(w, r, sub.election, err)
			return
		}
		answer(w, r)
	}
}

// submission is a write on its way: the request, read and checked.
type submission struct {
	request  *http.Request
	body     []byte
	command  command
	election *elected // whose leader decides it
	id       store.ID
	client   bool   // the key is the client's own
	key      string // as it may be sent again
}

func (sub submission) with(ctx context.Context) submission {
	sub.request = sub.request.WithContext(ctx)
	return sub
}

// bodyBound is how large the body of r may turn out to be.
func bodyBound(r *http.Request) int64 {
	if r.ContentLength < 0 {
		return store.MaxValueBytes
	}
	return min(r.ContentLength, store.MaxValueBytes)
}

// receive reads and checks a request. Its key is in the header keyHeader.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, decode decoder, keyHeader string) (submission, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, store.MaxValueBytes))
	if err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return submission{}, err
		}
		return submission{}, badRequest("The body ended early.")
	}
	return s.check(r, body, decode, r.Header.Get(keyHeader))
}

// check makes a submission of a request that has been read.
func (s *Server) check(r *http.Request, body []byte, decode decoder, key string) (sub submission, err error) {
	sub = submission{request: r, body: body}
	if sub.command, err = decode(r, body); err != nil {
		return submission{}, err
	}
	if sub.election, err = s.named(sub.command.election()); err != nil {
		return submission{}, err
	}
	sub.id, sub.client, sub.key, err = idempotencyKey(key)
	return sub, err
}

// idempotencyKey reads a key, or makes a new one where the client has given none.
func idempotencyKey(given string) (id store.ID, client bool, key string, err error) {
	key = given
	if key == "" {
		id = store.NewID()
		return id, false, podKeyPrefix + hex.EncodeToString(id[:]), nil
	}
	if len(key) > maxClientKeyBytes || strings.ContainsFunc(key, func(c rune) bool { return c < '!' || c > '~' }) {
		return id, false, "", badRequest(fmt.Sprintf("The Idempotency-Key must be 1 to %d visible ASCII characters.", maxClientKeyBytes))
	}
	if made, ok := strings.CutPrefix(key, podKeyPrefix); ok {
		if b, err := hex.DecodeString(made); err == nil && len(b) == len(id) {
			return store.ID(b), false, key, nil
		}
	}
	return store.ClientID(key), true, key, nil
}

// decideHere has this replica decide a write. The error is store.ErrNotLeading where it does not lead.
func (s *Server) decideHere(sub submission) (answerFunc, error) {
	return sub.command.run(s, sub.request, sub.id, sub.client)
}

// election is always that of the data.
func (writeCommand) election() string { return store.Writes }

func (c writeCommand) run(s *Server, r *http.Request, id store.ID, client bool) (answerFunc, error) {
	o, err := c.decide(r.Context(), s, id, client)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, r *http.Request) { c.answer(s, w, r, s.cfg.Pod, o) }, nil
}

func (c writeCommand) decide(ctx context.Context, s *Server, id store.ID, client bool) (store.Outcome, error) {
	w := &store.Write{ID: id, Client: client, Hash: c.hash}
	c.fill(w, time.Now())
	return s.cfg.Store.Write(ctx, w)
}

// answer tells the client what the leader, by, has decided.
func (c writeCommand) answer(s *Server, w http.ResponseWriter, r *http.Request, by string, o store.Outcome) {
	revision := s.cfg.Store.FormatRevision(o.Revision)
	h := w.Header()
	h.Set(headerServedBy, by)
	h.Set(headerLeader, by)
	h.Set(headerRevision, revision)
	h.Set(headerEpoch, strconv.FormatUint(o.Epoch, 10))
	if o.Replayed {
		h.Set(headerReplayed, "true")
	}
	if !o.Applied {
		s.fail(w, r, c.refusal)
		return
	}
	if !c.body {
		w.WriteHeader(c.success)
		return
	}
	h.Set("ETag", `"`+revision+`"`)
	writeJSON(w, c.success, "application/json", applied{Applied: true, Revision: revision})
}

type applied struct {
	Applied  bool   `json:"applied"`
	Revision string `json:"revision"`
}

func (c runCommand) election() string { return c.of }

func (c runCommand) run(s *Server, r *http.Request, _ store.ID, _ bool) (answerFunc, error) {
	status, err := s.cfg.Jobs.RunNow(r.Context(), c.job)
	if errors.Is(err, jobs.ErrNotLeading) {
		return nil, store.ErrNotLeading
	}
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, status) }, nil
}

// meant tells whether the replica that has forwarded a request means the leader of e: one with other elections may have the job that
// it wants run in another.
func (e *elected) meant(r *http.Request) bool { return isOf(r.Header, e.Name) }

// isOf tells whether a request or an answer between replicas is about the leader of that election.
func isOf(h http.Header, election string) bool {
	return cmp.Or(h.Get(headerElection), store.Writes) == election
}

// address is whom a forwarded write is meant for, and until when it is waited for.
type address struct {
	election string
	epoch    uint64
	deadline time.Time
}

func addressOf(h http.Header) (address, error) {
	if h.Get(headerForwardedKey) == "" {
		return address{}, badRequest("A forwarded write must bring the key under which it is applied once.")
	}
	epoch, err := strconv.ParseUint(h.Get(headerEpoch), 10, 64)
	if err != nil {
		return address{}, badRequest("A forwarded write must name the epoch of its leader.")
	}
	deadline, err := strconv.ParseInt(h.Get(headerDeadline), 10, 64)
	if err != nil {
		return address{}, badRequest("A forwarded write must say until when it is waited for.")
	}
	return address{cmp.Or(h.Get(headerElection), store.Writes), epoch, time.UnixMilli(deadline)}, nil
}

// addressedHere refuses a forwarded write that was meant for another election or epoch than the one known here, or whose
// client has given up: it may have been under way for longer than outcomes are remembered.
func (e *elected) addressedHere(a address) error {
	leader, _ := e.Leader()
	if leader.Epoch != a.epoch || e.Name != a.election || time.Now().After(a.limit()) {
		return store.ErrNotLeading
	}
	return nil
}

// limit is when nobody waits any more, whatever clock the deadline is of.
func (a address) limit() time.Time { return a.deadline.Add(ClockTolerance) }

func (a address) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, a.limit())
}

// refuseForward tells the replica that forwarded a write what it has to know to go on: who leads the election that it means, and
// whether anything may have been applied. Where it means another one it is not told who leads: it would take that for its own.
func (s *Server) refuseForward(w http.ResponseWriter, r *http.Request, election *elected, err error) {
	leader, _ := election.Leader()
	w.Header().Set(headerLeader, leader.Current())
	w.Header().Set(headerEpoch, strconv.FormatUint(leader.Epoch, 10))
	w.Header().Set(headerElection, election.Name)
	if !election.meant(r) {
		w.Header().Del(headerLeader)
		w.Header().Del(headerEpoch)
	}
	switch {
	case errors.Is(err, store.ErrUnknown):
		w.Header().Set(headerOutcome, outcomeUnknown)
		s.fail(w, r, problem{Status: http.StatusGatewayTimeout, Applied: appliedUnknown, Detail: "The outcome of the write is unknown."})
	case errors.Is(err, store.ErrNotLeading):
		w.Header().Set(headerOutcome, outcomeNotLeading)
		s.fail(w, r, problem{Status: http.StatusMisdirectedRequest, Applied: appliedNo, Detail: "This replica does not lead."})
	default:
		s.fail(w, r, err)
	}
}
