package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// bar is how long the gaps of a case may be. Zero is no bar.
type bar struct{ median, worst time.Duration }

func (b bar) String() string {
	switch {
	case b == bar{}:
		return "none"
	case b.median == 0:
		return "worst ≤ " + report.Duration(b.worst)
	}
	return fmt.Sprintf("median ≤ %s, worst ≤ %s", report.Duration(b.median), report.Duration(b.worst))
}

// met tells whether the gaps keep to the bar. No gaps at all do not.
func (b bar) met(gaps []time.Duration) bool {
	return len(gaps) > 0 && (b.median == 0 || report.Percentile(gaps, 50) <= b.median) && (b.worst == 0 || slices.Max(gaps) <= b.worst)
}
