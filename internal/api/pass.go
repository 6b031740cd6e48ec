package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// What the leader does with a read that it is asked for.
const (
	ReadsLocal    = "local"    // answers it
	ReadsProxy    = "proxy"    // has a follower answer it, and hands the answer on
	ReadsRedirect = "redirect" // sends the client to a follower
)

const (
	// caughtUp is how many revisions a follower may be behind the leader to be given reads.
	caughtUp = 100
	// lookEvery is how often the leader looks which followers are fit for reads, while it has some to pass on, and
	// lookedFor is how long it goes by what it has seen.
	lookEvery = time.Second
	lookedFor = 3 * time.Second
	// passLimit is how long a follower has to begin its answer.
	passLimit = 3 * time.Second
	// passedParam names in an address who has sent its client there.
	passedParam = "passed-by"
)

// errNotAnswered is of a follower that is late, or cannot answer.
var errNotAnswered = errors.New("the follower has not answered")

// passed wraps a read of the public API: the leader passes it on to the followers in turn, where it is to do so and one is
// fit. A read is passed on once at most: what comes from a leader is answered by whoever gets it.
func (s *Server) passed(local http.HandlerFunc) http.HandlerFunc {
	if s.cfg.LeaderReads != ReadsProxy && s.cfg.LeaderReads != ReadsRedirect {
		return local
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.writes().Leading() || s.draining.Load() || r.URL.Query().Has(passedParam) {
			local(w, r)
			return
		}
		pod, ok := s.followers.next(s.fitFollowers)
		switch {
		case !ok:
			s.metrics.passed.WithLabelValues("nobody").Inc()
			local(w, r)
		case s.cfg.LeaderReads == ReadsRedirect:
			s.redirect(w, r, pod, local)
		default:
			s.proxy(w, r, pod, local)
		}
	}
}

// redirect sends the client to the same address at pod.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, pod string, local http.HandlerFunc) {
	base, err := s.cfg.PublicURL(pod)
	if err != nil {
		local(w, r)
		return
	}
	q := r.URL.Query()
	q.Set(passedParam, s.cfg.Pod)
	s.metrics.passed.WithLabelValues("redirected").Inc()
	w.Header().Set("Location", base+r.URL.EscapedPath()+"?"+q.Encode())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// proxy has pod answer, on its internal listener, where nothing is passed on. If it does not begin to in time, this replica
// answers itself.
func (s *Server) proxy(w http.ResponseWriter, r *http.Request, pod string, local http.HandlerFunc) {
	base, err := s.cfg.InternalURL(pod)
	if err != nil {
		local(w, r)
		return
	}
	to, err := url.Parse(base)
	if err != nil {
		local(w, r)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	late := time.AfterFunc(s.passLimit, cancel)
	defer late.Stop()
	p := httputil.ReverseProxy{
		Transport: s.client.Transport,
		ErrorLog:  s.proxyLog,
		Rewrite:   func(pr *httputil.ProxyRequest) { pr.SetURL(to) },
		ModifyResponse: func(resp *http.Response) error {
			if !late.Stop() || resp.StatusCode >= http.StatusInternalServerError {
				return errNotAnswered
			}
			s.metrics.passed.WithLabelValues("answered").Inc()
			clear(w.Header()) // they are the follower's to set
			w.Header().Set(headerForwardedBy, s.cfg.Pod)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			s.metrics.passed.WithLabelValues("unanswered").Inc()
			s.followers.drop(pod)
			local(w, r)
		},
	}
	p.ServeHTTP(w, r.WithContext(ctx))
}

// fitFollowers asks the replicas which of them can take reads.
func (s *Server) fitFollowers() (fit []string) {
	ctx, cancel := context.WithTimeout(context.Background(), statusLimit)
	defer cancel()
	members, err := s.cfg.Members(ctx)
	if err != nil {
		return nil // this replica answers itself
	}
	own := s.cfg.Store.Reached()
	for i, st := range s.askAll(ctx, members) {
		if pod := members[i].Pod; pod != s.cfg.Pod && st.Ready && st.Revision+caughtUp >= own {
			fit = append(fit, pod)
		}
	}
	return fit
}

// followers are those that can take reads, as far as the leader knows.
type followers struct {
	mu      sync.Mutex
	fit     []string
	seen    time.Time
	looking bool
	turn    int
}

// next returns the follower whose turn it is. It never waits: while nobody has looked lately, there is none.
func (f *followers) next(look func() []string) (pod string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.seen) > lookEvery && !f.looking {
		f.looking = true
		go f.refresh(look)
	}
	if len(f.fit) == 0 || time.Since(f.seen) > lookedFor {
		return "", false
	}
	f.turn++
	return f.fit[f.turn%len(f.fit)], true
}

func (f *followers) refresh(look func() []string) {
	fit := look()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fit, f.seen, f.looking = fit, time.Now(), false
}

// drop passes nothing on to pod until it is found fit again.
func (f *followers) drop(pod string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fit = slices.DeleteFunc(slices.Clone(f.fit), func(p string) bool { return p == pod })
}
