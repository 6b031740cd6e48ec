package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// undecidedLimit is how long a batch may go without an answer before its term ends.
	undecidedLimit = 5 * time.Second
	// maxQueued bounds the writes that wait for the committer.
	maxQueued = 8192
)

// committer turns the writes of one term into transactions, one at a time: while one is under way the writes
// gather, and then all of them go into the next. Epoch, sequence and head are its own: nothing that happens
// elsewhere changes them.
type committer struct {
	store *Store
	log   *zap.Logger
	end   func(cause error)

	next position // of the next batch
	head int64    // the revision that the last transaction gave to the head

	queue   chan *pending
	waiting []*pending // put off to the next batch, in order of arrival

	since    atomic.Int64              // when the batch under way was sent, in nanoseconds since 1970; 0 if there is none
	turn     chan struct{}             // held by the committer during a transaction, by others to pause it
	paused   atomic.Pointer[time.Time] // when the last pause began; nil if there was a batch since
	stopOnce sync.Once
	stopping chan struct{}
	done     chan struct{}
}

// pending is a write that waits for its answer.
type pending struct {
	ctx    context.Context
	write  *Write
	answer chan answer // buffered: the committer never waits for a client
	twins  []*pending  // the same write, sent again while this one is under way
}

type answer struct {
	outcome Outcome
	err     error
}

// late tells whether nobody waits for p any more. The clock is asked, not only the context: after this process
// stood still its timers fire late, and what was remembered of an earlier attempt may be pruned.
func (p *pending) late() bool {
	deadline, ok := p.ctx.Deadline()
	return p.ctx.Err() != nil || ok && time.Now().After(deadline)
}

func (p *pending) reply(o Outcome, err error) {
	p.answer <- answer{o, err}
	o.Replayed = true
	for _, twin := range p.twins {
		twin.reply(o, err)
	}
}

func newCommitter(s *Store, record Leader, end func(error)) *committer {
	return &committer{
		store: s, log: s.log, end: end,
		next:     position{epoch: record.Epoch, sequence: 1},
		head:     record.Revision,
		queue:    make(chan *pending, maxQueued),
		turn:     make(chan struct{}, 1),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// submit hands w over and waits for its answer. If ctx is done first the write goes on without its client.
func (c *committer) submit(ctx context.Context, w *Write) (Outcome, error) {
	p := &pending{ctx: ctx, write: w, answer: make(chan answer, 1)}
	select {
	case <-c.stopping: // and not left to chance while there is room in the queue
		return Outcome{}, ErrNotLeading
	default:
	}
	select {
	case <-c.stopping:
		return Outcome{}, ErrNotLeading
	case c.queue <- p:
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("%w: %w", ErrNotLeading, ctx.Err()) // it was never handed over
	}
	select {
	case a := <-p.answer:
		return a.outcome, a.err
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-c.done:
	}
	// The committer is gone. It has answered all that it took; what came after it looked was never taken.
	select {
	case a := <-p.answer:
		return a.outcome, a.err
	default:
		return Outcome{}, ErrNotLeading
	}
}

func (c *committer) stop() { c.stopOnce.Do(func() { close(c.stopping) }) }

func (c *committer) pause(ctx context.Context, f func()) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("a batch is under way: %w", ctx.Err())
	}
	defer func() { <-c.turn }()
	now := time.Now()
	c.paused.Store(&now)
	f()
	return nil
}

// run commits batches until the term ends. Whoever still waits then is told that nothing was applied.
func (c *committer) run() {
	defer close(c.done)
	for c.await() {
		b := c.gather()
		if len(b.admitted)+len(b.refused) == 0 {
			continue
		}
		if err := c.commit(b); err != nil {
			c.end(err)
		}
	}
	c.refuseWaiting()
}

// await blocks until there is a write to commit; it returns false when the term has ended.
func (c *committer) await() bool {
	select {
	case <-c.stopping:
		return false
	default:
	}
	if len(c.waiting) > 0 {
		return true
	}
	select {
	case p := <-c.queue:
		c.waiting = append(c.waiting, p)
		return true
	case <-c.stopping:
		return false
	}
}

// gather decides the waiting writes in order of arrival, until the batch is full or nobody waits.
func (c *committer) gather() *batch {
	b := newBatch(c.store, c.next)
	put := c.waiting
	c.waiting = nil
	for _, p := range put {
		c.admit(b, p)
	}
	for !b.full && len(c.waiting) < maxQueued {
		select {
		case p := <-c.queue:
			c.admit(b, p)
		default:
			return b
		}
	}
	return b
}

func (c *committer) admit(b *batch, p *pending) {
	if p.late() {
		p.reply(Outcome{}, fmt.Errorf("%w: nobody waits for the write any more", ErrNotLeading))
		return
	}
	if !b.admit(p) {
		c.waiting = append(c.waiting, p)
	}
}

// commit has b applied and answers its writes. It returns why the term is over, or nil.
func (c *committer) commit(b *batch) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	start := time.Now()
	c.since.Store(start.UnixNano())
	defer c.since.Store(0)
	revision, head, err := c.settle(b)
	c.store.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	c.store.metrics.batchWrites.Observe(float64(len(b.admitted)))
	if err != nil {
		b.replyAll(0, err)
		if notProposed(err) {
			c.log.Error("etcd refused a batch", zap.Int("writes", len(b.admitted)), zap.Error(err))
			return nil // the head has not moved: the next batch takes its place
		}
		return err
	}
	c.paused.Store(nil)
	c.store.journal.add(b.at, b.decisions, revision, time.Now())
	b.replyAll(revision, nil)
	if head != revision {
		return fmt.Errorf("%w after batch %s", ErrSuperseded, b.at)
	}
	c.head = revision
	c.next.sequence++
	return nil
}

// settle repeats b's transaction until it is known what became of it. It returns the revision at which b was
// applied and the one that the head has now; they differ when somebody has claimed since.
// Errors: ErrNotLeading, certainly not applied; ErrInvalid, etcd refused it; ErrUnknown.
func (c *committer) settle(b *batch) (revision, head int64, err error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), c.store.cfg.undecided)
	defer cancel()
	resp, err := c.store.repeat(ctx, b.transaction(c.head))
	switch {
	case err != nil && notProposed(err):
		return 0, 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	case err != nil:
		return 0, 0, fmt.Errorf("%w: no answer for %s: %w", ErrUnknown, c.store.cfg.undecided, err)
	case resp.Succeeded:
		return resp.Header.Revision, resp.Header.Revision, nil
	}
	record, head, leader, err := readFailure(resp)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	case record != 0:
		return record, head, nil // an earlier attempt had been applied
	case elapsed(start) > c.store.cfg.Window/2:
		// This process stood still: the record may have been there, and pruned since.
		return 0, 0, fmt.Errorf("%w: stood still for %s", ErrUnknown, elapsed(start))
	}
	return 0, 0, fmt.Errorf("%w: %s claimed epoch %d", ErrNotLeading, leader.Pod, leader.Epoch)
}

// elapsed is the time since start by the clock that has run further: the monotonic one stands still while a
// virtual machine is suspended, the wall clock while it is set back.
func elapsed(start time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(start), now.Round(0).Sub(start.Round(0)))
}

func (c *committer) refuseWaiting() {
	for _, p := range c.waiting {
		p.reply(Outcome{}, ErrNotLeading)
	}
	for {
		select {
		case p := <-c.queue:
			p.reply(Outcome{}, ErrNotLeading)
		default:
			return
		}
	}
}

var errShape = errors.New("a transaction was answered in an unexpected shape")
