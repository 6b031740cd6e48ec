package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

const (
	// keepAlive is how often a comment is sent, so that a dead connection is noticed.
	keepAlive = 15 * time.Second
	// watchWriteLimit is how long a client may take to read an event.
	watchWriteLimit = 10 * time.Second
	// streamPortion is how much is sent at once.
	streamPortion = 64 << 10
)

// watch streams changes as server-sent events. The id of an event is the revision after which to resume; it
// is sent with the last event of a revision only, so that a stream that is cut in between repeats a revision
// and loses nothing.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	after, err := s.resumeAfter(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	from, changes, err := s.cfg.Store.Watch(r.Context(), r.URL.Query().Get("prefix"), after)
	if err != nil {
		s.fail(w, r, s.compacted(r.Context(), err))
		return
	}
	s.metrics.watches.Inc()
	defer s.metrics.watches.Dec()
	st := &stream{s: s, w: w, control: http.NewResponseController(w), at: from}
	h := w.Header()
	s.setRevision(h, from)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	st.send(fmt.Sprintf("retry: 1000\nid: %s\n\n", s.cfg.Store.FormatRevision(from)))
	tick := time.NewTicker(s.keepAlive)
	defer tick.Stop()
	for st.err == nil {
		select {
		case c, ok := <-changes:
			if !ok {
				return
			}
			st.changes(r.Context(), c)
		case <-tick.C:
			st.send(": still here\n\n")
		case <-s.streams.Done():
			return
		case <-r.Context().Done():
			return
		}
	}
}

// resumeAfter is the revision after which the client wants events; 0 for from now on.
func (s *Server) resumeAfter(r *http.Request) (int64, error) {
	if err := onlyQuery(r, "prefix", "revision"); err != nil {
		return 0, err
	}
	token := r.Header.Get("Last-Event-ID")
	if token == "" {
		token = r.URL.Query().Get("revision")
	}
	after, err := s.optionalRevision(token)
	if errors.Is(err, store.ErrForeignRevision) {
		return 0, s.compacted(r.Context(), store.ErrCompacted) // that history is not to be had here either
	}
	return after, err
}

// compacted adds to ErrCompacted from where the client can go on.
func (s *Server) compacted(ctx context.Context, err error) error {
	if !errors.Is(err, store.ErrCompacted) {
		return err
	}
	p := problemOf(store.ErrCompacted)
	// Not Reached: that may be a moment behind, and before what has been compacted.
	if revision, err := s.cfg.Store.Revision(ctx); err == nil {
		p.Revision = s.cfg.Store.FormatRevision(revision)
	}
	return p
}

// stream writes events until the client is gone.
type stream struct {
	s       *Server
	w       http.ResponseWriter
	control *http.ResponseController
	at      int64 // the revision of the last id sent
	err     error
}

func (st *stream) changes(ctx context.Context, c store.Changes) {
	if c.Err != nil {
		st.send("event: error\ndata: " + mustJSON(problemOf(st.s.compacted(ctx, c.Err))) + "\n\n")
		st.err = c.Err
		return
	}
	if len(c.Events) == 0 && c.Revision > st.at {
		st.at = c.Revision
		st.send("id: " + st.s.cfg.Store.FormatRevision(c.Revision) + "\n\n") // nothing has happened up to here
		return
	}
	var text strings.Builder
	for _, e := range c.Events {
		text.WriteString(st.event(e))
		if text.Len() >= streamPortion {
			st.send(text.String())
			text.Reset()
		}
	}
	if text.Len() > 0 {
		st.send(text.String())
	}
}

func (st *stream) event(e store.Event) string {
	text := ""
	if e.Last {
		st.at = e.Entry.Revision
		text = "id: " + st.s.cfg.Store.FormatRevision(e.Entry.Revision) + "\n"
	}
	if e.Deleted {
		return text + "event: delete\ndata: " + mustJSON(struct {
			Key      string `json:"key"`
			Revision string `json:"revision"`
		}{e.Entry.Key, st.s.cfg.Store.FormatRevision(e.Entry.Revision)}) + "\n\n"
	}
	return text + "event: put\ndata: " + mustJSON(st.s.entryBody(e.Entry)) + "\n\n"
}

func (st *stream) send(text string) {
	if st.err != nil {
		return
	}
	if st.err = st.control.SetWriteDeadline(time.Now().Add(st.s.watchWriteLimit)); st.err != nil {
		return
	}
	if _, st.err = st.w.Write([]byte(text)); st.err == nil {
		st.err = st.control.Flush()
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // payloads are structs of strings, numbers and times
	}
	return string(b)
}
