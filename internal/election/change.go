package election

import (
	"cmp"
	"errors"
	"fmt"
)

// Reasons of a change. A leader leaves the ones of the second group in its record when it gives that up; those of the
// third are what its successor makes of a record that was not given up.
const (
	First = "first" // nobody led before

	Graceful = "graceful" // handed over, because its process was to stop
	Transfer = "transfer" // handed over, because somebody asked for it
	Resigned = "resigned" // gave up by itself: it could not renew the lock, or not commit

	Crash  = "crash"  // its process is gone
	Frozen = "frozen" // it had gone silent, and nothing says that its process is gone
	Fenced = "fenced" // it may still have led: the claim has cut it off
)

// Change is a change of leadership that this replica took part in: the start of its own term, or the end of it.
type Change struct {
	// From has led, To leads now; empty where nobody has, or does.
	From, To string
	// Epoch is the term's.
	Epoch uint64
	// Reason is why the term before ended, or this one: one of the constants.
	Reason string
	// Why is half a sentence: what brought the change about.
	Why string
	// Handover says that the term ended in good order.
	Handover bool
	// Anew says that nobody has led in this store before, though the lock had been held: where there was data before,
	// it is gone.
	Anew bool
}

// Amiss tells whether somebody ought to look into it.
func (c Change) Amiss() bool { return c.Anew || c.To == "" && !c.Handover }

// String is a sentence for people.
func (c Change) String() string {
	if c.To == "" {
		return fmt.Sprintf("%s stopped leading under epoch %d (%s): %s", c.From, c.Epoch, c.Reason, c.Why)
	}
	return fmt.Sprintf("%s leads under epoch %d (%s): %s", c.To, c.Epoch, c.Reason, c.Why)
}

// began is the change that the start of the round's term is.
func (r *round) began(term Term) Change {
	cfg := &r.e.cfg
	replaced, lock, evidence := r.guard.wonBy()
	change := Change{
		From: replaced.Pod, To: cfg.Pod, Epoch: term.Epoch(),
		Reason: reasonBegan(cfg.Pod, cfg.BootID, replaced, lock, evidence), Why: whyElected(cfg.Pod, cfg.BootID, replaced, lock, evidence),
		Anew: replaced.Pod == "" && lock != lockAbsent,
	}
	if cfg.Storeless {
		change = change.storeless(lock)
	}
	return change
}

// ended is the change that the end of the round's term is.
func (r *round) ended(term Term, cause error) Change {
	record, _ := r.e.cfg.Store.Record()
	reason := reasonEnded(cause)
	if record.Epoch > term.Epoch() {
		reason = Fenced
	}
	return Change{
		From: r.e.cfg.Pod, Epoch: term.Epoch(), Reason: reason, Why: cause.Error(), Handover: errors.Is(cause, errHandover),
	}
}

// lockState is how a lock was before it was won.
type lockState int

const (
	lockAbsent lockState = iota // nobody has ever held it
	lockFree
	lockHeld
)

// whyElected says why pod could claim, from the record that its claim replaced, from how the lock was, and from what was
// found out about the leader by that record.
func whyElected(pod, bootID string, replaced Record, lock lockState, evidence string) string {
	switch {
	case replaced.Pod == "" && lock != lockAbsent:
		return "the first leader of a new, empty store, though the lock had been held before: if there was data, it is gone"
	case replaced.Pod == "":
		return "the first leader"
	case replaced.Pod == pod && replaced.BootID == bootID:
		return "nobody else took over"
	case replaced.Pod == pod:
		return pod + " was restarted"
	case replaced.Resigned:
		return replaced.Pod + " gave leadership up"
	case evidence == Graceful, evidence == Transfer:
		return replaced.Pod + " was giving leadership up"
	case evidence == Crash:
		return replaced.Pod + "'s process was gone"
	case evidence == Frozen:
		return replaced.Pod + " did not answer"
	case evidence == Fenced:
		return replaced.Pod + " could not lead any more"
	case lock != lockHeld:
		return replaced.Pod + " no longer held the lock"
	default:
		return replaced.Pod + " had been silent for the length of its lease"
	}
}

// reasonBegan is the reason to whyElected's sentence. evidence is what a takeover has found out about a leader that had
// not resigned, if there was one.
func reasonBegan(pod, bootID string, replaced Record, lock lockState, evidence string) string {
	switch {
	case replaced.Pod == "":
		return First
	case replaced.Resigned:
		return cmp.Or(replaced.Reason, Resigned)
	case evidence != "":
		return evidence
	case replaced.Pod == pod && replaced.BootID == bootID, lock == lockFree:
		return Resigned // the record was only not given up yet: its pod has released the lock
	case replaced.Pod == pod:
		return Crash
	case lock == lockAbsent:
		return Fenced // somebody has deleted the lock
	default:
		return Frozen
	}
}

// reasonEnded is why a term ended, from its cause.
func reasonEnded(cause error) string {
	switch {
	case errors.Is(cause, errTransfer):
		return Transfer
	case errors.Is(cause, errHandover):
		return Graceful
	case errors.Is(cause, errSuperseded), errors.Is(cause, errTakenAway):
		return Fenced
	default:
		return Resigned
	}
}

// explain tells a release that was asked for from the one with which client-go ends a round that it could not
// renew, and adds to the latter why not.
func (r *round) explain(cause error) error {
	if errors.Is(cause, errReleased) && r.ctx.Err() == nil {
		cause = errExpired
	}
	if failure := r.guard.lastFailure(); failure != nil && errors.Is(cause, errExpired) {
		return fmt.Errorf("%w: %w", cause, failure)
	}
	return cause
}
