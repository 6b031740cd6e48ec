package election

import (
	"errors"
	"fmt"
)

// Change is a change of leadership that this replica took part in: the start of its own term, or the end of it.
type Change struct {
	// From has led, To leads now; empty where nobody has, or does.
	From, To string
	// Epoch is the term's.
	Epoch uint64
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
		return fmt.Sprintf("%s stopped leading under epoch %d: %s", c.From, c.Epoch, c.Why)
	}
	return fmt.Sprintf("%s leads under epoch %d: %s", c.To, c.Epoch, c.Why)
}

// began is the change that the start of the round's term is.
func (r *round) began(term Term) Change {
	cfg := &r.e.cfg
	replaced, lock := r.guard.wonBy()
	return Change{
		From: replaced.Pod, To: cfg.Pod, Epoch: term.Epoch(), Why: whyElected(cfg.Pod, cfg.BootID, replaced, lock),
		Anew: replaced.Pod == "" && lock != lockAbsent,
	}
}

// ended is the change that the end of the round's term is.
func (r *round) ended(term Term, cause error) Change {
	return Change{From: r.e.cfg.Pod, Epoch: term.Epoch(), Why: cause.Error(), Handover: errors.Is(cause, errHandover)}
}

// lockState is how a lock was before it was won.
type lockState int

const (
	lockAbsent lockState = iota // nobody has ever held it
	lockFree
	lockHeld
)

// whyElected says why pod could claim, from the record that its claim replaced and from how the lock was.
func whyElected(pod, bootID string, replaced Record, lock lockState) string {
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
	case lock != lockHeld:
		return replaced.Pod + " no longer held the lock"
	default:
		return replaced.Pod + " had been silent for the length of its lease"
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
