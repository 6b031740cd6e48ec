package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
)

// audience is watchers of one replica, each of which has to see every change, once and in order.
type audience struct {
	size  int
	turns map[string]*turn // by key
	seen  atomic.Int64     // events

	// The first watcher that does not see what it should cancels all, with the reason.
	ctx    context.Context
	cancel context.CancelCauseFunc

	client   *http.Client
	watching sync.WaitGroup
}

// turn is the changes of one key, of which one at a time is under way.
type turn struct {
	number atomic.Int64  // of the last change
	seen   atomic.Int64  // by how many watchers
	all    chan struct{} // has something when all have seen it
}

// gather opens watches of the keys that begin with prefix, and returns when all stand.
func gather(ctx context.Context, base, prefix string, size int, keys []string) (*audience, error) {
	a := &audience{size: size, turns: map[string]*turn{}, client: &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: requestLimit}}}
	for _, key := range keys {
		a.turns[key] = &turn{all: make(chan struct{}, 1)}
	}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	for range size {
		if err := a.add(base + "/v1/watch?prefix=" + url.QueryEscape(prefix)); err != nil {
			a.close()
			return nil, fmt.Errorf("open a watch: %w", err)
		}
	}
	return a, nil
}

// add opens a watch.
func (a *audience) add(address string) error {
	req, err := http.NewRequestWithContext(a.ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // it is not read
		return errors.New(resp.Status)
	}
	a.watching.Go(func() {
		defer resp.Body.Close()
		a.cancel(a.watch(resp.Body))
	})
	return nil
}

func (a *audience) close() {
	a.cancel(nil)
	a.watching.Wait()
	a.client.CloseIdleConnections()
}

var dataLine = []byte("data: ")

// watch reads a stream to its end, and returns what is wrong with that.
func (a *audience) watch(stream io.Reader) error {
	last := map[string]int64{}
	for lines := bufio.NewReader(stream); ; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("a watch has ended: %w", err)
		}
		event, ok := bytes.CutPrefix(line, dataLine)
		if !ok {
			continue
		}
		if err := a.see(event, last); err != nil {
			return err
		}
	}
}

// see counts an event of a watcher that has seen the last ones of each key.
func (a *audience) see(event []byte, last map[string]int64) error {
	key, number, err := parseEvent(event)
	if err != nil {
		return err
	}
	t := a.turns[key]
	if t == nil {
		return fmt.Errorf("a watcher has seen %s, which nobody writes", key)
	}
	if number != last[key]+1 {
		return fmt.Errorf("a watcher has seen change %d of %s after %d", number, key, last[key])
	}
	last[key] = number
	a.seen.Add(1)
	if t.seen.Add(1) == int64(a.size) {
		t.all <- struct{}{}
	}
	return nil
}

// changeDigits is how a value says the number of its change: by its first bytes.
const changeDigits = 12

// parseEvent reads the key and the number out of an event of change's. What it reads needs no escapes, so it is found without
// reading the event as JSON, a thousand times over.
func parseEvent(event []byte) (key string, number int64, err error) {
	_, after, _ := bytes.Cut(event, []byte(`{"key":"`))
	name, after, _ := bytes.Cut(after, []byte(`","value":"`))
	if len(after) < changeDigits {
		return "", 0, fmt.Errorf("a watch brings %q", event)
	}
	number, err = strconv.ParseInt(string(after[:changeDigits]), 10, 64)
	return string(name), number, err
}

// change writes the worker's own key, and returns when every watcher has seen that.
func (a *audience) change(ctx context.Context, w *worker) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	t := a.turns[w.own]
	t.seen.Store(0)
	value := w.sized(valueBytes)
	copy(value, fmt.Sprintf("%0*d", changeDigits, t.number.Add(1)))
	if err := w.client.write(ctx, w.own, value); err != nil || a.size == 0 {
		return err
	}
	select {
	case <-t.all:
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	case <-ctx.Done():
		return fmt.Errorf("%d of %d watchers have seen change %d of %s: %w", t.seen.Load(), a.size, t.number.Load(), w.own, ctx.Err())
	}
}

// lost is how many events have not come to a watcher. No change is under way.
func (a *audience) lost() int64 {
	due := int64(0)
	for _, t := range a.turns {
		due += t.number.Load() * int64(a.size)
	}
	return due - a.seen.Load()
}
