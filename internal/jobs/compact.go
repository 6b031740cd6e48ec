package jobs

import (
	"context"
	"fmt"
	"time"
)

// crampedRetention is how much history is kept while the store is over half full.
const crampedRetention = 10 * time.Second

// CompactConfig is what the compact job needs.
type CompactConfig struct {
	// Retention is how long history is kept.
	Retention time.Duration
	Revision  func(context.Context) (int64, error)
	Compact   func(ctx context.Context, revision int64) error
	// HalfFull tells whether the store is over half of its quota: then less history is kept.
	HalfFull func() bool
}

// Compact drops history. It notes at each run which revision the store has reached, and drops what is older
// than the newest note that is as old as the retention.
func Compact(cfg CompactConfig) Job {
	c := &compactor{cfg: cfg}
	return Job{Name: "compact", Interval: 10 * time.Second, Election: Election, Run: c.run}
}

type compactor struct {
	cfg   CompactConfig
	epoch uint64
	notes []note
}

type note struct {
	at       time.Time
	revision int64
}

func (c *compactor) run(ctx context.Context, l Leader) (string, error) {
	if c.epoch != l.Term.Epoch() {
		c.epoch, c.notes = l.Term.Epoch(), nil // notes from before another pod led say nothing about now
	}
	revision, err := c.cfg.Revision(ctx)
	if err != nil {
		return "", err
	}
	now := time.Now()
	c.notes = append(c.notes, note{now, revision})
	target := c.target(now)
	if target == 0 {
		return "nothing old enough", nil
	}
	if err := c.cfg.Compact(ctx, target); err != nil {
		return "", err
	}
	return fmt.Sprintf("history before %d dropped", target), nil
}

// target is the revision to compact to, or 0, and forgets the notes before it.
func (c *compactor) target(now time.Time) int64 {
	retention := c.cfg.Retention
	if c.cfg.HalfFull() {
		retention = min(retention, crampedRetention)
	}
	var revision int64
	for len(c.notes) > 0 && now.Sub(c.notes[0].at) >= retention {
		revision = c.notes[0].revision
		c.notes = c.notes[1:]
	}
	return revision
}
