package election

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rest has a replica that gave the lock up let another one lead first, for two retry periods at most; one
// that drains waits for ever. It tells whether to campaign. That somebody leads already, or led before, is not
// what it waits for: only a newer record than was known when the lock was given up counts.
func (e *Election) rest(ctx context.Context) bool {
	e.mu.Lock()
	resting, since, drained := e.resting, e.since, e.drained
	e.resting = false
	e.mu.Unlock()
	if drained {
		<-ctx.Done()
		return false
	}
	if !resting {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 2*e.cfg.Timing.RetryPeriod)
	defer cancel()
	for {
		record, changed := e.cfg.Store.Record()
		if record.Revision > since && !record.Resigned && record.Pod != e.cfg.Pod {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return true
		}
	}
}

// sitOut has the replica rest before its next round, because r gave the lock up.
func (e *Election) sitOut(r *round) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resting, e.since = true, r.guard.seenRecord().Revision
}

// named is when a record that names a successor was first seen, by its revision.
type named struct {
	revision int64
	at       time.Time
}

var errYields = errors.New("another pod is to lead next")

// yield tells why this replica is to hold back from taking the lock: a moment ago the leader has named another pod to
// be its successor. A replica that happens to try just then would be faster than the one that has to hear of it first.
func (e *Election) yield(record Record) error {
	if !record.Resigned || record.Successor == "" || record.Successor == e.cfg.Pod {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.named.revision != record.Revision {
		e.named = named{record.Revision, time.Now()}
	}
	if time.Since(e.named.at) < holdBack {
		return fmt.Errorf("%w: %s", errYields, record.Successor)
	}
	return nil
}

// followLock starts a fresh round whenever the lock is released: a round's first attempt is immediate, where an
// elector that waits would look only after one to two retry periods. Once for each release: a fresh elector has
// forgotten how long it has watched a silent holder, so restarts on a mere suspicion could put a takeover off
// for ever.
func (e *Election) followLock(ctx context.Context) {
	holders := e.cfg.Lock.Watch(ctx)
	var free <-chan time.Time
	for {
		_, changed := e.cfg.Store.Record()
		select {
		case holder, ok := <-holders:
			if !ok {
				return
			}
			free = nil
			if holder == "" {
				free = time.After(e.holdBack())
			}
		case <-changed: // the record that names the successor may be heard of after the release
			if free != nil && e.holdBack() == 0 {
				free = time.After(0)
			}
		case <-free:
			free = nil
			e.restartCampaign()
		}
	}
}

func (e *Election) holdBack() time.Duration {
	record, _ := e.cfg.Store.Record()
	named := record.Resigned && record.Successor == e.cfg.Pod
	if e.cfg.Storeless || e.cfg.First() || named {
		return 0
	}
	return holdBack
}

// restartCampaign ends the round that runs if it has not won: never one that has.
func (e *Election) restartCampaign() {
	e.mu.Lock()
	r := e.round
	e.mu.Unlock()
	if r != nil {
		r.guard.abandon(func() { r.cancel(errReleased) })
	}
}
