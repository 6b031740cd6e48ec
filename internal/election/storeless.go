package election

import "time"

// Validity is for how long a holder believes in the lock after it began to renew it: until then nobody else takes it.
func (t Timing) Validity() time.Duration { return t.LeaseDuration - margin }

// storeless is c where no store has anything to say of it: that nobody is known to have led is no sign of lost data.
func (c Change) storeless(lock lockState) Change {
	if c.Anew {
		c.Anew, c.Reason, c.Why = false, Resigned, "nobody held the lock"
	}
	if lock == lockAbsent {
		c.Reason, c.Why = First, "there was no lock before"
	}
	return c
}
