package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/leasehold/leasehold/internal/store"
)

const (
	encodingUTF8   = "utf-8"
	encodingBase64 = "base64"

	defaultPage = 100
	maxPage     = 1000

	// readLimit is how long a read may take: one that a majority is to confirm waits for one.
	readLimit = 10 * time.Second

	headerExpires = "Leasehold-Expires"
)

// get answers with the value as it was stored.
func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	key, err := pathKey(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	o, err := s.readOptions(r, "revision", "consistency", passedParam)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	e, revision, err := s.cfg.Store.Get(ctx, key, o)
	if revision != 0 {
		s.setRevision(w.Header(), revision)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeEntry(w, r, e)
}

func (s *Server) writeEntry(w http.ResponseWriter, r *http.Request, e store.Entry) {
	h := w.Header()
	etag := `"` + s.cfg.Store.FormatRevision(e.Revision) + `"`
	h.Set("ETag", etag)
	h.Set("X-Content-Type-Options", "nosniff")
	if !e.Expires.IsZero() {
		h.Set(headerExpires, e.Expires.Format(time.RFC3339Nano))
	}
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	contentType := e.ContentType
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(e.Value)))
	_, _ = w.Write(e.Value) // a client that is gone cannot be told
}

// entryBody is an entry in a listing or an event.
type entryBody struct {
	Key         string     `json:"key"`
	Value       string     `json:"value"`
	Encoding    string     `json:"encoding"`
	ContentType string     `json:"content_type"`
	Revision    string     `json:"revision"`
	ExpiresAt   *time.Time `json:"expires_at"`
}

func (s *Server) entryBody(e store.Entry) entryBody {
	b := entryBody{
		Key: e.Key, Value: string(e.Value), Encoding: encodingUTF8,
		ContentType: e.ContentType, Revision: s.cfg.Store.FormatRevision(e.Revision),
	}
	if !utf8.Valid(e.Value) {
		b.Value, b.Encoding = base64.StdEncoding.EncodeToString(e.Value), encodingBase64
	}
	if !e.Expires.IsZero() {
		b.ExpiresAt = &e.Expires
	}
	return b
}

type pageBody struct {
	Revision string      `json:"revision"`
	Entries  []entryBody `json:"entries"`
	// Next is what to pass as after for the next page; null on the last.
	Next *string `json:"next"`
}

// list answers with a page of entries.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	o, err := s.readOptions(r, "revision", "consistency", "prefix", "after", "limit", passedParam)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q := r.URL.Query()
	limit, err := parseLimit(q.Get("limit"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readLimit)
	defer cancel()
	page, err := s.cfg.Store.List(ctx, q.Get("prefix"), q.Get("after"), limit, o)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.setRevision(w.Header(), page.Revision)
	body := pageBody{Revision: s.cfg.Store.FormatRevision(page.Revision), Entries: make([]entryBody, 0, len(page.Entries))}
	for _, e := range page.Entries {
		body.Entries = append(body.Entries, s.entryBody(e))
	}
	if page.Next != "" {
		body.Next = &page.Next
	}
	answerJSON(w, body)
}

func parseLimit(text string) (int, error) {
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, badRequest(fmt.Sprintf("The limit %q is not a number between 1 and %d.", text, maxPage))
	}
	return n, nil
}

// readOptions reads how fresh or how old a read is to be. names are the parameters that the address takes.
func (s *Server) readOptions(r *http.Request, names ...string) (store.ReadOptions, error) {
	var o store.ReadOptions
	if err := onlyQuery(r, names...); err != nil {
		return o, err
	}
	q := r.URL.Query()
	switch c := q.Get("consistency"); c {
	case "", "local":
	case "linearizable":
		o.Linearizable = true
	default:
		return o, badRequest(fmt.Sprintf(`The consistency %q is unknown; it may be "local" or "linearizable".`, c))
	}
	var err error
	if o.Revision, err = s.optionalRevision(q.Get("revision")); err != nil {
		return o, err
	}
	o.MinRevision, err = s.optionalRevision(r.Header.Get(headerMinRevision))
	return o, err
}

func (s *Server) optionalRevision(token string) (int64, error) {
	if token == "" {
		return 0, nil
	}
	return s.cfg.Store.ParseRevision(token)
}
