package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	clients       = 16
	writesASecond = 200

	// attemptLimit is how long a client waits for an answer: longer than a write is held.
	attemptLimit = 15 * time.Second
	// writeLimit is how long a write is tried, and a read when it is read back.
	writeLimit = time.Minute
	// triedAgain is the pause after an attempt whose answer names none.
	triedAgain = 100 * time.Millisecond
)

// load is clients that write one numbered value after another, in turn to each of the targets. A write is tried
// again, under its one idempotency key, as the API asks for.
type load struct {
	client  *http.Client
	targets []string
	prefix  string // of the keys: no two loads share it
	tally   tally

	stopping  sync.Once
	end, done chan struct{}
}

// newLoadClient makes a client for loads one after another.
func newLoadClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 2 * clients,
		IdleConnTimeout:     time.Minute,
	}}
}

// startLoad writes until stop, or until ctx is done.
func startLoad(ctx context.Context, client *http.Client, targets []string) *load {
	l := &load{client: client, targets: targets, prefix: "failover/" + rand.Text()[:8] + "/", end: make(chan struct{}), done: make(chan struct{})}
	numbers := make(chan int)
	var writing sync.WaitGroup
	for range clients {
		writing.Go(func() {
			for number := range numbers {
				l.write(ctx, number)
			}
		})
	}
	go func() {
		defer close(l.done)
		l.hand(ctx, numbers)
		writing.Wait()
	}()
	return l
}

// stop begins no further write, and returns when those under way have ended.
func (l *load) stop() {
	l.stopping.Do(func() { close(l.end) })
	<-l.done
}

// hand gives out numbers at a bounded rate, and closes the channel at the end.
func (l *load) hand(ctx context.Context, numbers chan<- int) {
	defer close(numbers)
	tick := time.NewTicker(time.Second / writesASecond)
	defer tick.Stop()
	for number := 0; ; number++ {
		select {
		case <-tick.C:
		case <-l.end:
			return
		case <-ctx.Done():
			return
		}
		select {
		case numbers <- number:
		case <-l.end:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) key(number int) string { return fmt.Sprintf("%s%06d", l.prefix, number) }

func (l *load) url(number, attempt int) string {
	return l.targets[(number+attempt)%len(l.targets)] + "/v1/kv/" + l.key(number)
}

// value is different for each number and load.
func (l *load) value(number int) string { return "value of " + l.key(number) }

// write makes one write and notes what became of it.
func (l *load) write(ctx context.Context, number int) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	var reasons []string
	for n := 0; ; n++ {
		if n > 0 {
			l.tally.retry()
		}
		a := l.attempt(ctx, number, n)
		if a.acknowledged {
			l.tally.acknowledge(ack{number, time.Now(), a.epoch})
			return
		}
		reasons = append(reasons, a.reason)
		if !a.again || !lab.Pause(ctx, a.after) {
			l.tally.fail(fmt.Sprintf("%s: %s", l.key(number), strings.Join(slices.Compact(reasons), "; then ")))
			return
		}
	}
}

// outcome is what an attempt came to.
type outcome struct {
	acknowledged bool
	epoch        uint64 // under which the write was decided

	again  bool // it may be sent again
	after  time.Duration
	reason string
}

func (l *load) attempt(ctx context.Context, number, attempt int) outcome {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, l.url(number, attempt), strings.NewReader(l.value(number)))
	if err != nil {
		return outcome{reason: err.Error()}
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Idempotency-Key", strings.ReplaceAll(l.key(number), "/", "-"))
	a, err := lab.Send(l.client, req)
	if err != nil {
		return outcome{again: true, after: triedAgain, reason: err.Error()}
	}
	if a.Status == http.StatusOK {
		epoch, _ := strconv.ParseUint(a.Header.Get("Leasehold-Epoch"), 10, 64) // 0 is no newer one
		return outcome{acknowledged: true, epoch: epoch}
	}
	again, after := mayRetry(a)
	return outcome{again: again, after: after, reason: a.String()}
}

// mayRetry says whether the API asks for a request to be sent again, and when.
func mayRetry(a lab.Answer) (again bool, after time.Duration) {
	again = slices.Contains([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, a.Status)
	if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err == nil {
		return again, time.Duration(seconds) * time.Second
	}
	return again, triedAgain
}
