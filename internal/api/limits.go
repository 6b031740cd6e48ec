package api

import (
	"net/http"
	"sync"
)

// Limits bound what clients can make a replica hold.
type Limits struct {
	InFlight    int   // requests under way; probes and metrics apart
	Watches     int   // watches open
	HeldWrites  int   // writes that wait for a leader or an outcome
	HeldBytes   int64 // their bodies, also while they are being read
	Connections int   // connections on which anything but probes and metrics is served
}

// DefaultLimits are for a replica with half a gigabyte of memory.
var DefaultLimits = Limits{InFlight: 8192, Watches: 2048, HeldWrites: 4096, HeldBytes: 64 << 20, Connections: 8192}

// limit refuses what is over the bounds on connections and on requests under way.
func (s *Server) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Connections() > int64(s.cfg.Limits.Connections) {
			w.Header().Set("Connection", "close")
			s.fail(w, r, overloaded(r, "This replica has as many connections as it takes. Use fewer, or another replica."))
			return
		}
		slots := s.inUse
		if r.URL.Path == "/v1/watch" {
			slots = s.watches
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			s.fail(w, r, overloaded(r, "This replica has as many requests under way as it takes. Try again, or ask another replica."))
		}
	})
}

func overloaded(r *http.Request, detail string) problem {
	p := problem{Status: http.StatusServiceUnavailable, RetryAfter: 1, Detail: detail}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p.Applied = appliedNo
	}
	return p
}

// held counts the writes that wait, and their bytes.
type held struct {
	limits Limits
	mu     sync.Mutex
	writes int
	bytes  int64
}

func newHeld(l Limits) *held { return &held{limits: l} }

// take reports whether one more write of size bytes may wait; if so, it is to be given back.
func (h *held) take(size int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writes >= h.limits.HeldWrites || h.bytes+size > h.limits.HeldBytes {
		return false
	}
	h.writes++
	h.bytes += size
	return true
}

// shrink gives back what a write turned out not to need of the bytes that it took.
func (h *held) shrink(from, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes -= from - to
}

func (h *held) give(size int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes--
	h.bytes -= size
}
