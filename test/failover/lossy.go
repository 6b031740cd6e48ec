package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	lossShare = 0.2
	// longGap is from when on a gap is counted under packet loss.
	longGap = time.Second
)

// hardship is what the case came to in which packets are lost all the time.
type hardship struct {
	skipped      string
	took         time.Duration
	changes      uint64 // of leadership
	longGaps     int
	longest      time.Duration
	acknowledged int
	retried      int
	failed, lost []string
}

// runLossy has clients write through all replicas while every link loses packets.
func (b *bench) runLossy(ctx context.Context) (*hardship, error) {
	h := &hardship{skipped: needsNetworks(b.cfg, b.site), took: b.cfg.lossy}
	if h.skipped != "" {
		b.screen.hardship(h)
		return h, nil
	}
	before, err := b.cluster.AwaitHealthy(ctx, healthyLimit)
	if err != nil {
		return nil, err
	}
	b.screen.losing(b.cfg.lossy)
	l := startLoad(ctx, b.client, lab.URLs(b.cluster.Replicas))
	defer l.stop()
	from, until, err := b.lose(ctx)
	if err != nil {
		return nil, err
	}
	l.stop()
	after, err := b.cluster.AwaitHealthy(ctx, healthyLimit)
	if err != nil {
		return nil, err
	}
	h.changes = after.Epoch - before.Epoch
	h.count(l.tally.snapshot(), from, until)
	h.lost, err = b.verify(ctx, []*load{l})
	b.screen.hardship(h)
	return h, err
}

// lose loses packets for as long as the flag says, or until ctx is done.
func (b *bench) lose(ctx context.Context) (from, until time.Time, err error) {
	err = b.site.Lose(ctx, lossShare)
	from = time.Now()
	if err == nil {
		lab.Pause(ctx, b.cfg.lossy)
	}
	until = time.Now()
	return from, until, errors.Join(err, b.site.Heal(context.WithoutCancel(ctx)))
}

func (h *hardship) count(c counts, from, until time.Time) {
	gaps := c.gaps(from, until)
	h.longest = slices.Max(gaps)
	for _, g := range gaps {
		if g >= longGap {
			h.longGaps++
		}
	}
	h.acknowledged, h.retried, h.failed = len(c.acks), c.retried, c.failed
}
