package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/leasehold/leasehold/test/chaos/check"
)

const (
	finalAttempt = 15 * time.Second
	finalPage    = "1000"
)

// Read reads what each replica holds, all of it, and at the same revision. It repeats what gets no answer until ctx is
// done.
func Read(ctx context.Context, client *http.Client, urls []string) (check.Final, error) {
	for {
		f, err := readOnce(ctx, client, urls)
		if err == nil {
			return f, nil
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return check.Final{}, fmt.Errorf("read the final state: %w", err)
		}
	}
}

func readOnce(ctx context.Context, client *http.Client, urls []string) (f check.Final, err error) {
	if len(urls) == 0 {
		return f, nil
	}
	newest, err := readPage(ctx, client, urls[0], url.Values{"limit": {"1"}, "consistency": {"linearizable"}}, "")
	if err != nil {
		return f, err
	}
	if f.Revision, _, err = parseToken(newest.Revision); err != nil {
		return f, err
	}
	for _, u := range urls {
		r, err := readReplica(ctx, client, u, newest.Revision)
		if err != nil {
			return f, err
		}
		f.Replicas = append(f.Replicas, r)
	}
	return f, nil
}

// readReplica reads all that the replica at base holds at a revision.
func readReplica(ctx context.Context, client *http.Client, base, revision string) (r check.Replica, err error) {
	query := url.Values{"limit": {finalPage}, "revision": {revision}}
	for {
		p, err := readPage(ctx, client, base, query, revision)
		if err != nil {
			return r, err
		}
		if p.Revision != revision {
			return r, fmt.Errorf("%s answered as of revision %s when asked for %s", base, p.Revision, revision)
		}
		r.Name = p.servedBy
		for _, e := range p.Entries {
			written, _, err := parseToken(e.Revision)
			if err != nil {
				return r, err
			}
			r.Entries = append(r.Entries, check.Entry{Key: e.Key, Value: e.Value, Revision: written})
		}
		if p.Next == nil {
			return r, nil
		}
		query.Set("after", *p.Next)
	}
}

// page is a page of a listing.
type page struct {
	Revision string  `json:"revision"`
	Next     *string `json:"next"`
	Entries  []struct {
		Key      string `json:"key"`
		Value    string `json:"value"`
		Revision string `json:"revision"`
	} `json:"entries"`
	servedBy string
}

func readPage(ctx context.Context, client *http.Client, base string, query url.Values, atLeast string) (p page, err error) {
	ctx, cancel := context.WithTimeout(ctx, finalAttempt)
	defer cancel()
	r := request{method: http.MethodGet, path: "/v1/kv?" + query.Encode(), header: map[string]string{}}
	if atLeast != "" {
		r.header["Leasehold-Min-Revision"] = atLeast
	}
	a, _, err := send(ctx, client, base, r)
	if err != nil {
		return p, err
	}
	if a.status != http.StatusOK {
		return p, fmt.Errorf("%s%s: %s", base, r.path, a)
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		return p, fmt.Errorf("%s%s: %w", base, r.path, err)
	}
	p.servedBy = a.header.Get("Leasehold-Served-By")
	return p, nil
}
