package api

import "net/http"

// livez says that the process answers. Neither quorum nor the API server comes into it: restarting this
// process would bring neither back.
func (s *Server) livez(w http.ResponseWriter, _ *http.Request) { plain(w, "ok") }

// readyz says that this replica has caught up since it started, which it had when its store was opened, and does
// not drain. Who leads does not come into it: an election would else leave the Service without a pod.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		s.fail(w, r, problem{Status: http.StatusServiceUnavailable, Detail: "This replica is shutting down."})
		return
	}
	plain(w, "ok")
}

// leaderz is 200 on the leader alone, of the election that is asked for.
func (s *Server) leaderz(w http.ResponseWriter, r *http.Request) {
	election, err := s.electionOf(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !election.Leading() {
		s.fail(w, r, problem{Status: http.StatusServiceUnavailable, Detail: "This replica does not lead."})
		return
	}
	plain(w, "leading")
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text + "\n")) // a prober that is gone cannot be told
}
