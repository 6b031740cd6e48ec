package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// cell is what is measured once a run.
type cell struct {
	system, op string
	clients    int
}

// results are the figures of all runs, by cell.
type results map[cell][]figures

// median is the median of each figure over the runs, with the errors of all of them; not ok if there was no run.
func (r results) median(c cell) (m figures, ok bool) {
	runs := r[c]
	if len(runs) == 0 {
		return figures{}, false
	}
	return medians(runs), true
}

// medians is the median of each figure, with the errors of all runs, of which there is one at least.
func medians(runs []figures) figures {
	m := figures{
		perSecond: medianOf(runs, func(f figures) float64 { return f.perSecond }),
		p50:       medianOf(runs, func(f figures) time.Duration { return f.p50 }),
		p99:       medianOf(runs, func(f figures) time.Duration { return f.p99 }),
		cpu:       medianOf(runs, func(f figures) time.Duration { return f.cpu }),
		ownCPU:    medianOf(runs, func(f figures) time.Duration { return f.ownCPU }),
		memory:    medianOf(runs, func(f figures) int64 { return f.memory }),
	}
	for _, f := range runs {
		m.errors = append(m.errors, f.errors...)
	}
	return m
}

// medianOf is the one in the middle, or between the two there.
func medianOf[R any, T int64 | float64 | time.Duration](runs []R, of func(R) T) T {
	var values []T
	for _, f := range runs {
		values = append(values, of(f))
	}
	slices.SortFunc(values, cmp.Compare)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// errors are those of all cells, each with where it was.
func (r results) errors() (all []string) {
	for c, runs := range r {
		for _, f := range runs {
			for _, e := range f.errors {
				all = append(all, c.String()+": "+e)
			}
		}
	}
	slices.Sort(all)
	return all
}

func (c cell) String() string { return fmt.Sprintf("%s, %s, %d clients", c.system, c.op, c.clients) }
