package main

import (
	"fmt"
	"time"
)

func (s *screen) beginGrowth(version string, r runInfo, expected time.Duration) {
	fmt.Fprintf(s.out, "Leasehold %s, as something grows. %s. It takes about %s.\n", version, r.Machine(), minutes(expected))
}

func (s *screen) part(title string) { fmt.Fprintf(s.out, "\n\n%s:", title) }

// point begins the line of a size, to which say adds.
func (s *screen) point(title string) { fmt.Fprintf(s.out, "\n  %s", title) }

func (s *screen) say(format string, args ...any) { fmt.Fprintf(s.out, " · "+format, args...) }

func (s *screen) writes(f figures) {
	s.say("%s writes a second, p99 %s", count(f.perSecond), latency(f.p99))
	if len(f.errors) > 0 {
		s.say("! %d failed: %s", len(f.errors), f.errors[0])
	}
}

func (s *screen) growthTables(g grown) {
	s.breakOff()
	for _, t := range g.tables() {
		fmt.Fprintf(s.out, "\n%s:\n", t.title)
		s.columns(t.rows)
	}
	if judged := g.judge(); len(judged) > 0 {
		fmt.Fprintln(s.out, "\nThe bars:")
		s.columns(growthBarRows(judged))
	}
}
