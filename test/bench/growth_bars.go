package main

import (
	"fmt"
	"strings"
	"time"
)

// The bars, with manyKeys keys.
const (
	manyKeys    = 1_000_000
	fewKeys     = 10_000
	startUpMost = 10 * time.Second
	writesLeast = 0.8 // of the writes a second with fewKeys keys
)

// judged is a bar with its verdict.
type judged struct {
	about, measured, bar string
	met                  bool
}

func (j judged) verdict() string {
	if j.met {
		return verdictOK
	}
	return verdictMissed
}

// judge judges by the bars for which there are figures.
func (g *grown) judge() (all []judged) {
	many, ok := g.withKeys(manyKeys)
	if !ok {
		return nil
	}
	for _, up := range []struct {
		what string
		took time.Duration
	}{{"a follower", many.follower}, {"all replicas", many.all}} {
		all = append(all, judged{
			fmt.Sprintf("start-up of %s with %s keys", up.what, count(manyKeys)),
			fmt.Sprintf("%.2f s", up.took.Seconds()), fmt.Sprintf("≤ %g s", startUpMost.Seconds()), up.took <= startUpMost,
		})
	}
	few, ok := g.withKeys(fewKeys)
	if !ok || few.write.perSecond == 0 {
		return all
	}
	ratio := many.write.perSecond / few.write.perSecond
	return append(all, judged{
		fmt.Sprintf("writes with %s keys, to those with %s", count(manyKeys), count(fewKeys)),
		fmt.Sprintf("%.2f ×", ratio), fmt.Sprintf("≥ %g ×", writesLeast), ratio >= writesLeast,
	})
}

func (g *grown) withKeys(n int) (keysPoint, bool) {
	for _, p := range g.keys {
		if p.n == n {
			return p, true
		}
	}
	return keysPoint{}, false
}

// growthBarRows are a table of the bars, with its header.
func growthBarRows(all []judged) [][]string {
	rows := [][]string{{"", "measured", "bar", "verdict"}}
	for _, j := range all {
		rows = append(rows, []string{j.about, j.measured, j.bar, j.verdict()})
	}
	return rows
}

// verdict is nil if all is as it should be: nothing failed or was lost and, where it matters, no bar was missed.
func (g *grown) verdict(bars bool) error {
	if all := g.errors(); len(all) > 0 {
		return fmt.Errorf("%d times something failed, such as %s", len(all), all[0])
	}
	var about []string
	for _, j := range g.judge() {
		if !j.met {
			about = append(about, fmt.Sprintf("%s: %s, not %s", j.about, j.measured, j.bar))
		}
	}
	if bars && len(about) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(about, "; "))
	}
	return nil
}

// errors are all that went wrong, each with where it was.
func (g *grown) errors() (all []string) {
	add := func(where string, f figures) {
		for _, e := range f.errors {
			all = append(all, where+": "+e)
		}
	}
	for _, p := range g.keys {
		add(several(p.n, "key"), p.write)
	}
	for _, p := range g.values {
		add("values of "+sizeText(p.n), p.write)
	}
	for _, p := range g.replicas {
		add(several(p.n, "replica"), p.write)
	}
	for _, p := range g.clients {
		add("writes, "+several(p.n, "client"), p.write)
		add("reads, "+several(p.n, "client"), p.read)
	}
	for _, p := range g.watchers {
		add(several(p.n, "watcher"), p.write)
		if p.lost != 0 {
			all = append(all, fmt.Sprintf("%s: %d events were lost", several(p.n, "watcher"), p.lost))
		}
	}
	return all
}
