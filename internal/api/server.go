// Package api is the HTTP API: any replica answers reads from its own member, and brings writes to the
// leader.
//
// Its one invariant: a client hears "applied" only of what was committed, and "not applied" only of what
// certainly was not; when neither is known it hears "unknown", with the key under which to ask again.
package api

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
)

// Store is what the API needs of the store.
type Store interface {
	Get(ctx context.Context, key string, o store.ReadOptions) (store.Entry, int64, error)
	List(ctx context.Context, prefix, after string, limit int, o store.ReadOptions) (store.Page, error)
	Watch(ctx context.Context, prefix string, after int64) (int64, <-chan store.Changes, error)
	Write(ctx context.Context, w *store.Write) (store.Outcome, error)
	Reached() int64
	Revision(ctx context.Context) (int64, error)
	FormatRevision(rev int64) string
	ParseRevision(token string) (int64, error)
}

// Jobs is what the API needs of the schedulers.
type Jobs interface {
	Statuses(ctx context.Context) ([]jobs.Status, error)
	RunNow(ctx context.Context, name string) (jobs.Status, error)
	// ElectionOf returns the election whose leader runs the job; false if there is no such job.
	ElectionOf(name string) (election string, ok bool)
}

// Config is what a Server needs.
type Config struct {
	Pod, BootID string
	Store       Store
	// Elections are all that are held, store.Writes the first.
	Elections []Election
	Jobs      Jobs
	// InternalURL makes the address of another replica's internal listener out of a pod name that it
	// validates; anything else is an error.
	InternalURL func(pod string) (string, error)
	// LeaderReads is ReadsLocal, ReadsProxy or ReadsRedirect.
	LeaderReads string
	// PublicURL makes the address of another replica's public listener, as InternalURL does. ReadsRedirect needs it.
	PublicURL func(pod string) (string, error)
	// Members lists the replicas' members, for GET /v1/cluster.
	Members func(ctx context.Context) ([]Member, error)
	// WriteWait is how long a write waits for a leader and an outcome.
	WriteWait time.Duration
	Limits    Limits
	// Connections is how many connections to the public listener are open.
	Connections func() int64
	Log         *zap.Logger
	Registry    *prometheus.Registry
	// Gatherer is what /metrics shows.
	Gatherer prometheus.Gatherer
}

// Server is the API of one replica.
type Server struct {
	cfg       Config
	log       *zap.Logger
	metrics   *metrics
	elections []*elected
	client    *http.Client // asks other replicas
	held      *held

	followers followers
	inUse     chan struct{} // one token a request under way
	watches   chan struct{} // one token a watch

	draining atomic.Bool
	streams  context.Context // ends the watches when the replica drains
	endAll   context.CancelFunc

	linked    context.Context // ends the links from other replicas
	endLinked context.CancelFunc

	proxyLog *log.Logger // of what goes wrong when a read is passed on

	keepAlive, watchWriteLimit, passLimit time.Duration // the constants, but for tests
}

// New makes a Server. Its store is open, which means that a majority has confirmed once what it reads: it is ready.
func New(cfg Config) *Server {
	s := &Server{
		cfg:     cfg,
		log:     cfg.Log,
		metrics: newMetrics(cfg.Registry),
		client:  newForwardClient(),
		held:    newHeld(cfg.Limits),
		inUse:   make(chan struct{}, cfg.Limits.InFlight),
		watches: make(chan struct{}, cfg.Limits.Watches),

		proxyLog: zap.NewStdLog(cfg.Log),

		keepAlive: keepAlive, watchWriteLimit: watchWriteLimit, passLimit: passLimit,
	}
	for _, e := range cfg.Elections {
		s.elections = append(s.elections, &elected{e, newRouter(s, e)})
	}
	s.linked, s.endLinked = context.WithCancel(context.Background())
	s.streams, s.endAll = context.WithCancel(context.Background())
	return s
}

// Handler is the public API.
func (s *Server) Handler() http.Handler {
	r := s.newRoutes()
	r.Get("/livez", s.livez)
	r.Get("/readyz", s.readyz)
	r.Get("/leaderz", s.leaderz)
	r.Handle("/metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{}))
	r.Group(func(r chi.Router) {
		r.Use(s.limit)
		s.reads(r, s.passed)
		r.Get("/v1/watch", s.watch)
		r.Get("/v1/leader", s.leader)
		r.Get("/v1/leader/history", s.history)
		r.Post("/v1/leader/transfer", s.transfer)
		r.Get("/v1/cluster", s.cluster)
		r.Get("/v1/jobs", s.jobs)
		s.decided(r, s.routed)
	})
	return r
}

// internalRoutes are what other replicas ask. A write that arrives here is decided here or refused, and a read is answered here:
// neither is sent on a second time.
func (s *Server) internalRoutes() http.Handler {
	r := s.newRoutes()
	r.Get(StatusPath, s.status)
	r.Post("/v1/leader/transfer", s.direct(s.decodeTransfer))
	s.decided(r, s.direct)
	s.reads(r, func(local http.HandlerFunc) http.HandlerFunc { return local })
	return r
}

// newRoutes are no routes yet, but every answer counts, says where it comes from, and explains itself.
func (s *Server) newRoutes() *chi.Mux {
	routes := chi.NewRouter()
	routes.Use(s.observe, s.position)
	routes.NotFound(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, problem{Status: http.StatusNotFound, Detail: "There is nothing at this address; see the README for the API."})
	})
	routes.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed(routes, r))
		s.fail(w, r, problem{Status: http.StatusMethodNotAllowed, Detail: "This address does not take " + r.Method + "."})
	})
	return routes
}

// allowed lists the methods that the address of r takes.
func allowed(routes chi.Routes, r *http.Request) string {
	var methods []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		if routes.Match(chi.NewRouteContext(), m, cmp.Or(r.URL.RawPath, r.URL.Path)) {
			methods = append(methods, m)
		}
	}
	return strings.Join(methods, ", ")
}

// decided are the routes of everything that a leader decides. decodeWrite says the same of what comes over a link.
func (s *Server) decided(r chi.Router, serve func(decoder) http.HandlerFunc) {
	r.Put("/v1/kv/*", serve(s.decodePut))
	r.Post("/v1/kv/*", serve(s.decodeCreate))
	r.Delete("/v1/kv/*", serve(s.decodeDelete))
	r.Post("/v1/kv", serve(s.decodeTransaction))
	r.Post("/v1/jobs/{name}/run", serve(s.decodeRun))
}

// reads are the routes of everything that any replica can answer.
func (s *Server) reads(r chi.Router, serve func(http.HandlerFunc) http.HandlerFunc) {
	r.Get("/v1/kv/*", serve(s.get))
	r.Head("/v1/kv/*", serve(s.get))
	r.Get("/v1/kv", serve(s.list))
}

// Drain makes the replica not ready and ends the watches. Requests go on being served.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.endAll()
}
