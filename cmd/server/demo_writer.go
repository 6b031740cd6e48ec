package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	writers       = 8
	writesASecond = 200
	// writeDeadline is how long a write is tried, and a read when it is read back.
	writeDeadline = 15 * time.Second
	// triedAgain is the pause after an attempt whose answer names none.
	triedAgain = 100 * time.Millisecond
)

// writer is a few clients that write one numbered value after another, in turn to each of the targets. A write
// is tried again, under its one idempotency key, as the API asks for.
type writer struct {
	client  *http.Client
	targets []string
	prefix  string // of the keys: no two runs share it
	tally   tally
}

func newWriter(client *http.Client, targets []string) *writer {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return &writer{client: client, targets: targets, prefix: fmt.Sprintf("demo/%x/", id)}
}

func (w *writer) key(number int) string { return fmt.Sprintf("%s%06d", w.prefix, number) }

func (w *writer) url(number, attempt int) string {
	return w.targets[(number+attempt)%len(w.targets)] + "/v1/kv/" + w.key(number)
}

// value is different for each number and run.
func (w *writer) value(number int) string { return "value of " + w.key(number) }

// writing is a writer at work.
type writing struct {
	stopped sync.Once
	end     chan struct{}
	done    chan struct{}
}

// stop begins no further write, and returns when those under way have ended.
func (g *writing) stop() {
	g.stopped.Do(func() { close(g.end) })
	<-g.done
}

// start writes until stop; when ctx is done, the writes under way are given up as well.
func (w *writer) start(ctx context.Context) *writing {
	g := &writing{end: make(chan struct{}), done: make(chan struct{})}
	w.tally.begin(time.Now())
	numbers := make(chan int)
	var clients sync.WaitGroup
	for range writers {
		clients.Go(func() {
			for number := range numbers {
				w.write(ctx, number)
			}
		})
	}
	go func() {
		hand(ctx, numbers, g.end)
		clients.Wait()
		w.tally.finish(time.Now())
		close(g.done)
	}()
	return g
}

// hand gives out numbers at a bounded rate, and closes the channel at the end.
func hand(ctx context.Context, numbers chan<- int, end <-chan struct{}) {
	defer close(numbers)
	tick := time.NewTicker(time.Second / writesASecond)
	defer tick.Stop()
	for number := 0; ; number++ {
		select {
		case numbers <- number:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-end:
			return
		case <-ctx.Done():
			return
		}
	}
}

// write makes one write and notes what became of it.
func (w *writer) write(ctx context.Context, number int) {
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	var reasons []string
	for attempt := 0; ; attempt++ {
		a := w.attempt(ctx, number, attempt)
		if a.acknowledged {
			w.tally.acknowledge(number, time.Now(), a.epoch)
			return
		}
		reasons = append(reasons, a.reason)
		if !a.again || !pause(ctx, a.after) {
			w.tally.fail(fmt.Sprintf("%s: %s", w.key(number), strings.Join(slices.Compact(reasons), "; then ")))
			return
		}
	}
}

// answer is what an attempt came to.
type answer struct {
	acknowledged bool
	epoch        uint64 // under which the write was decided

	again  bool // it may be sent again
	after  time.Duration
	reason string
}

func (w *writer) attempt(ctx context.Context, number, attempt int) answer {
	url := w.url(number, attempt)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(w.value(number)))
	if err != nil {
		return answer{reason: err.Error()}
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Idempotency-Key", strings.ReplaceAll(w.key(number), "/", "-"))
	resp, err := send(w.client, req)
	if err != nil {
		return answer{again: true, after: triedAgain, reason: err.Error()}
	}
	if resp.status == http.StatusOK {
		epoch, _ := strconv.ParseUint(resp.header.Get("Leasehold-Epoch"), 10, 64) // 0 is no newer one
		return answer{acknowledged: true, epoch: epoch}
	}
	again, after := mayRetry(resp)
	return answer{again: again, after: after, reason: url + ": " + describe(resp)}
}

// mayRetry says whether the API asks for a request to be sent again, and when: after what Retry-After says, and
// after a 504, whose outcome is unknown and can be learned in that way.
func mayRetry(resp response) (again bool, after time.Duration) {
	if seconds, err := strconv.Atoi(resp.header.Get("Retry-After")); err == nil {
		return true, time.Duration(seconds) * time.Second
	}
	return resp.status == http.StatusGatewayTimeout, triedAgain
}

// describe is the status and the problem's detail.
func describe(resp response) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	_ = json.Unmarshal(resp.body, &problem) // without a detail the status has to do
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.status, problem.Detail))
}

// check reads back every acknowledged write, linearizably, and returns those that are lost. The error is one of
// the reading itself.
func (w *writer) check(ctx context.Context) (lost []string, err error) {
	numbers := make(chan int)
	var mu sync.Mutex
	var readers sync.WaitGroup
	for range writers {
		readers.Go(func() {
			for number := range numbers {
				found, e := w.read(ctx, number)
				mu.Lock()
				switch {
				case e != nil:
					err = e
				case found != "":
					lost = append(lost, fmt.Sprintf("%s: %s", w.key(number), found))
				}
				mu.Unlock()
			}
		})
	}
	for _, number := range w.tally.acknowledged() {
		numbers <- number
	}
	close(numbers)
	readers.Wait()
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	return lost, err
}

// read returns "" if the write is there, else what is there in its place.
func (w *writer) read(ctx context.Context, number int) (found string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeDeadline)
	defer cancel()
	for attempt := 0; ; attempt++ {
		url := w.url(number, attempt) + "?consistency=linearizable"
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return "", err
		}
		resp, err := send(w.client, req)
		switch {
		case err == nil && resp.status == http.StatusNotFound:
			return "it is not there", nil
		case err == nil && resp.status == http.StatusOK:
			if !bytes.Equal(resp.body, []byte(w.value(number))) {
				return fmt.Sprintf("its value is %q", resp.body), nil
			}
			return "", nil
		case err == nil:
			err = fmt.Errorf("%s: %s", url, describe(resp))
		}
		if !pause(ctx, triedAgain) {
			return "", fmt.Errorf("an acknowledged write could not be read back within %s: %w", writeDeadline, err)
		}
	}
}
