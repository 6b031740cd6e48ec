//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	clients = 8
	// pace is the least time between two writes of a client.
	pace = 40 * time.Millisecond
	// giveUp is how long a client tries a write before it counts as failed.
	giveUp = time.Minute
	// readmeWait is how long an attempt may take: the server answers within --write-wait, which is 10 s.
	readmeWait = 15 * time.Second
	// hastyWait is for tests in which pods vanish without a word, and their connections with them.
	hastyWait = 3 * time.Second
)

// How long no write may be acknowledged. The bounds are generous: they tell one way of changing the leader from a
// worse one, and docs/FAILOVER.md says how long it takes.
const (
	// inOrder is for leaders that hand over, or are not concerned.
	inOrder = 3 * time.Second
	// takenOver is for leaders that vanish. The Lease alone would take 15 s.
	takenOver = 10 * time.Second
)

// load is clients that write through the Service, each write again under its own idempotency key for as long as
// the README says to. Every other write creates a key of its own, which can succeed once; the ones between count
// a counter up on the condition that it is what the client left.
type load struct {
	base    string
	prefix  string
	hasty   bool // a timeout is one more reason to try again
	maxGap  time.Duration
	http    []*http.Client // one a client, with a connection of its own
	started time.Time
	stop    context.CancelFunc
	working sync.WaitGroup

	mu      sync.Mutex
	acks    []time.Time
	created map[string]string // acknowledged
	counts  map[string]int    // acknowledged, by counter
	open    map[string]bool   // counters with a write whose outcome is not known
	failed  []string
	wrong   []string // answers that a write applied twice or lost would get
	lost    []string
}

// startLoad starts the clients, and returns when the first writes are acknowledged.
func startLoad(t *testing.T, wait time.Duration) *load {
	t.Helper()
	base, err := set.serviceURL(t.Context(), "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{
		base: base, prefix: fmt.Sprintf("e2e/%s/%s/", t.Name(), rand.Text()[:6]), hasty: wait == hastyWait, started: time.Now(), stop: stop,
		created: map[string]string{}, counts: map[string]int{}, open: map[string]bool{},
	}
	for range clients {
		client, err := set.route.keepAlive(wait)
		if err != nil {
			t.Fatal(err)
		}
		l.http = append(l.http, client)
	}
	for i := range clients {
		l.working.Go(func() { l.run(ctx, i) })
	}
	t.Cleanup(l.end)
	l.more(t, 2*clients)
	return l
}

// end lets the writes under way finish and starts no more.
func (l *load) end() {
	l.stop()
	l.working.Wait()
	for _, client := range l.http {
		client.CloseIdleConnections()
	}
}

// more waits until n more writes have been acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	before := l.acknowledged()
	eventually(t, func(context.Context) error {
		if now := l.acknowledged(); now < before+n {
			return fmt.Errorf("%d more writes have been acknowledged, not %d: %v", now-before, n, l.failures())
		}
		return nil
	})
}

func (l *load) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks)
}

func (l *load) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed)
}

// longestGap is the longest time without an acknowledged write since the clients started.
func (l *load) longestGap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	acks := slices.Clone(l.acks)
	slices.SortFunc(acks, time.Time.Compare)
	longest, before := time.Duration(0), l.started
	for _, at := range acks {
		longest, before = max(longest, at.Sub(before)), at
	}
	return longest
}

func (l *load) run(ctx context.Context, number int) {
	next := time.NewTicker(pace)
	defer next.Stop()
	c := counter{key: fmt.Sprintf("%scounter-%d", l.prefix, number)}
	for n := 0; ; n++ {
		if n%2 == 0 {
			l.create(l.http[number], fmt.Sprintf("%s%d/%d", l.prefix, number, n))
		} else {
			l.increment(l.http[number], &c)
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) create(client *http.Client, key string) {
	value := "value of " + key
	a, err := l.write(client, http.MethodPost, key, value, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.failed = append(l.failed, fmt.Sprintf("create %s: %v", key, err))
	case a.status != http.StatusCreated:
		l.wrong = append(l.wrong, fmt.Sprintf("%s exists, though this client alone creates it, once: %d %s", key, a.status, a.body))
	default:
		l.acks = append(l.acks, time.Now())
		l.created[key] = value
	}
}

// counter is a key that one client alone counts up.
type counter struct {
	key   string
	count int
	etag  string // of the value that the client left; "" before the first
	lost  bool   // what became of the last write is not known: it counts no more
}

func (l *load) increment(client *http.Client, c *counter) {
	if c.lost {
		return
	}
	condition := http.Header{"If-None-Match": {"*"}}
	if c.etag != "" {
		condition = http.Header{"If-Match": {c.etag}}
	}
	a, err := l.write(client, http.MethodPut, c.key, strconv.Itoa(c.count+1), condition)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		c.lost, l.open[c.key] = true, true
		l.failed = append(l.failed, fmt.Sprintf("count %s to %d: %v", c.key, c.count+1, err))
	case a.status != http.StatusOK:
		c.lost = true
		l.wrong = append(l.wrong, fmt.Sprintf("%s is not what this client left, %d: %s", c.key, c.count, a.body))
	default:
		c.count, c.etag = c.count+1, a.header.Get("ETag")
		l.acks = append(l.acks, time.Now())
		l.counts[c.key] = c.count
	}
}

// write makes one write, again and again until its outcome is known or too much time has passed.
func (l *load) write(client *http.Client, method, key, value string, condition http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	id := rand.Text()
	var reasons []string
	for {
		a, err := l.attempt(ctx, client, method, key, value, id, condition)
		if err == nil && decided(a.status) {
			return a, nil
		}
		wait, again := l.again(a, err)
		if err == nil {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		reasons = append(reasons, err.Error())
		if !again || !pause(ctx, wait) {
			return answer{}, errors.New(strings.Join(slices.Compact(reasons), "; then "))
		}
	}
}

// decided tells whether the outcome of the write is known by an answer of this status.
func decided(status int) bool {
	return slices.Contains([]int{http.StatusOK, http.StatusCreated, http.StatusConflict, http.StatusPreconditionFailed}, status)
}

// pause waits, and tells whether ctx is not yet done.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *load) attempt(ctx context.Context, client *http.Client, method, key, value, id string, condition http.Header) (answer, error) {
	target := l.base + "/v1/kv/" + (&url.URL{Path: key}).EscapedPath()
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(value))
	if err != nil {
		return answer{}, err
	}
	for name, values := range condition {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Idempotency-Key", id)
	return send(client, req)
}

// again says whether the README asks for another attempt, and after which time.
func (l *load) again(a answer, err error) (time.Duration, bool) {
	const soon = 100 * time.Millisecond
	if err != nil {
		refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
		return soon, refused || l.hasty
	}
	again := slices.Contains([]int{http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests}, a.status)
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil {
		return time.Duration(seconds) * time.Second, again
	}
	return soon, again
}
