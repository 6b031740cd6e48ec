package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// Claimant says who claims leadership. ID is unique to one round of one boot: it tells a repeated claim from
// a rival's, a twin's, or one's own of an earlier round.
type Claimant struct {
	Pod, BootID, ID string
}

// Term is one stretch of leading, from a claim to whatever ends it. It owns the committer.
type Term struct {
	store     *Store
	record    Leader
	claimed   time.Time
	committer *committer
	gap       time.Duration
	gapKnown  bool

	endOnce sync.Once
	ended   chan struct{}
	endedAt time.Time
	cause   error
}

// Claim makes who the leader, conditional on seen still being the newest leader record, and blocks until this
// replica knows every outcome that earlier leaders have left. It repeats what gets no answer until ctx is
// done; the claim may then still land, and is to be given up with ResignClaim.
// Errors: ErrSuperseded, or ctx's.
func (s *Store) Claim(ctx context.Context, seen Leader, who Claimant) (*Term, error) {
	record, err := s.claim(ctx, seen, who)
	for err == nil && record.ClaimID != who.ID {
		record, err = s.claim(ctx, record, who) // the leader that was seen has resigned meanwhile
	}
	s.metrics.claims.WithLabelValues(resultLabel(err)).Inc()
	if err != nil {
		return nil, fmt.Errorf("claim epoch %d: %w", seen.Epoch+1, err)
	}
	claimed := time.Now()
	if err := s.caughtUp(ctx, record.Revision); err != nil {
		return nil, err
	}
	t := &Term{store: s, record: record, claimed: claimed, ended: make(chan struct{})}
	t.gap, t.gapKnown = s.served.gap()
	t.committer = newCommitter(s, record, t.end)
	if !s.install(t) {
		return nil, fmt.Errorf("claim epoch %d: %w", record.Epoch, ErrSuperseded)
	}
	s.committers.Go(t.committer.run)
	return t, nil
}

// install makes t the term, unless a newer one is in its place: a claim may return late.
func (s *Store) install(t *Term) bool {
	for {
		old := s.term.Load()
		if old != nil && old.Epoch() > t.Epoch() {
			return false
		}
		if s.term.CompareAndSwap(old, t) {
			if old != nil {
				old.end(ErrSuperseded)
			}
			return true
		}
	}
}

// claim writes head and leader record in one transaction, and returns the newest leader record: who's, or that
// of seen's own claim where it has changed meanwhile. It is conditional on the leader record alone: it
// must be able to cut off a leader that is still writing. The journal record of sequence 0 is what the
// followers of the journal wait for.
func (s *Store) claim(ctx context.Context, seen Leader, who Claimant) (Leader, error) {
	next := Leader{Pod: who.Pod, BootID: who.BootID, ClaimID: who.ID, Epoch: seen.Epoch + 1, Since: time.Now().UTC()}
	at := position{epoch: next.Epoch}
	txn := transaction{
		conditions: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(leaderKey), "=", seen.Revision)},
		then: []clientv3.Op{
			clientv3.OpPut(leaderKey, next.encode()),
			clientv3.OpPut(headKey, at.String()),
			clientv3.OpPut(at.journalKey(), ""),
		},
		otherwise: []clientv3.Op{clientv3.OpGet(leaderKey), clientv3.OpGet(headKey, clientv3.WithKeysOnly())},
	}
	if sabotage.Claim {
		txn.conditions = nil
	}
	resp, err := s.repeat(ctx, txn)
	if err != nil {
		return Leader{}, err
	}
	if resp.Succeeded {
		next.Revision = resp.Header.Revision
		return next, nil
	}
	found, err := leaderFrom((*clientv3.GetResponse)(resp.Responses[0].GetResponseRange()))
	if err != nil {
		return Leader{}, err
	}
	untouched := modRevision(resp.Responses[1].GetResponseRange()) == found.Revision
	switch {
	case found.ClaimID == who.ID && !found.Resigned && untouched:
		return found, nil // an earlier attempt had landed, and nothing was built on it
	case found.ClaimID != who.ID && found.ClaimID == seen.ClaimID:
		return found, nil
	}
	return Leader{}, fmt.Errorf("%w: epoch %d is %s's, under claim %s", ErrSuperseded, found.Epoch, found.Pod, found.ClaimID)
}

// ResignClaim gives up the claim with the given ID if it is the newest, whether or not its maker ever heard
// of its success; reason is left in the record. It changes nothing otherwise. It repeats what gets no answer until
// ctx is done.
func (s *Store) ResignClaim(ctx context.Context, claimID, reason string) error {
	return s.resignClaim(ctx, claimID, func(l *Leader) { l.Reason = reason })
}

