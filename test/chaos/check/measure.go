package check

import (
	"slices"
	"time"
)

// Measures are what a stretch of a history came to.
type Measures struct {
	// Acknowledged are the writes that were, in the stretch; PerSecond is as many per second.
	Acknowledged int
	PerSecond    float64
	// LongestGap is the longest time without one, the beginning and the end of the stretch included.
	LongestGap time.Duration
	// Failed are the writes that were certainly not applied, Unknown those of which nobody knows, Refused those whose
	// condition did not hold. Unread are the reads without an answer. Retried are attempts beyond an operation's first.
	Failed, Unknown, Refused, Unread, Retried int
}

// Measure measures the operations that ended within [from, until].
func Measure(ops []Op, from, until time.Duration) Measures {
	var m Measures
	acks := []time.Duration{from, until}
	for _, o := range ops {
		if o.End < from || o.End > until {
			continue
		}
		m.Retried += max(0, o.Attempts-1)
		switch {
		case o.Kind == Read && o.Outcome == NotApplied:
			m.Unread++
		case o.Kind == Read:
		case o.Outcome == NotApplied:
			m.Failed++
		case o.Outcome == Unknown:
			m.Unknown++
		case o.Outcome == Refused:
			m.Refused++
		default:
			m.Acknowledged++
			acks = append(acks, o.End)
		}
	}
	slices.Sort(acks)
	for i := 1; i < len(acks); i++ {
		m.LongestGap = max(m.LongestGap, acks[i]-acks[i-1])
	}
	if until > from {
		m.PerSecond = float64(m.Acknowledged) / (until - from).Seconds()
	}
	return m
}
