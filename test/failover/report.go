package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// screen is what a person sees.
type screen struct{ out io.Writer }

func (s *screen) begin(r runInfo) {
	fmt.Fprintf(s.out, "Three replicas, %s; %s.\nLease %s; etcd %s. Seed %d.\n\n", r.Site, r.API, r.Lease, r.Etcd, r.Seed)
}

func (s *screen) round(name string, number, of int, r round) {
	extra := ""
	if r.how != "" {
		extra = "  " + r.how
	}
	if r.retried > 0 {
		extra += fmt.Sprintf("  retried %d", r.retried)
	}
	if len(r.failed) > 0 {
		extra += fmt.Sprintf("  failed %d: %s", len(r.failed), r.failed[0])
	}
	for _, w := range r.wrong {
		extra += "  ! " + w
	}
	fmt.Fprintf(s.out, "%-11s %*d/%d  %s (%d) → %s (%d)  gap %8s%s\n",
		name, len(strconv.Itoa(of)), number, of, r.old, r.oldEpoch, r.new, r.epoch, report.Duration(r.gap), extra)
}

func (s *screen) caseDone(r result) {
	switch {
	case r.skipped != "":
		fmt.Fprintf(s.out, "%-11s left out: %s\n\n", r.name, r.skipped)
	case len(r.lost) > 0:
		fmt.Fprintf(s.out, "%-11s LOST %d acknowledged writes, such as %s\n\n", r.name, len(r.lost), r.lost[0])
	default:
		fmt.Fprintf(s.out, "%-11s every acknowledged write was read back\n\n", r.name)
	}
}

func (s *screen) losing(d time.Duration) {
	fmt.Fprintf(s.out, "%-11s for %s each network drops %g %% of the packets that reach it, by iptables; nothing delays or reorders them\n",
		lossyCase, d, 100*lossShare)
}

func (s *screen) hardship(h *hardship) { fmt.Fprintf(s.out, "%-11s %s\n\n", lossyCase, h) }

func (h *hardship) String() string {
	if h.skipped != "" {
		return "left out: " + h.skipped
	}
	return fmt.Sprintf("in %s: leadership changes %d, gaps of %s or more %d, longest gap %s, acknowledged %d, failed %d, retried %d, lost %d",
		h.took, h.changes, report.Duration(longGap), h.longGaps, report.Duration(h.longest), h.acknowledged, len(h.failed), h.retried, len(h.lost))
}

func (s *screen) table(results []result) {
	if len(results) == 0 {
		return
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, row := range rows(results) {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // of the screen
	fmt.Fprintln(s.out)
}

// rows are the table, with its header.
func rows(results []result) [][]string {
	rows := [][]string{{"case", "rounds", "median", "p99", "worst", "failed", "retried", "lost", "bar", "verdict"}}
	for _, r := range results {
		if r.skipped != "" {
			rows = append(rows, []string{r.name, "0", "", "", "", "", "", "", r.bar.String(), "left out"})
			continue
		}
		gaps := r.gaps()
		rows = append(rows, []string{
			r.name, strconv.Itoa(len(gaps)), report.Duration(report.Percentile(gaps, 50)), report.Duration(report.Percentile(gaps, 99)), report.Duration(report.Percentile(gaps, 100)),
			strconv.Itoa(len(r.failed())), strconv.Itoa(r.retried()), strconv.Itoa(len(r.lost)), r.bar.String(), r.verdict(),
		})
	}
	return rows
}

func (r result) verdict() string {
	missed := ""
	if !r.bar.met(r.gaps()) {
		missed = "MISSED"
	}
	if n := len(r.wrong()); n > 0 {
		missed = strings.TrimSpace(fmt.Sprintf("%s WRONG %d", missed, n))
	}
	return cmp.Or(missed, "ok")
}
