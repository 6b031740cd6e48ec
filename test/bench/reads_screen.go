package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

func (s *screen) beginReads(version string, r runInfo, expected time.Duration) {
	fmt.Fprintf(s.out, "Leasehold %s, with reads that its leader is asked for. %s. It takes about %s.\n", version, r.Machine(), minutes(expected))
	fmt.Fprintf(s.out, "%d clients read at the leader and %d write to it %d times a second, each at its own pace.\n\n", readers, writers, writesPerSecond)
}

func (s *screen) readsPoint(run int, c readsCase, p readsPoint) {
	fmt.Fprintf(s.out, "  run %d, %s: leader %s of a core\n", run, c, percent(p.leader))
}

// readsTable shows the medians of the cases' runs.
func (s *screen) readsTable(points [][]readsPoint) {
	rows := [][]string{{"reads at the leader", "--leader-reads", "leader's CPU", "followers' CPU", "read p50", "p99", "write p50", "p99", "passed on"}}
	for i, c := range readsCases {
		rows = append(rows, c.row(points[i]))
	}
	fmt.Fprintln(s.out, "\nThe medians of all runs (CPU in parts of one core):")
	s.columns(rows)
}

func (c readsCase) row(runs []readsPoint) []string {
	part := func(of func(readsPoint) float64) string { return percent(medianOf(runs, of)) }
	took := func(of func(readsPoint) time.Duration) string { return latency(medianOf(runs, of)) }
	row := []string{
		"none", c.mode,
		part(func(p readsPoint) float64 { return p.leader }), part(func(p readsPoint) float64 { return p.others }),
		"", "",
		took(func(p readsPoint) time.Duration { return p.write.p50 }), took(func(p readsPoint) time.Duration { return p.write.p99 }),
		"",
	}
	if c.what == "" {
		return row
	}
	row[0] = count(float64(c.rate)) + " reads a second"
	if c.what == opList {
		row[0] = fmt.Sprintf("%s lists of %d entries a second", count(float64(c.rate)), listLimit)
	}
	row[4], row[5] = took(func(p readsPoint) time.Duration { return p.read.p50 }), took(func(p readsPoint) time.Duration { return p.read.p99 })
	row[8] = part(func(p readsPoint) float64 { return p.passed })
	return row
}

func percent(part float64) string { return strconv.Itoa(int(100*part+0.5)) + " %" }

// passed is which part of the reads that the leader was to pass on a follower has answered; 0 if it was to pass none on.
func (c leasehold) passed(leader int) (float64, error) {
	status, text, err := fasthttp.GetTimeout(nil, c.Replicas[leader].URL+"/metrics", requestLimit)
	if err != nil {
		return 0, err
	}
	if status != fasthttp.StatusOK {
		return 0, fmt.Errorf("the metrics: status %d", status)
	}
	return passedOf(text)
}

// passedOf reads that from a replica's metrics.
func passedOf(metrics []byte) (float64, error) {
	const series = `leasehold_reads_passed_total{result="`
	var answered, all float64
	for line := range bytes.Lines(metrics) {
		rest, ok := strings.CutPrefix(string(line), series)
		if !ok {
			continue
		}
		result, number, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("the metrics have %q: %w", line, err)
		}
		all += n
		if result == "answered" {
			answered = n
		}
	}
	if all == 0 {
		return 0, nil
	}
	return answered / all, nil
}
