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
	// headerDeadline is when the client stops waiting, in Unix milliseconds.
	headerDeadline = "Leasehold-Deadline"
	// headerOutcome is "not-leading" or "unknown" in an answer to another replica.
	headerOutcome = "Leasehold-Outcome"
)

// position says in every answer who serves it and where in the history it stands. A handler that knows better
// overwrites the revision.
func (s *Server) position(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		leader, _ := s.cfg.Store.Leader()
		h.Set(headerServedBy, s.cfg.Pod)
		h.Set(headerLeader, leader.Current())
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
		s.metrics.requests.WithLabelValues(r.Method, route, strconv.Itoa(answer.Status())).Inc()
		s.metrics.seconds.WithLabelValues(r.Method, route).Observe(time.Since(start).Seconds())
	})
}
