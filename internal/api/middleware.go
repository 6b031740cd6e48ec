package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// Headers of every answer, and of requests between replicas.
const (
	headerRevision    = "Leasehold-Revision"
	headerEpoch       = "Leasehold-Epoch"
	headerServedBy    = "Leasehold-Served-By"
	headerLeader      = "Leasehold-Leader"
	headerForwardedBy = "Leasehold-Forwarded-By"
	headerMinRevision = "Leasehold-Min-Revision"
	headerKey         = "Idempotency-Key"
	headerReplayed    = "Idempotent-Replayed"
	// headerForwardedKey is the key between replicas. Under its own name net/http would take the request for
	// one that it may send again by itself, and a first attempt that was applied would go unnoticed.
	headerForwardedKey = "Leasehold-Idempotency-Key"
	// headerElection is the election whose leader the sender means, or the one that refuses names; without it, as replicas of one
	// election had it, store.Writes.
	headerElection = "Leasehold-Election"
	// headerDeadline is when the client stops waiting, in Unix milliseconds.
	headerDeadline = "Leasehold-Deadline"
	// headerOutcome is "not-leading" or "unknown" in an answer to another replica.
	headerOutcome = "Leasehold-Outcome"
)

// position says in every answer who serves it, who leads the writes, and where in the history it stands. A handler that knows better
// overwrites that.
func (s *Server) position(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		leader, _ := s.writes().Leader()
		h.Set(headerServedBy, s.cfg.Pod)
		h.Set(headerLeader, leader.Current())
		if s.draining.Load() {
			h.Set("Connection", "close") // a client that is told so is not surprised when the listener closes
		}
		h.Set(headerEpoch, strconv.FormatUint(leader.Epoch, 10))
		s.setRevision(h, s.cfg.Store.Reached())
		next.ServeHTTP(w, r)
	})
}

func (s *Server) setRevision(h http.Header, revision int64) {
	h.Set(headerRevision, s.cfg.Store.FormatRevision(revision))
}

// observe counts and times requests by route.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		answer := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(answer, r)
		route := chi.RouteContext(r.Context()).RoutePattern() // known only after routing
		s.metrics.requests.WithLabelValues(methodLabel(r), route, strconv.Itoa(answer.Status())).Inc()
		s.metrics.seconds.WithLabelValues(methodLabel(r), route).Observe(time.Since(start).Seconds())
	})
}

// methodLabel keeps clients from making up labels.
func methodLabel(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete:
		return r.Method
	}
	return "other"
}
