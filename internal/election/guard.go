package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// guard stands between client-go's elector and the lock, for one round. It keeps the elector from
//   - campaigning or renewing where the store does not answer: who cannot commit must not hold the lock;
//   - wiping the lock of another holder: after a pause client-go's release does not look whose it is;
//   - taking a twin (our name under another boot ID) for ourselves;
//   - obeying any lease duration that the record names.
//
// And it knows until when the lock is ours by our own clock.
type guard struct {
	Lock
	cfg  *Config
	lost func(cause error)

	mu         sync.Mutex
	holder     string // as the last read showed it, with a twin's marked
	seen       Record
	absent     bool      // the last read found no lock
	before     lockState // of the lock, before the write that won the round
	failure    error     // why the last attempt to write failed, nil if it did not
	won        bool
	writing    bool
	validUntil time.Time
}

const (
	// maxLeases caps a foreign lease duration, in own ones.
	maxLeases = 4
	// storeLimit is how long the store has to answer before a write of the lock.
	storeLimit = 2 * time.Second
)

var (
	errNotVoter   = errors.New("this replica's member does not vote yet")
	errNotOurs    = errors.New("refused: the lock is not ours to release")
	errTakenAway  = errors.New("another pod holds the lock")
	errSuperseded = errors.New("another claim is newer")
)

func newGuard(cfg *Config, lost func(error)) *guard {
	return &guard{Lock: cfg.Lock, cfg: cfg, lost: lost}
}

// Get reads the lock. A holder of our name under another boot ID is given another name.
func (g *guard) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	read, raw, err := g.Lock.Get(ctx)
	if err != nil {
		if apierrors.IsNotFound(err) {
			g.setHolder("", true)
		}
		return nil, nil, err
	}
	record := *read
	if boot := g.HolderBoot(); record.HolderIdentity == g.cfg.Pod && boot != g.cfg.BootID {
		record.HolderIdentity = g.cfg.Pod + "/" + boot
	}
	record.LeaseDurationSeconds = min(record.LeaseDurationSeconds, int(maxLeases*g.cfg.Timing.LeaseDuration/time.Second))
	if g.setHolder(record.HolderIdentity, false) {
		g.lost(fmt.Errorf("%w: %q", errTakenAway, record.HolderIdentity))
	}
	return &record, raw, nil
}

// setHolder keeps what a read has shown, and tells whether the round has lost the lock to another holder.
func (g *guard) setHolder(holder string, absent bool) (takenAway bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holder, g.absent = holder, absent
	return g.won && holder != g.cfg.Pod
}

// Create writes the lock where there is none.
func (g *guard) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return g.write(ctx, func() error { return g.Lock.Create(ctx, record) })
}

// Update takes, renews or releases the lock.
func (g *guard) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" {
		return g.release(ctx, record)
	}
	return g.write(ctx, func() error { return g.Lock.Update(ctx, record) })
}

// write takes or renews the lock. The leader record is read before: it proves that the store answers, and
// the claim will be conditional on what was read before the write that won the round.
func (g *guard) write(ctx context.Context, do func() error) error {
	err := g.tryWrite(ctx, do)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil || ctx.Err() == nil || g.failure == nil { // that the time was up says less than why it was not enough
		g.failure = err
	}
	return err
}

func (g *guard) tryWrite(ctx context.Context, do func() error) error {
	if !g.cfg.Voter() {
		return errNotVoter
	}
	start := time.Now()
	record, err := g.readRecord(ctx)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if g.superseded(record) {
		err := fmt.Errorf("%w: %s under epoch %d", errSuperseded, record.Pod, record.Epoch)
		g.lost(err)
		return err
	}
	if err := g.begin(ctx, record); err != nil {
		return err
	}
	err = do()
	g.finish(err, start)
	return err
}

func (g *guard) readRecord(ctx context.Context) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	return g.cfg.Store.ReadRecord(ctx)
}

// superseded tells whether another pod has claimed since the round was won. That the record seen then has been
// resigned meanwhile is no claim.
func (g *guard) superseded(record Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.won && record.ClaimID != g.seen.ClaimID && record.BootID != g.cfg.BootID
}

func (g *guard) begin(ctx context.Context, record Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // abandoned, maybe
	}
	if !g.won {
		g.seen, g.before = record, g.state()
	}
	g.writing = true
	return nil
}

func (g *guard) finish(err error, start time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writing = false
	if err == nil {
		g.won, g.holder = true, g.cfg.Pod
		g.validUntil = start.Add(g.cfg.Timing.LeaseDuration - margin)
	}
}

// release frees the lock if the last read showed it to be ours, and ends the term before.
func (g *guard) release(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	g.lost(errReleased)
	g.mu.Lock()
	holder := g.holder
	g.mu.Unlock()
	if holder != g.cfg.Pod {
		return fmt.Errorf("%w: %q holds it", errNotOurs, holder)
	}
	return g.Lock.Update(ctx, record)
}

// seenRecord is the leader record as it was read before the write that won the round.
func (g *guard) seenRecord() Record {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

// state is that of the lock by the last read.
func (g *guard) state() lockState {
	switch {
	case g.absent:
		return lockAbsent
	case g.holder == "":
		return lockFree
	default:
		return lockHeld
	}
}

// wonBy returns what seenRecord does, and how the lock was before the round won it.
func (g *guard) wonBy() (replaced Record, lock lockState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen, g.before
}

// lastFailure is why the last attempt to take or renew the lock failed, nil if it did not.
func (g *guard) lastFailure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failure
}

// validity is the time until which the lock is ours, whatever happens.
func (g *guard) validity() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.validUntil
}

// hasWon tells whether the round has ever won the lock.
func (g *guard) hasWon() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.won
}

// abandon cancels the round if it has not won the lock and is not just about to: it cannot win it any more.
func (g *guard) abandon(cancel func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.won && !g.writing {
		cancel()
	}
}
