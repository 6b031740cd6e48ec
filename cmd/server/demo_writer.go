package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/client"
)

const (
	writers       = 8
	writesASecond = 200
	// writeDeadline is how long a write is tried, and a read when it is read back.
	writeDeadline = 15 * time.Second
)

// writer is a few clients that write one numbered value after another, in turn to each of the targets. A write
// is tried again, under its one idempotency key, as the API asks for.
type writer struct {
	client *client.Client
	prefix string // of the keys: no two runs share it
	tally  tally
}

func newWriter(c *client.Client) *writer {
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return &writer{client: c, prefix: fmt.Sprintf("demo/%x/", id)}
}

func (w *writer) key(number int) string { return fmt.Sprintf("%s%06d", w.prefix, number) }

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
	applied, err := w.client.Put(ctx, client.Write{
		Key: w.key(number), Value: []byte(w.value(number)), First: number,
		IdempotencyKey: strings.ReplaceAll(w.key(number), "/", "-"),
	})
	if err != nil {
		w.tally.fail(fmt.Sprintf("%s: %v", w.key(number), err))
		return
	}
	w.tally.acknowledge(number, time.Now(), applied.Epoch)
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
	v, err := w.client.Get(ctx, client.Read{Key: w.key(number), First: number, Linearizable: true})
	switch {
	case errors.Is(err, client.ErrNotFound):
		return "it is not there", nil
	case err != nil:
		return "", fmt.Errorf("an acknowledged write could not be read back within %s: %w", writeDeadline, err)
	case string(v.Value) != w.value(number):
		return fmt.Sprintf("its value is %q", v.Value), nil
	}
	return "", nil
}
