package workload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
)

const maxAnswer = 16 << 20

// request is what is sent, to whichever replica.
type request struct {
	method string
	path   string // with its query
	header map[string]string
	body   []byte
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is what an answer says of a request that did not succeed.
type problem struct {
	Detail  string `json:"detail"`
	Applied string `json:"applied"`
}

func (a answer) problem() (p problem) {
	_ = json.Unmarshal(a.body, &p) // an answer without one says nothing
	return p
}

// String is the status and the problem's detail.
func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.problem().Detail))
}

// send sends r to the replica at url. Where there is no answer, sent says whether the replica may have the request all
// the same.
func send(ctx context.Context, client *http.Client, url string, r request) (a answer, sent bool, err error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, r.method, url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, false, err
	}
	// Net/http would send a request with an idempotency key again by itself when its connection breaks. Then an answer that says
	// that nothing was applied by this request would say nothing of the first one.
	req.GetBody = nil
	if len(r.body) == 0 {
		req.Body = http.NoBody
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, connected.Load(), err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, resp.Header, body}, true, err
}

var errToken = errors.New("not a revision")

func parseToken(token string) (revision int64, tag string, err error) {
	number, tag, ok := strings.Cut(token, "-")
	revision, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || revision < 1 || tag == "" {
		return 0, "", fmt.Errorf("%w: %q", errToken, token)
	}
	return revision, tag, nil
}
