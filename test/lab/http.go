package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const maxAnswer = 1 << 20

// Answer is what came of a request.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// String is the status and the problem's detail.
func (a Answer) String() string {
	var problem struct{ Detail string }
	_ = json.Unmarshal(a.Body, &problem) // without a detail the status has to do
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, problem.Detail))
}

// Send sends a request and reads the answer, of which it keeps a mebibyte at most.
func Send(client *http.Client, req *http.Request) (Answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return Answer{resp.StatusCode, resp.Header, body}, err
}
