package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// screen is what a person sees.
type screen struct{ out io.Writer }

func (s *screen) begin(c config) {
	what := fmt.Sprintf("faults by chance for %s, seed %d", c.duration, c.seed)
	if c.schedule != "" {
		what = fmt.Sprintf("the case %s, seed %d", c.schedule, c.seed)
	}
	fmt.Fprintf(s.out, "Three replicas, each on a network and a disk of its own: %s.\n\n%7s  %-15s %-22s %9s  %9s\n", what, "", "fault", "struck", "gap", "recovery")
}

// strike begins a line that recovered ends.
func (s *screen) strike(i incident) {
	fmt.Fprintf(s.out, "%7s  %-15s ", clock(i.At), i.Fault)
}

func (s *screen) recovered(i incident) {
	notes := slices.Clone(i.Remarks)
	if i.Failed > 0 {
		notes = append(notes, fmt.Sprintf("%d writes failed", i.Failed))
	}
	if i.Restarts > 0 {
		notes = append(notes, fmt.Sprintf("restarted %d×", i.Restarts))
	}
	line := fmt.Sprintf("%-22s %9s  %9s  %s", i.Target, report.Duration(i.Gap), report.Duration(i.Recovery), strings.Join(notes, "; "))
	fmt.Fprintln(s.out, strings.TrimRight(line, " "))
	for _, b := range i.Broken {
		fmt.Fprintf(s.out, "%7s  ! %s\n", "", b)
	}
}

// interrupted ends the line that strike has begun.
func (s *screen) interrupted() { fmt.Fprintln(s.out) }

func (s *screen) checking() {
	fmt.Fprintf(s.out, "\nThe faults are over. The clients end, and what they saw is checked.\n\n")
}

func (s *screen) end(r result) {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, row := range rows(r) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // of the screen
	fmt.Fprintf(s.out, "\n%s\n\n", totals(r))
	for _, v := range r.Broken {
		fmt.Fprintln(s.out, v)
	}
	if !r.broken() && r.unfinished == nil {
		fmt.Fprintln(s.out, "No promise was broken.")
	}
}

// clock is a time since the start, as a clock shows it.
func clock(d time.Duration) string {
	d = d.Round(time.Second)
	if d >= time.Hour {
		return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// totals says in a sentence what the run came to.
func totals(r result) string {
	t := r.Totals
	return fmt.Sprintf("Faults %d, elections %d, in %s. Operations %d: writes acknowledged %d, refused by their condition %d, not applied %d, unknown %d; reads without an answer %d; attempts repeated %d.",
		len(r.Incidents), r.Elections, r.Took.Round(time.Second), r.Operations, t.Acknowledged, t.Refused, t.Failed, t.Unknown, t.Unread, t.Retried)
}

// tallied is what all faults of a kind came to.
type tallied struct {
	fault            string
	gaps, recoveries []time.Duration
	notes            []string // of the gaps
	failed, broken   int
}

// tally is in the order of the list of faults; those that did not strike are left out.
func tally(r result) (all []tallied) {
	for _, name := range faultNames() {
		t := tallied{fault: name}
		for _, i := range r.Incidents {
			if i.Fault == name {
				t.gaps, t.recoveries = append(t.gaps, i.Gap), append(t.recoveries, i.Recovery)
				t.notes = append(t.notes, fmt.Sprintf("%s at %s", i.Target, clock(i.At)))
				t.failed += i.Failed
				t.broken += len(i.Broken)
			}
		}
		if len(t.gaps) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// rows are the table, with its header.
func rows(r result) [][]string {
	rows := [][]string{{"fault", "times", "gap: median", "worst", "recovery: median", "worst", "writes failed", "verdict"}}
	for _, t := range tally(r) {
		verdict := "ok"
		switch {
		case t.broken > 0:
			verdict = fmt.Sprintf("BROKEN %d", t.broken)
		case len(r.Broken) > 0:
			verdict = "unclear" // what clients saw broken may be of any fault
		}
		rows = append(rows, []string{
			t.fault, strconv.Itoa(len(t.gaps)),
			report.Duration(report.Percentile(t.gaps, 50)), report.Duration(slices.Max(t.gaps)),
			report.Duration(report.Percentile(t.recoveries, 50)), report.Duration(slices.Max(t.recoveries)),
			strconv.Itoa(t.failed), verdict,
		})
	}
	return rows
}
