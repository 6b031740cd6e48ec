package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Handler opens the bundles that come to Path, and has next serve their requests, all at the same time, and any other
// request. A bundle that cannot be read to its end is refused with 400 or 413, and nothing of it is served.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != Path {
			next.ServeHTTP(w, r)
			return
		}
		requests, err := open(http.MaxBytesReader(w, r.Body, maxTakenBytes), r)
		if err != nil {
			status := http.StatusBadRequest
			if errors.As(err, new(*http.MaxBytesError)) {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		for _, a := range serve(next, requests) {
			if err := a.write(w); err != nil {
				return // whoever asked is gone
			}
		}
	})
}

// open reads the requests of the bundle that outer has brought.
func open(content io.Reader, outer *http.Request) ([]*http.Request, error) {
	r := bufio.NewReader(content)
	var requests []*http.Request
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return requests, nil
		}
		if len(requests) == maxRequests {
			return nil, fmt.Errorf("a bundle of more than %d requests", maxRequests)
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return nil, fmt.Errorf("read request %d of a bundle: %w", len(requests), err)
		}
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, fmt.Errorf("read request %d of a bundle: %w", len(requests), err)
		}
		req.Body = io.NopCloser(bytes.NewReader(content))
		req.RemoteAddr = outer.RemoteAddr
		requests = append(requests, req.WithContext(outer.Context()))
	}
}

// serve blocks until all requests are served. A panic goes on in the caller, as if the request had come alone.
func serve(next http.Handler, requests []*http.Request) []*answer {
	answers := make([]*answer, len(requests))
	var wg sync.WaitGroup
	for i, req := range requests {
		a := &answer{request: req, header: http.Header{}}
		answers[i] = a
		wg.Go(func() {
			defer func() { a.panic = recover() }()
			next.ServeHTTP(a, req)
		})
	}
	wg.Wait()
	for _, a := range answers {
		if a.panic != nil {
			panic(a.panic)
		}
	}
	return answers
}

// answer is an http.ResponseWriter that keeps what is written.
type answer struct {
	request *http.Request
	header  http.Header
	status  int // 0 until it is written
	content bytes.Buffer
	panic   any
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.content.Write(p)
}

func (a *answer) write(w io.Writer) error {
	a.WriteHeader(http.StatusOK)
	resp := http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, Request: a.request,
		Header: a.header, Body: io.NopCloser(&a.content), ContentLength: int64(a.content.Len()),
	}
	return resp.Write(w)
}
