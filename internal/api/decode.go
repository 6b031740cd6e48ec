package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	"golang.org/x/net/http/httpguts"

	"github.com/leasehold/leasehold/internal/store"
)

// maxContentTypeBytes bounds what is stored beside a value and sent back as a header.
const maxContentTypeBytes = 256

// maxTTL is ten years: beyond it a time to live is more likely a mistake.
const maxTTL = 10 * 365 * 24 * time.Hour

// decoder checks a request and makes a command of it. Whatever is wrong with the request is found here, on
// the replica that received it.
type decoder func(r *http.Request, body []byte) (command, error)

// command is what the leader is to do.
type command interface {
	// election is the one whose leader that is.
	election() string
	// run does it on this replica. It is called only where this replica may lead.
	run(s *Server, r *http.Request, id store.ID, client bool) (answerFunc, error)
}

// answerFunc writes the response to a command that has an outcome.
type answerFunc func(w http.ResponseWriter, r *http.Request)

// writeCommand is a write to the store.
type writeCommand struct {
	// fill adds conditions and operations. It is called when the write is about to be decided: a time to live
	// counts from then.
	fill func(w *store.Write, now time.Time)
	hash [16]byte
	// success is the status where the write was applied; refusal is the problem where a condition kept it
	// from that.
	success int
	refusal problem
	body    bool // answer with a body
}

func (s *Server) decodePut(r *http.Request, body []byte) (command, error) {
	return s.decodeValue(r, body)
}

func (s *Server) decodeValue(r *http.Request, body []byte) (writeCommand, error) {
	key, err := pathKey(r)
	if err != nil {
		return writeCommand{}, err
	}
	condition, err := s.precondition(r, key)
	if err != nil {
		return writeCommand{}, err
	}
	if err := onlyQuery(r, "ttl"); err != nil {
		return writeCommand{}, err
	}
	ttl, err := parseTTL(r.URL.Query().Get("ttl"))
	if err != nil {
		return writeCommand{}, err
	}
	contentType := r.Header.Get("Content-Type")
	if len(contentType) > maxContentTypeBytes {
		return writeCommand{}, badRequest(fmt.Sprintf("The Content-Type is longer than %d bytes.", maxContentTypeBytes))
	}
	entry := store.Entry{Key: key, Value: body, ContentType: contentType}
	return writeCommand{
		hash: fingerprint(r, body), success: http.StatusOK, refusal: preconditionFailed, body: true,
		fill: func(w *store.Write, now time.Time) {
			require(w, condition)
			w.Put(expiring(entry, ttl, now))
		},
	}, nil
}

func (s *Server) decodeCreate(r *http.Request, body []byte) (command, error) {
	if len(r.Header.Values("If-Match"))+len(r.Header.Values("If-None-Match")) > 0 {
		return nil, badRequest("POST creates a key that does not exist and takes no other condition. Use PUT with If-Match or If-None-Match.")
	}
	put, err := s.decodeValue(r, body)
	if err != nil {
		return nil, err
	}
	key, _ := pathKey(r) // checked by decodeValue
	fill := put.fill
	put.success = http.StatusCreated
	put.refusal = problem{Status: http.StatusConflict, Applied: appliedNo, Detail: "The key exists already. Use PUT to replace its value."}
	put.fill = func(w *store.Write, now time.Time) {
		w.Require(store.Condition{Key: key, Revision: store.Absent})
		fill(w, now)
	}
	return put, nil
}

func (s *Server) decodeDelete(r *http.Request, body []byte) (command, error) {
	if err := onlyQuery(r); err != nil {
		return nil, err
	}
	key, err := pathKey(r)
	if err != nil {
		return nil, err
	}
	condition, err := s.precondition(r, key)
	if err != nil {
		return nil, err
	}
	return writeCommand{
		hash: fingerprint(r, body), success: http.StatusNoContent, refusal: preconditionFailed,
		fill: func(w *store.Write, _ time.Time) {
			require(w, condition)
			w.Delete(key)
		},
	}, nil
}

var preconditionFailed = problem{
	Status: http.StatusPreconditionFailed, Applied: appliedNo,
	Detail: "The condition does not hold: the key has been written since, or is not as required. Read it again.",
}

