package lab

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const transferLimit = 30 * time.Second

// Transfer asks a replica to have leadership moved, to the named one unless to is "". It takes 30 s at most.
func Transfer(ctx context.Context, client *http.Client, through *Replica, to string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	body := map[string]string{}
	if to != "" {
		body["to"] = to
	}
	text, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, through.URL+"/v1/leader/transfer", strings.NewReader(string(text)))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	return Send(client, req)
}