func (s *Store) resignClaim(ctx context.Context, claimID string, mark func(*Leader)) error {
	for {
		l, err := s.ReadLeader(ctx)
		if err != nil {
			return err
		}
		if l.ClaimID != claimID || l.Resigned {
			return nil
		}
		l.Resigned = true
		mark(&l)
		resigned, err := s.resign(ctx, l)
		if err != nil || resigned {
			return err
		}
	}
}

// resign writes l, marked as given up, if nobody has written the record since l was read. It writes the head as a
// claim does: a batch of the term whose answer is still awaited can then no longer be applied, and the journal tells
// what became of it.
func (s *Store) resign(ctx context.Context, l Leader) (bool, error) {
	resp, err := s.repeat(ctx, transaction{
		conditions: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(leaderKey), "=", l.Revision)},
		then: []clientv3.Op{
			clientv3.OpPut(leaderKey, l.encode()),
			clientv3.OpPut(headKey, position{epoch: l.Epoch}.String()+resignedMark),
		},
		otherwise: []clientv3.Op{clientv3.OpGet(leaderKey, clientv3.WithKeysOnly())},
	})
	if err != nil {
		return false, fmt.Errorf("resign epoch %d: %w", l.Epoch, err)
	}
	return resp.Succeeded, nil
}

// Undecided is how long the batch of this replica's term that is under way has waited for an answer; 0 if there is
// none.
func (s *Store) Undecided() time.Duration {
	t := s.term.Load()
	if t == nil {
		return 0
	}
	since := t.committer.since.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
}

// Epoch is the term's fencing token.
func (t *Term) Epoch() uint64 { return t.record.Epoch }

// Since is when the term was claimed.
func (t *Term) Since() time.Time { return t.record.Since }

// Ended is closed when the term takes no more writes. Err then tells why.
func (t *Term) Ended() <-chan struct{} { return t.ended }

// Err returns why the term ended, or nil while it has not.
func (t *Term) Err() error {
	select {
	case <-t.ended:
		return t.cause
	default:
		return nil
	}
}

// errEnded is the cause of a term that its owner ended.
var errEnded = errors.New("ended")

// End takes no more writes: those that wait are answered with ErrNotLeading, the batch under way is settled.
// It does not block.
func (t *Term) End() { t.end(errEnded) }

func (t *Term) end(cause error) {
	t.endOnce.Do(func() {
		t.cause, t.endedAt = cause, time.Now()
		t.store.term.CompareAndSwap(t, nil)
		close(t.ended)
		t.committer.stop()
		t.store.log.Info("term ended", zap.Uint64("epoch", t.record.Epoch), zap.Error(cause))
	})
}

// Gap is for how long writes waited for this term, if that is known: from when this replica saw the last batch of
// the term before, or, where that one was resigned in good order, from when it took no more writes by its own clock,
// to when this term takes them. It is not known where this replica has seen neither, because nobody has led before or
// because the process started later.
func (t *Term) Gap() (gap time.Duration, known bool) { return t.gap, t.gapKnown }

// Resign ends the term, waits for the batch under way (at most until ctx is done) and gives the leader record
// up, with the reason and the pod that is to lead next, if there is one. A batch that is still undecided is decided
// by the resignation.
func (t *Term) Resign(ctx context.Context, reason, successor string) error {
	t.End()
	settle, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case <-t.committer.done:
	case <-settle.Done():
	}
	return t.store.resignClaim(ctx, t.record.ClaimID, func(l *Leader) {
		l.Reason, l.Successor, l.HeldMS = reason, successor, t.held().Milliseconds()+1
	})
}

// held is for how long the term, which has ended, has taken no writes: a pause counts that no batch came after.
func (t *Term) held() time.Duration {
	if paused := t.committer.paused.Load(); paused != nil {
		return elapsed(*paused)
	}
	return elapsed(t.endedAt)
}

// Pause runs f while no transaction is under way; the writes that come meanwhile wait. It is for moving
// etcd's own leadership, during which etcd drops proposals. The error is that of a batch that did not end before
// ctx was done: f has not run then.
func (t *Term) Pause(ctx context.Context, f func()) error { return t.committer.pause(ctx, f) }

// Write is Store.Write under this term. Under a term of another election than Writes, a write of data is ErrInvalid.
func (t *Term) Write(ctx context.Context, w *Write) (Outcome, error) {
	if err := w.validate(t.store.cfg.Election); err != nil {
		return Outcome{}, err
	}
	return t.committer.submit(ctx, w)
}

func resultLabel(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}
