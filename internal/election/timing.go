package election

import (
	"fmt"
	"time"
)

// Timing is client-go's three durations.
type Timing struct {
	// LeaseDuration is how long the others wait for a silent holder. The record keeps whole seconds.
	LeaseDuration time.Duration
	// RenewDeadline is how long a holder tries to renew before it gives up.
	RenewDeadline time.Duration
	// RetryPeriod is the pause between tries.
	RetryPeriod time.Duration
}

// DefaultTiming is client-go's and that of the Kubernetes components.
var DefaultTiming = Timing{LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second}

// margin is how long before the end of its lease a holder stops believing in it.
const margin = time.Second

// Validate returns the rule that t breaks, or nil. The rules are stricter than client-go's own, which leave
// a holder that fails to renew no time to find that out before another one may take over.
func (t Timing) Validate() error {
	switch {
	case t.RetryPeriod <= 0:
		return fmt.Errorf("the retry period (%s) must be positive", t.RetryPeriod)
	case t.RenewDeadline < 2*t.RetryPeriod:
		return fmt.Errorf("the renew deadline (%s) must be at least twice the retry period (%s)", t.RenewDeadline, t.RetryPeriod)
	case t.LeaseDuration%time.Second != 0:
		return fmt.Errorf("the lease duration (%s) must be whole seconds", t.LeaseDuration)
	case t.LeaseDuration < t.RenewDeadline+2*t.RetryPeriod+margin:
		return fmt.Errorf("the lease duration (%s) must be at least the renew deadline plus two retry periods plus %s (%s)",
			t.LeaseDuration, margin, t.RenewDeadline+2*t.RetryPeriod+margin)
	}
	return nil
}
