package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/store"
)

// What a problem document says of a write.
const (
	appliedNo      = "no"
	appliedUnknown = "unknown"
)

// problem is an RFC 9457 problem document, and an error.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is a sentence for the person who made the request.
	Detail string `json:"detail"`
	// Applied says of a write whether it took effect: "no" or "unknown".
	Applied string `json:"applied,omitempty"`
	// Key is the idempotency key under which the same write may be sent again.
	Key string `json:"idempotency_key,omitempty"`
	// Leader is who leads, as far as this replica knows.
	Leader string `json:"leader,omitempty"`
	// Revision is a revision from which the request would succeed.
	Revision string `json:"revision,omitempty"`

	RetryAfter int `json:"-"` // seconds
}

func (p problem) Error() string { return p.Detail }

func badRequest(detail string) problem {
	return problem{Status: http.StatusBadRequest, Detail: detail}
}

// problemOf is the one place that turns an error into a response.
func problemOf(err error) problem {
	p := explain(err)
	p.Title = http.StatusText(p.Status)
	return p
}

func explain(err error) problem {
	var p problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return problem{
			Status: http.StatusRequestEntityTooLarge,
			Detail: "The body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes.",
		}
	case errors.Is(err, store.ErrNotFound):
		return problem{Status: http.StatusNotFound, Detail: "There is no such key."}
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrBadRevision), errors.Is(err, store.ErrForeignRevision):
		return badRequest(sentence(err))
	case errors.Is(err, store.ErrFutureRevision):
		return badRequest("The revision is not reached yet: no answer of this store can have given it.")
	case errors.Is(err, store.ErrCompacted):
		return problem{Status: http.StatusGone, Detail: "The history at this revision has been dropped. Read the present state and go on from its revision."}
	case errors.Is(err, store.ErrKeyReused):
		return problem{
			Status: http.StatusUnprocessableEntity, Applied: appliedNo,
			Detail: "The idempotency key was used for another request. Use a new key for a new request.",
		}
	case errors.Is(err, store.ErrFull):
		return problem{
			Status: http.StatusInsufficientStorage, Applied: appliedNo,
			Detail: "The store is full. Deletions are still taken; space comes back when history has been compacted.",
		}
	case errors.Is(err, store.ErrBusy):
		return problem{
			Status: http.StatusTooManyRequests, Applied: appliedNo, RetryAfter: 1,
			Detail: "More writes come than are taken. Send this one again, more slowly.",
		}
	case errors.Is(err, jobs.ErrUnknownJob):
		return problem{Status: http.StatusNotFound, Detail: "There is no such job; GET /v1/jobs lists them."}
	case errors.Is(err, member.ErrNotMember):
		return problem{Status: http.StatusNotFound, Detail: refusal(err)}
	case errors.Is(err, member.ErrUnfit), errors.Is(err, election.ErrLeadsAlready), errors.Is(err, election.ErrBusy):
		return problem{Status: http.StatusConflict, Detail: refusal(err)}
	case errors.Is(err, election.ErrNotMoved):
		return problem{Status: http.StatusServiceUnavailable, RetryAfter: 1, Detail: refusal(err)}
	case errors.Is(err, jobs.ErrRunning):
		return problem{Status: http.StatusConflict, Detail: "The job is running already."}
	}
	return problem{Status: http.StatusServiceUnavailable, RetryAfter: 1, Detail: "The store does not answer now. Try again."}
}

// sentence makes an error of the store's into one.
func sentence(err error) string {
	text := err.Error()
	return string(text[0]-'a'+'A') + text[1:] + "."
}

// refusal says why there was no transfer.
func refusal(err error) string { return "Leadership stays where it is: " + err.Error() + "." }

// fail answers with what problemOf makes of err. Only what is not the client's doing is logged.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError && !errors.As(err, new(problem)) {
		s.log.Warn("request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // payloads are structs of strings, numbers and times
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone cannot be told
}

func answerJSON(w http.ResponseWriter, v any) { writeJSON(w, http.StatusOK, "application/json", v) }

// Starting answers a request to a replica whose store is not open yet.
func Starting(w http.ResponseWriter) {
	p := problemOf(problem{
		Status: http.StatusServiceUnavailable, Applied: appliedNo,
		Detail: "This replica is starting. Try again, or ask another replica.",
	})
	w.Header().Set("Retry-After", "1")
	writeJSON(w, p.Status, "application/problem+json", p)
}

// StartingInternal is Starting for another replica: nothing was decided here.
func StartingInternal(w http.ResponseWriter) {
	w.Header().Set(headerOutcome, outcomeNotLeading)
	Starting(w)
}
