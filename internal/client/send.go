package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxAnswer is more than the largest value.
const maxAnswer = 2 << 20

// NewHTTP makes an HTTP client for some requests at a time. Their deadlines are those of their contexts.
func NewHTTP(atATime int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
			MaxIdleConnsPerHost: atATime,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Answer is what came of a request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Send sends a request and reads the answer, of which it keeps two mebibytes at most.
func Send(client *http.Client, req *http.Request) (Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return Answer{resp.StatusCode, resp.Header, body}, err
}

// problem is what an answer says of a request that did not succeed.
type problem struct {
	Detail  string `json:"detail"`
	Applied string `json:"applied"`
}

func (a Answer) problem() (p problem) {
	_ = json.Unmarshal(a.Body, &p) // an answer without one says nothing
	return p
}

// String is the status and the problem's detail.
func (a Answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.problem().Detail))
}
