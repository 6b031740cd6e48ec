package sidecar

import (
	"encoding/json"
	"net/http"
	"time"
)

const (
	// quietEvery is how often a stream says that it is alive, and eventLimit how long a client may take to read an event.
	quietEvery = 15 * time.Second
	eventLimit = 10 * time.Second
)

// leaderBody is what /leader and /events say.
type leaderBody struct {
	Holder  string `json:"holder"`
	Leading bool   `json:"leading"`
	Epoch   uint64 `json:"epoch,omitempty"`
}

// Handler answers who leads. A stream of events ends when closing is closed.
func (s *Sidecar) Handler(closing <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		st, _, _ := s.Status()
		answer(w, http.StatusOK, struct {
			Name string `json:"name"`
		}{st.Holder})
	})
	mux.HandleFunc("GET /leader", func(w http.ResponseWriter, _ *http.Request) {
		st, _, _ := s.Status()
		status := http.StatusOK
		if !st.Leading {
			status = http.StatusNotFound
		}
		answer(w, status, bodyOf(st))
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { s.stream(w, r, closing) })
	return mux
}

func bodyOf(st Status) leaderBody { return leaderBody{st.Holder, st.Leading, st.Epoch} }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that is gone cannot be told
}

// stream sends what is so now, and then each change. Changes that come faster than they are read are left out: the last
// event always tells how it is.
func (s *Sidecar) stream(w http.ResponseWriter, r *http.Request, closing <-chan struct{}) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := eventWriter{w, http.NewResponseController(w)}
	alive := time.NewTicker(quietEvery)
	defer alive.Stop()
	var sent *leaderBody
	for {
		st, led, seen := s.Status()
		if body := bodyOf(st); sent == nil || *sent != body {
			if out.event(body) != nil {
				return
			}
			sent = &body
		}
		expiry := expiryOf(st)
		select {
		case <-led:
		case <-seen:
		case <-expiry.C:
		case <-alive.C:
			if out.send(": alive\n\n") != nil {
				return
			}
		case <-closing:
			return
		case <-r.Context().Done():
			return
		}
		expiry.Stop()
	}
}

// expiryOf fires when st is out of date by itself.
func expiryOf(st Status) *time.Timer {
	if st.Holder == "" {
		return time.NewTimer(quietEvery)
	}
	return time.NewTimer(time.Until(st.Until))
}

type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e eventWriter) event(body leaderBody) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return e.send("event: leader\ndata: " + string(text) + "\n\n")
}

func (e eventWriter) send(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(eventLimit)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}
