package main

import (
	"fmt"
	"slices"
	"time"
)

// bar is how long the gaps of a case may be. Zero is no bar.
type bar struct{ median, worst time.Duration }

func (b bar) String() string {
	switch {
	case b == bar{}:
		return "none"
	case b.median == 0:
		return "worst ≤ " + duration(b.worst)
	}
	return fmt.Sprintf("median ≤ %s, worst ≤ %s", duration(b.median), duration(b.worst))
}

// met tells whether the gaps keep to the bar. No gaps at all do not.
func (b bar) met(gaps []time.Duration) bool {
	return len(gaps) > 0 && (b.median == 0 || percentile(gaps, 50) <= b.median) && (b.worst == 0 || slices.Max(gaps) <= b.worst)
}

// percentile is the smallest of the values that at least p per cent of them do not exceed; 0 if there are none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// duration is d with three digits or so.
func duration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
