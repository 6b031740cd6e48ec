package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/leasehold/leasehold/internal/loadgen"
)

// loadScreen is what a person sees of a load.
type loadScreen struct{ *screen }

func (s loadScreen) begin(cfg loadConfig, prefix string) {
	kind := "local"
	if cfg.Linearizable {
		kind = "linearizable"
	}
	s.print(s.paint(bold, fmt.Sprintf("Load: %d operations a second for %s, by at most %d clients at once", cfg.Rate, cfg.Length, cfg.Clients)) + "\n\n" +
		fmt.Sprintf("  replicas  %s\n", strings.Join(cfg.urls, "\n            ")) +
		fmt.Sprintf("  mix       %d %% writes, %d %% %s reads\n", 100-cfg.ReadPercent, cfg.ReadPercent, kind) +
		fmt.Sprintf("  keys      %d, %s…, with values of %d bytes\n\n", cfg.Keys, prefix, cfg.ValueSize))
}

func (s loadScreen) head() {
	s.print(s.paint(dim, fmt.Sprintf("  %6s  %6s  %6s  %7s  %7s  %7s  %7s  %6s", "second", "writes", "reads", "p50", "p99", "max", "waiting", "failed")) + "\n")
}

// second prints a line, with a bar for what was done of what was due.
func (s loadScreen) second(n int, sec loadgen.Second, cfg loadConfig) {
	const widest = 8
	rate := int64(cfg.Rate)
	bar := strings.Repeat("█", int(min(widest, ((sec.Writes+sec.Reads)*widest+rate/2)/rate)))
	p50, p99, longest := "-", "-", "-"
	if sec.Writes+sec.Reads+sec.Failed > 0 {
		p50, p99, longest = short(sec.Latency(50)), short(sec.Latency(99)), short(sec.Latency(100))
	}
	line := fmt.Sprintf("  %6d  %6d  %6d  %7s  %7s  %7s  %7d  %6d", n, sec.Writes, sec.Reads, p50, p99, longest, sec.Waiting, sec.Failed)
	if sec.Failed > 0 || sec.Writes+sec.Reads == 0 {
		line = s.paint(red, line)
	}
	s.print(line + "  " + s.paint(green, bar) + "\n")
}

func (s loadScreen) checking(cfg loadConfig) {
	s.print(fmt.Sprintf("\nReading the %d keys back.\n\n", cfg.Keys))
}

// report prints what the load has come to.
func (s loadScreen) report(r loadgen.Result, prefix string) {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	b.WriteString(s.paint(dim, fmt.Sprintf("  %-8s  %9s  %9s  %9s  %9s  %9s", "latency", "p50", "p90", "p99", "p99.9", "max")) + "\n")
	for _, kind := range []struct {
		name string
		of   loadgen.Figures
	}{{"writes", r.Writes}, {"reads", r.Reads}} {
		if kind.of.All() > 0 {
			b.WriteString(latencies(kind.name, kind.of))
		}
	}
	b.WriteString(s.paint(dim, "  from when an operation was due, not from when a client was free for it") + "\n\n")
	if r.Writes.All() > 0 {
		row("longest gap", "%s without an acknowledged write", s.paint(bold, seconds(r.Gap)))
	}
	row("acknowledged", "%d of %d writes", r.Writes.Done, r.Writes.All())
	row("answered", "%d of %d reads", r.Reads.Done, r.Reads.All())
	row("failed", "%s", s.number(r.Writes.Failed+r.Reads.Failed, r.Failed...))
	row("unknown", "%s", s.number(r.Writes.Unknown+r.Reads.Unknown, r.Unknown...))
	row("not begun", "%s", s.number(r.Writes.NotBegun+r.Reads.NotBegun))
	row("lost", "%s", s.number(int64(r.Losses), r.Lost...))
	if r.NotChecked > 0 {
		row("not checked", "%s", s.number(int64(r.NotChecked), r.WhyNotChecked...))
	}
	if r.Kept > 0 {
		fmt.Fprintf(&b, "\n%d keys are still there, under %s\n", r.Kept, prefix)
	}
	s.print(b.String())
}

func latencies(name string, f loadgen.Figures) string {
	return fmt.Sprintf("  %-8s  %9s  %9s  %9s  %9s  %9s\n", name,
		short(f.Latency(50)), short(f.Latency(90)), short(f.Latency(99)), short(f.Latency(99.9)), short(f.Latency(100)))
}

// short is a latency in a unit that suits it.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	default:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
}