func require(w *store.Write, c *store.Condition) {
	if c != nil {
		w.Require(*c)
	}
}

func expiring(e store.Entry, ttl time.Duration, now time.Time) store.Entry {
	if ttl > 0 {
		e.Expires = now.Add(ttl).Truncate(time.Millisecond)
	}
	return e
}

// transactionBody is what POST /v1/kv takes.
type transactionBody struct {
	If   []conditionBody `json:"if"`
	Then []operationBody `json:"then"`
}

type conditionBody struct {
	Key      string  `json:"key"`
	Revision *string `json:"revision"`
	Exists   *bool   `json:"exists"`
}

type operationBody struct {
	Put    *putBody    `json:"put"`
	Delete *deleteBody `json:"delete"`
}

type putBody struct {
	Key         string `json:"key"`
	Value       string `json:"value"`
	Encoding    string `json:"encoding"`
	ContentType string `json:"content_type"`
	TTL         string `json:"ttl"`
}

type deleteBody struct {
	Key string `json:"key"`
}

func (s *Server) decodeTransaction(r *http.Request, body []byte) (command, error) {
	if err := onlyQuery(r); err != nil {
		return nil, err
	}
	var t transactionBody
	if err := decodeJSON(body, &t); err != nil {
		return nil, err
	}
	if len(t.Then) == 0 {
		return nil, badRequest(`There is nothing to do: "then" is empty.`)
	}
	conditions, err := s.decodeConditions(t.If)
	if err != nil {
		return nil, err
	}
	puts, deletes, err := decodeOperations(t.Then)
	if err != nil {
		return nil, err
	}
	return writeCommand{
		hash: fingerprint(r, body), success: http.StatusOK, refusal: preconditionFailed, body: true,
		fill: func(w *store.Write, now time.Time) {
			for _, c := range conditions {
				w.Require(c)
			}
			for _, p := range puts {
				w.Put(expiring(p.entry, p.ttl, now))
			}
			for _, key := range deletes {
				w.Delete(key)
			}
		},
	}, nil
}

func (s *Server) decodeConditions(bodies []conditionBody) ([]store.Condition, error) {
	var conditions []store.Condition
	for i, b := range bodies {
		if err := store.CheckKey(b.Key); err != nil {
			return nil, err
		}
		switch {
		case (b.Revision == nil) == (b.Exists == nil):
			return nil, badRequest(fmt.Sprintf(`Condition %d must have either "revision" or "exists".`, i+1))
		case b.Exists != nil:
			conditions = append(conditions, store.Condition{Key: b.Key, Revision: existence(*b.Exists)})
		default:
			revision, err := s.conditionRevision(*b.Revision)
			if err != nil {
				return nil, err
			}
			conditions = append(conditions, store.Condition{Key: b.Key, Revision: revision})
		}
	}
	return conditions, nil
}

func existence(exists bool) int64 {
	if exists {
		return store.Exists
	}
	return store.Absent
}

type putOperation struct {
	entry store.Entry
	ttl   time.Duration
}

func decodeOperations(bodies []operationBody) (puts []putOperation, deletes []string, err error) {
	seen := map[string]bool{}
	for i, b := range bodies {
		var key string
		switch {
		case (b.Put == nil) == (b.Delete == nil):
			return nil, nil, badRequest(fmt.Sprintf(`Operation %d must be either a "put" or a "delete".`, i+1))
		case b.Put != nil:
			key = b.Put.Key
			p, err := b.Put.decode()
			if err != nil {
				return nil, nil, err
			}
			puts = append(puts, p)
		default:
			key = b.Delete.Key
			deletes = append(deletes, key)
		}
		if err := store.CheckKey(key); err != nil {
			return nil, nil, err
		}
		if seen[key] {
			return nil, nil, badRequest(fmt.Sprintf("The key %q is named twice; a transaction writes a key once.", key))
		}
		seen[key] = true
	}
	return puts, deletes, nil
}

