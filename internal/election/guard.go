package election

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// guard stands between client-go's elector and the lock, for one round. It keeps the elector from
//   - campaigning or renewing where the store does not answer: who cannot commit must not hold the lock;
//   - wiping the lock of another holder: after a pause client-go's release does not look whose it is;
//   - taking a twin (our name under another boot ID) for ourselves;
//   - obeying any lease duration that the record names, or taking a lock at once whose record names none.
//
// It reports the lock of a holder that is gone as released. While the lock cannot be reached, the store's word counts
// in its place: a renewal, while the leader record is ours; and taking the lock, where its holder is known to be gone.
// And it knows until when the lock is ours by our own clock.
type guard struct {
	Lock
	cfg      *Config
	claimID  string // the round's
	takeover *takeover
	lost     func(cause error)

	mu         sync.Mutex
	holder     string // as the last read showed it, with a twin's marked
	seen       Record
	absent     bool      // the last read found no lock
	before     lockState // of the lock, before the write that won the round
	failure    error     // why the last attempt to write failed, nil if it did not
	evidence   string    // what was found out about the leader by the record, before the round won over it; "" if nothing
	verdict    *verdict  // by which the lock was read last before it was won, nil if by none
	byStore    bool      // the lock is taken on the store's word
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
	errLeads      = errors.New("another pod leads without the lock")
	errNotNow     = errors.New("the store's own leadership has left this replica since it found the leader gone")
)

func newGuard(t *takeover, claimID string, lost func(error)) *guard {
	return &guard{Lock: t.e.cfg.Lock, cfg: &t.e.cfg, claimID: claimID, takeover: t, lost: lost}
}

// Get reads the lock. A holder of our name under another boot ID is given another name, and one that is gone none.
func (g *guard) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	v := g.beginRead()
	if v != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probedLockLimit)
		defer cancel()
	}
	read, raw, err := g.Lock.Get(ctx)
	if err != nil {
		return g.unread(err, v)
	}
	record, boot := *read, g.HolderBoot()
	holder := process{record.HolderIdentity, boot}
	g.takeover.sawLock(holder, false)
	g.takeover.keep(record)
	if record.HolderIdentity == g.cfg.Pod && boot != g.cfg.BootID {
		record.HolderIdentity = g.cfg.Pod + "/" + boot
	}
	record.LeaseDurationSeconds = g.duration(record.LeaseDurationSeconds)
	if record.LeaderTransitions < 0 || record.LeaderTransitions >= math.MaxInt32 {
		record.LeaderTransitions = 0 // client-go adds one, and the API server takes no Lease with less than none
	}
	takenAway := g.setHolder(record.HolderIdentity, false)
	switch {
	case v != nil && v.covers(holder), takenAway && g.outlasts(ctx, holder):
		record.HolderIdentity = ""
	case takenAway:
		g.lost(fmt.Errorf("%w: %q", errTakenAway, record.HolderIdentity))
	}
	return &record, raw, nil
}

// duration is for how long a holder is waited for that names so many seconds. One that names none has as long as we would
// have: with client-go it would have lost the lock at once.
func (g *guard) duration(named int) int {
	own := int(g.cfg.Timing.LeaseDuration / time.Second)
	if named <= 0 {
		return own
	}
	return min(named, maxLeases*own)
}

// beginRead returns the verdict by which a round that has not won goes.
func (g *guard) beginRead() *verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.won {
		return nil
	}
	g.verdict, g.byStore, g.evidence = g.takeover.standing(), false, ""
	if g.verdict != nil {
		g.evidence = g.verdict.evidence
	}
	return g.verdict
}

// unread is what becomes of a read that failed.
func (g *guard) unread(err error, v *verdict) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if apierrors.IsNotFound(err) {
		g.takeover.sawLock(process{}, false)
		g.setHolder("", true)
		return nil, nil, err
	}
	away := g.Away(err)
	if away {
		g.takeover.sawLock(process{}, true)
	}
	if away && v != nil && v.record.Pod != "" {
		return g.onStoresWord()
	}
	return nil, nil, err
}

// onStoresWord reports the lock as released where it cannot be read: the write that follows does not reach it either.
func (g *guard) onStoresWord() (*resourcelock.LeaderElectionRecord, []byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byStore = true
	record := g.takeover.lastRead()
	record.HolderIdentity = ""
	return &record, nil, nil
}

// outlasts tells whether the record is ours while the lock is free, or its holder's that is gone: the holder is one
// that could not be told, or could not give the lock up. Then the lock is ours to take again. Never a stranger's.
func (g *guard) outlasts(ctx context.Context, holder process) bool {
	if holder.stranger() {
		return false
	}
	record, _ := g.cfg.Store.Record()
	return (g.ours(record) || g.unclaimed(record)) && (holder.pod == "" || g.takeover.e.probe(ctx, holder, record, probePatience) != "")
}

// unclaimed tells whether the round has won on the store's word, and its claim is still to come.
func (g *guard) unclaimed(record Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byStore && record.Revision == g.seen.Revision
}

// ours tells whether the record is that of this round's claim.
func (g *guard) ours(record Record) bool {
	return record.ClaimID == g.claimID && record.BootID == g.cfg.BootID && !record.Resigned
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
	if err := g.rival(ctx, record); err != nil {
		return err
	}
	if !g.hasWon() {
		if err := g.takeover.e.yield(record); err != nil {
			return err
		}
	}
	if err := g.begin(ctx, record); err != nil {
		return err
	}
	if g.onlyStore() {
		err = nil
	} else if err = do(); err != nil && g.Away(err) {
		g.takeover.sawLock(process{}, true)
		if g.ours(record) {
			g.cfg.Log.Info("the lock cannot be reached: the leader record counts, and it is ours", zap.Error(err))
			err = nil
		}
	} else if err == nil {
		g.takeover.sawLock(process{g.cfg.Pod, g.cfg.BootID}, false)
	}
	g.finish(err, start)
	return err
}

// rival keeps the round from winning over another process that leads by the record and says so itself: it may lead on the
// store's word, and the lock is free, or has run out, only because it cannot reach it.
func (g *guard) rival(ctx context.Context, record Record) error {
	leads := process{record.Pod, record.BootID}
	if g.cfg.Storeless || record.Pod == "" || record.Resigned || leads == (process{g.cfg.Pod, g.cfg.BootID}) || g.hasWon() || g.goesBy() != nil {
		return nil
	}
	evidence := g.takeover.e.probe(ctx, leads, record, probePatience)
	if evidence == "" {
		return fmt.Errorf("%w: %s under epoch %d", errLeads, record.Pod, record.Epoch)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.evidence = evidence
	return nil
}

// goesBy returns the verdict by which the lock was read, nil if by none.
func (g *guard) goesBy() *verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.verdict
}

// onlyStore tells whether the write is the one that takes a lock which cannot be reached.
func (g *guard) onlyStore() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byStore && !g.won
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
		if err := g.verdict.check(record); err != nil {
			return err
		}
		if g.verdict != nil && !g.cfg.TakesOver() {
			return errNotNow // a pause may lie in between: then the store's new leader knows better who is gone
		}
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
	if holder != g.cfg.Pod && !sabotage.Release {
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

// wonBy returns what seenRecord does, how the lock was before the round won it, and what had been found out about the
// leader by that record.
func (g *guard) wonBy() (replaced Record, lock lockState, evidence string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen, g.before, g.evidence
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
