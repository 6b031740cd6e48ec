package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/sabotage"
)

const (
	// followTick is how often a replica looks whether the store's own leadership has come to it.
	followTick = 50 * time.Millisecond
	// probedLockLimit is how long the lock has to answer a replica that knows its holder to be gone.
	probedLockLimit = time.Second
)

// process is a pod under a boot ID.
type process struct{ pod, boot string }

// stranger tells whether it is no replica: another client, which holds the lock by a record without a boot ID. Nobody can
// ask it, and its silence says nothing, so its lock is only ever waited out.
func (p process) stranger() bool { return p.pod != "" && p.boot == "" && !sabotage.Stranger }

// verdict says that whoever led, or held the lock, is gone.
type verdict struct {
	record   Record // the newest then: the verdict is void under any other
	gone     []process
	evidence string
}

func (v *verdict) covers(p process) bool { return slices.Contains(v.gone, p) }

// takeover watches over the leader from the one replica that may replace it before its lock has run out: the one that
// the store's own leadership is on, because a majority follows it and not, or not any more, the leader. It goes by what
// is, not by what happens: as long as that replica does not lead itself, it asks who does.
//
// A verdict gives no right to write. The guard reports the lock of who is gone as released, client-go's
// compare-and-swap decides between rivals, and the claim has the last word.
type takeover struct {
	e        *Election
	answered []process // since there is something to examine; run's own

	mu      sync.Mutex
	verdict *verdict
	holder  process // of the lock, as it was last read
	away    bool    // the lock could not be reached when it was last tried
	read    resourcelock.LeaderElectionRecord
}

// standing returns the verdict, nil if there is none.
func (t *takeover) standing() *verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verdict
}

// pass makes v the verdict, and tells whether it is a new one.
func (t *takeover) pass(v *verdict) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := v != nil && (t.verdict == nil || t.verdict.record.Revision != v.record.Revision || !slices.Equal(t.verdict.gone, v.gone))
	t.verdict = v
	return fresh
}

// sawLock keeps what a request to the lock has shown.
func (t *takeover) sawLock(holder process, away bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away = away
	if !away {
		t.holder = holder
	}
}

// keep keeps the lock's record as it was last read, and lastRead returns it.
func (t *takeover) keep(record resourcelock.LeaderElectionRecord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = record
}

func (t *takeover) lastRead() resourcelock.LeaderElectionRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read
}

// lockAway tells whether the lock could not be reached when it was last tried.
func (t *takeover) lockAway() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.away
}

// run examines the leader until ctx is done.
func (t *takeover) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := followTick
		record, _ := t.e.cfg.Store.Record()
		if suspects := t.suspects(record); len(suspects) > 0 || t.vacant(record) {
			v := t.examine(ctx, record, suspects)
			if !t.mayTakeOver() {
				v = nil // no longer: asking takes its time
			}
			// A round's first attempt is immediate. If it fails, the elector tries again by itself, while the verdict stands.
			if t.pass(v) {
				t.e.log.Info("taking over", zap.String("from", v.record.Pod), zap.Uint64("epoch", v.record.Epoch), zap.String("evidence", v.evidence))
				t.e.restartCampaign()
			}
			wait = probeInterval
		} else {
			t.pass(nil)
			t.answered = nil
		}
		waitChanged(ctx, nil, wait)
	}
}

// mayTakeOver tells whether this replica is the one to take over, does not lead already, and no stranger was the last to be
// seen to hold the lock.
func (t *takeover) mayTakeOver() bool {
	return t.e.cfg.TakesOver() && t.e.cfg.Voter() && t.e.idle() && !t.strangerHolds()
}

func (t *takeover) strangerHolds() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holder.stranger()
}

// suspects are the processes that have to be gone before this replica may take over: the one that leads by the
// record, and the one that holds the lock.
func (t *takeover) suspects(record Record) []process {
	if !t.mayTakeOver() {
		return nil
	}
	self := process{t.e.cfg.Pod, t.e.cfg.BootID}
	var all []process
	if leads := (process{record.Pod, record.BootID}); record.Pod != "" && !record.Resigned && leads != self {
		all = append(all, leads)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder.pod != "" && t.holder != self && (len(all) == 0 || all[0] != t.holder) {
		all = append(all, t.holder)
	}
	return all
}

// vacant tells whether nobody leads or holds the lock, and the lock cannot be reached to see that it is free.
func (t *takeover) vacant(record Record) bool {
	return t.mayTakeOver() && record.Pod != "" && record.Resigned && t.lockAway()
}

// examine returns the verdict on the suspects; nil if one of them is not gone, or this replica hears nobody at all.
func (t *takeover) examine(ctx context.Context, record Record, suspects []process) *verdict {
	v := &verdict{record: record, evidence: Crash}
	silent := false
	for _, p := range suspects {
		patience, answered := probePatience, slices.Contains(t.answered, p)
		if answered {
			patience = answeredPatience
		}
		evidence := t.e.probe(ctx, p, record, patience)
		if (evidence == Graceful || evidence == Transfer) && !t.e.cfg.First() {
			evidence = "" // it is about to say who leads next, and that is another one
		}
		if evidence == "" && !answered {
			t.answered = append(t.answered, p)
		}
		if evidence == "" {
			return nil
		}
		v.gone = append(v.gone, p)
		v.evidence = evidence
		silent = silent || evidence == Frozen
	}
	if silent && t.alone(ctx, suspects) {
		return nil
	}
	return v
}

// alone tells whether none of the others answers either, apart from the suspects. One of them lives, because a majority
// follows this replica: then this one is cut off, and a leader's silence says nothing.
func (t *takeover) alone(ctx context.Context, suspects []process) bool {
	var asked []string
	for _, pod := range t.e.cfg.Others() {
		if !slices.ContainsFunc(suspects, func(p process) bool { return p.pod == pod }) {
			asked = append(asked, pod)
		}
	}
	silent := make(chan bool, len(asked))
	for _, pod := range asked {
		go func() { silent <- t.e.probe(ctx, process{pod: pod}, Record{}, probePatience) == Frozen }()
	}
	for range asked {
		if !<-silent {
			return false
		}
	}
	return len(asked) > 0
}

// idle tells whether this replica neither leads nor has won the lock, and may do so.
func (e *Election) idle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.drained && e.leader == nil && (e.round == nil || !e.round.guard.hasWon())
}

// Vitals says whether this replica leads, or has won the lock and is about to; or why it is giving leadership up, while the
// record does not say so yet.
func (e *Election) Vitals() (epoch uint64, claiming bool, parting string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.leader != nil:
		return e.leader.Term.Epoch(), false, ""
	case e.round == nil || e.round.ctx.Err() != nil || !e.round.guard.hasWon():
		return 0, false, ""
	case e.parting.claimID == e.round.claimID:
		return 0, !e.drained, e.parting.reason
	}
	return 0, !e.drained, ""
}

// errRecordChanged is why an attempt to take over is called off.
var errRecordChanged = errors.New("the leader record has changed since its leader was found gone")

// check calls an attempt off that is made under v while record is the newest.
func (v *verdict) check(record Record) error {
	if v == nil || v.record.Revision == record.Revision {
		return nil
	}
	return fmt.Errorf("%w: %s claimed epoch %d", errRecordChanged, record.Pod, record.Epoch)
}