func (b *putBody) decode() (putOperation, error) {
	ttl, err := parseTTL(b.TTL)
	if err != nil {
		return putOperation{}, err
	}
	if len(b.ContentType) > maxContentTypeBytes || !httpguts.ValidHeaderFieldValue(b.ContentType) {
		return putOperation{}, badRequest(fmt.Sprintf("The content type of %q cannot be sent back in a header.", b.Key))
	}
	value := []byte(b.Value)
	switch b.Encoding {
	case "", encodingUTF8:
	case encodingBase64:
		if value, err = base64.StdEncoding.DecodeString(b.Value); err != nil {
			return putOperation{}, badRequest(fmt.Sprintf("The value of %q is not base64: %v.", b.Key, err))
		}
	default:
		return putOperation{}, badRequest(fmt.Sprintf("The encoding %q is unknown; it may be %q or %q.", b.Encoding, encodingUTF8, encodingBase64))
	}
	return putOperation{entry: store.Entry{Key: b.Key, Value: value, ContentType: b.ContentType}, ttl: ttl}, nil
}

func decodeJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return badRequest(`The body is not UTF-8, as JSON has to be. Send binary values with "encoding": "base64".`)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest(fmt.Sprintf("The body is not the JSON that is expected here: %v.", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("The body has more than one JSON value.")
	}
	return nil
}

// pathKey is the key in the path, exactly as the client wrote it: slashes, dots and escapes are its own.
func pathKey(r *http.Request) (string, error) {
	key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/kv/"))
	if err != nil {
		return "", badRequest("The key in the path is not escaped properly.")
	}
	return key, store.CheckKey(key)
}

// onlyQuery refuses parameters that the address does not take: a mistyped ttl must not store for ever.
func onlyQuery(r *http.Request, names ...string) error {
	for name := range r.URL.Query() {
		if !slices.Contains(names, name) {
			return badRequest(fmt.Sprintf("The parameter %q is not taken here.", name))
		}
	}
	return nil
}

// precondition reads If-Match and If-None-Match; nil if there is neither.
func (s *Server) precondition(r *http.Request, key string) (*store.Condition, error) {
	match, none := r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	switch {
	case len(match)+len(none) == 0:
		return nil, nil //nolint:nilnil // no condition is a condition that always holds
	case len(match)+len(none) > 1, strings.Contains(r.Header.Get("If-Match"), ","):
		return nil, badRequest("Only one If-Match or If-None-Match is taken.")
	case len(none) == 1 && none[0] != "*":
		return nil, badRequest("If-None-Match of a write takes only *.")
	case len(none) == 1:
		return &store.Condition{Key: key, Revision: store.Absent}, nil
	case match[0] == "*":
		return &store.Condition{Key: key, Revision: store.Exists}, nil
	}
	revision, err := s.conditionRevision(strings.Trim(match[0], `"`))
	if err != nil {
		return nil, err
	}
	return &store.Condition{Key: key, Revision: revision}, nil
}

// conditionRevision reads the revision of a condition. One of another cluster cannot hold.
func (s *Server) conditionRevision(token string) (int64, error) {
	revision, err := s.cfg.Store.ParseRevision(token)
	if errors.Is(err, store.ErrForeignRevision) {
		p := preconditionFailed
		p.Detail = sentence(err) + " So the condition cannot hold."
		return 0, p
	}
	return revision, err
}

func parseTTL(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < time.Millisecond || ttl > maxTTL {
		return 0, badRequest(fmt.Sprintf("The time to live %q is not a duration between 1ms and %s, such as 30s or 24h.", text, maxTTL))
	}
	return ttl, nil
}

// fingerprint is what makes two requests the same: everything that decides what is written.
func fingerprint(r *http.Request, body []byte) [16]byte {
	h := r.Header
	return store.Hash(r.Method, r.URL.EscapedPath(), r.URL.Query().Encode(), h.Get("If-Match"), h.Get("If-None-Match"),
		h.Get("Content-Type"), string(body))
}

// runCommand runs a job of an election at once.
type runCommand struct{ job, of string }

func (s *Server) decodeRun(r *http.Request, _ []byte) (command, error) {
	name := chi.URLParam(r, "name")
	election, ok := s.cfg.Jobs.ElectionOf(name)
	if !ok {
		return nil, problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("There is no job %q; GET /v1/jobs lists them.", name)}
	}
	return runCommand{name, election}, nil
}
