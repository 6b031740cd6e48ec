package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	route        = "/internal/v1/"
	maxBody      = 1 << 20
	admitTimeout = 10 * time.Second
	askedTimeout = 2 * time.Second
)

// Handler returns the routes that the members talk to each other by, under /internal/v1/. They are for pods alone: they can
// change the membership. It works, and has to be served, before Start: that is how the pods find each other. A request for a change is
// answered within admitTimeout, so the server must allow for more.
func (m *Member) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+route+"rollcall", handle(m, askedTimeout, func(context.Context, *http.Request) (any, error) {
		return m.answer(), nil
	}))
	mux.HandleFunc("POST "+route+"plan/accept", handle(m, askedTimeout, m.serveAccept))
	mux.HandleFunc("GET "+route+"members", handle(m, askedTimeout, m.serveMembers))
	mux.HandleFunc("POST "+route+"members", handle(m, admitTimeout, m.serveAdmit))
	mux.HandleFunc("DELETE "+route+"members/{name}", handle(m, admitTimeout, m.serveDismiss))
	return mux
}

// failure is an error that a handler answers with. Leader is set where another pod has to be asked.
type failure struct {
	Code   int    `json:"-"`
	Text   string `json:"error"`
	Leader string `json:"leader,omitempty"`

	cause error
}

func (f *failure) Error() string { return f.Text }

func (f *failure) Unwrap() error { return f.cause }

func failf(code int, format string, args ...any) *failure {
	return &failure{Code: code, Text: fmt.Sprintf(format, args...)}
}

// handle makes a handler of a function that returns what to answer as JSON. A *failure says the status; other errors are 503.
func handle(m *Member, timeout time.Duration, serve func(context.Context, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		code := http.StatusOK
		body, err := serve(ctx, r)
		if err != nil {
			f := &failure{Code: http.StatusServiceUnavailable, Text: err.Error()}
			_ = errors.As(err, &f)
			code, body = f.Code, f
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			m.log.Debug("answer not sent", zap.String("path", r.URL.Path), zap.Error(err))
		}
	}
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return failf(http.StatusBadRequest, "the body is not the JSON that is expected: %v", err)
	}
	return nil
}

// newHTTPClient returns a client for the internal ports. A pod that is gone must not hold a call up, so each call, and they are few, has
// a connection of its own: one that was kept may lead to where the pod has been. No proxy knows the pods.
func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout: admitTimeout + askTimeout,
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: askTimeout}).DialContext,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call makes a request of a pod's internal port. An answer other than 200 is returned as a *failure.
func (m *Member) call(ctx context.Context, method, pod, path string, in, out any) error {
	base, err := m.cfg.Peers.InternalURL(pod)
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, base+route+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	limited := io.LimitReader(resp.Body, maxBody)
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(limited).Decode(out)
	}
	f := &failure{}
	if err := json.NewDecoder(limited).Decode(f); err != nil || f.Text == "" {
		f.Text = resp.Status
	}
	f.Code = resp.StatusCode
	return f
}
