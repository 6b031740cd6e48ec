// Package report puts durations before a person: as text, as a Markdown table, and as a plot.
package report

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Percentile is the smallest of the values that at least p per cent of them do not exceed; 0 if there are none.
func Percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

// Duration is d with three digits or so.
func Duration(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// Markdown is a table of which the first row is the header. All columns but the first and the last texts are numbers.
func Markdown(rows [][]string, texts int) string {
	var out strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&out, "|---|%s%s\n", strings.Repeat("---:|", len(row)-1-texts), strings.Repeat("---|", texts))
		}
	}
	return out.String()
}

// DefaultOf is the default of a program's flag, by the program's help text; "unknown" if it does not say.
func DefaultOf(help, flag string) string {
	found := regexp.MustCompile(`(?m)^\s*--` + regexp.QuoteMeta(flag) + ` .*\(default ([^)]*)\)$`).FindStringSubmatch(help)
	if found == nil {
		return "unknown"
	}
	return found[1]
}
