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
	if e.namesAnother(record) && time.Since(e.firstSeen(record)) < holdBack {
		return fmt.Errorf("%w: %s", errYields, record.Successor)
	}
	return nil
}

// namesAnother tells whether the record is that of a leader which has named another pod to be its successor.
func (e *Election) namesAnother(record Record) bool {
	return record.Resigned && record.Successor != "" && record.Successor != e.cfg.Pod
}

// firstSeen is when this replica first saw a record that names another pod.
func (e *Election) firstSeen(record Record) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.named.revision != record.Revision {
		e.named = named{record.Revision, time.Now()}
	}
	return e.named.at
}

// followLock starts a fresh round when the lock has been released and it is this replica's turn: a round's first attempt is
// immediate, where an elector that waits would look only after one to two retry periods. Once for each release, and once more if
// the record that names the successor is heard of after it: a fresh elector has forgotten how long it has watched a silent
// holder, so restarts on a mere suspicion could put a takeover off for ever.
func (e *Election) followLock(ctx context.Context) {
	holders := e.cfg.Lock.Watch(ctx)
	var released, tried time.Time // zero while somebody holds the lock, and before this replica has tried since
	var turn <-chan time.Time
	for {
		_, changed := e.cfg.Store.Record()
		select {
		case holder, ok := <-holders:
			if !ok {
				return
			}
			released, tried, turn = time.Time{}, time.Time{}, nil
			if holder == "" {
				released = time.Now()
				turn = time.After(time.Until(e.turn(released)))
			}
		case <-changed:
			if at := e.turn(released); !released.IsZero() && at.After(tried) {
				turn = time.After(time.Until(at))
			}
		case <-turn:
			tried, turn = time.Now(), nil
			e.restartCampaign()
		}
	}
}

// turn is when this replica may try for a lock that was released at that time. The others hold back for the one that the record
// names, which hears of the release and of the record on different ways, or, where it names none, for the one that goes first.
func (e *Election) turn(released time.Time) time.Time {
	record, _ := e.cfg.Store.Record()
	switch {
	case e.cfg.Storeless, record.Resigned && record.Successor == e.cfg.Pod:
		return released
	case e.namesAnother(record):
		if seen := e.firstSeen(record); seen.After(released) {
			released = seen
		}
	case e.cfg.First():
		return released
	}
	return released.Add(holdBack)
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
