package sidecar

import (
	"fmt"
	"sync"
	"time"
)

const (
	// minRest is how long a process whose command has ended lets others lead, at least. It doubles each time, up to maxRest,
	// and a command that has run for that long is taken to be well again.
	minRest = 5 * time.Second
	maxRest = time.Minute
)

// backOff keeps a process from taking the Lease again at once that could make no use of it.
type backOff struct {
	mu    sync.Mutex
	pause time.Duration
	until time.Time
	cause error
}

// add begins a rest, because of cause and after ran.
func (b *backOff) add(ran time.Duration, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ran >= maxRest {
		b.pause = 0
	}
	b.pause = min(max(minRest, 2*b.pause), maxRest)
	b.until, b.cause = time.Now().Add(b.pause), cause
}

// standing returns why the process rests, nil if it does not.
func (b *backOff) standing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := time.Until(b.until); left > 0 {
		return fmt.Errorf("this process lets others lead for %s: %w", left.Round(time.Second), b.cause)
	}
	return nil
}
