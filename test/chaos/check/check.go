// Package check finds out whether a history kept the service's promises.
//
// Its functions are pure: they take what clients recorded, what the store went through, and what the replicas hold in
// the end. The one invariant: what could not be checked is a violation too. A check never passes by looking at nothing.
package check

import (
	"fmt"
	"strings"
)

// Invariant is the name of a promise.
type Invariant string

// The promises.
const (
	Linearizable  Invariant = "operations are linearizable"
	NothingLost   Invariant = "nothing acknowledged is lost"
	AppliedOnce   Invariant = "nothing is applied twice"
	NotThere      Invariant = "what was not applied is not there"
	FreshReads    Invariant = "no read is older than asked for"
	Equal         Invariant = "all replicas hold the same"
	OneWriter     Invariant = "an epoch has one writer, and epochs only grow"
	JobsFenced    Invariant = "no job has an effect under an old epoch"
	LastSucceeded Invariant = "the last operation of each client succeeds"
	AsDocumented  Invariant = "answers are as documented"
	// Checked is broken where another one could not be checked.
	Checked Invariant = "everything is checked"
)

// Invariants are all of them, in the order of a report.
var Invariants = []Invariant{
	Linearizable, NothingLost, AppliedOnce, NotThere, FreshReads, Equal, OneWriter, JobsFenced, LastSucceeded, AsDocumented, Checked,
}

// Violation is a promise that was broken.
type Violation struct {
	Invariant Invariant `json:"invariant"`
	// Detail is a sentence with keys and revisions.
	Detail string `json:"detail"`
	// Ops are the operations that show it.
	Ops []Op `json:"ops,omitempty"`
}

// String is the violation on a line, and each of its operations on another.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "broken: %s: %s", v.Invariant, v.Detail)
	for _, o := range v.Ops {
		b.WriteString("\n  " + o.String())
	}
	return b.String()
}

// maxViolations bounds what is told of one invariant.
const maxViolations = 20

// findings gathers violations, not more of a kind than anybody reads.
type findings struct {
	all   []Violation
	count map[Invariant]int
}

func newFindings() *findings { return &findings{count: map[Invariant]int{}} }

func (f *findings) add(i Invariant, ops []Op, format string, args ...any) {
	f.count[i]++
	if f.count[i] <= maxViolations {
		f.all = append(f.all, Violation{i, fmt.Sprintf(format, args...), ops})
	}
}

// sorted are the violations in the order of a report.
func (f *findings) sorted() (all []Violation) {
	for _, i := range Invariants {
		for _, v := range f.all {
			if v.Invariant == i {
				all = append(all, v)
			}
		}
		if more := f.count[i] - maxViolations; more > 0 {
			all = append(all, Violation{Invariant: i, Detail: fmt.Sprintf("and %d more", more)})
		}
	}
	return all
}

// Check returns what h and f break of the promises, at most 20 of a kind and how many more there are. It takes no longer
// than a few minutes.
func Check(h History, f Final) []Violation {
	found := newFindings()
	present(found, h, f)
	documented(found, h)
	lastOfEach(found, h)
	observed(found, h, f)
	linearizable(found, h, f, searchLimit)
	ordered(found, h)
	sets(found, h, f)
	counters(found, h, f)
	sessions(found, h, f)
	writers(found, h)
	equal(found, h, f)
	hashes(found, f)
	if h.Log != nil {
		chain(found, h.Log)
		once(found, h.Log)
		logged(found, h)
		shown(found, h)
	}
	return found.sorted()
}

// present finds what there is nothing to look at of.
func present(found *findings, h History, f Final) {
	if len(h.Workloads) == 0 {
		found.add(Checked, nil, "no workload has run")
	}
	for _, w := range h.Workloads {
		written, read := answered(h.of(w))
		if written == 0 {
			found.add(Checked, nil, "no write of the workload %q was acknowledged", w)
		}
		if read == 0 && w != Set {
			found.add(Checked, nil, "no read of the workload %q was answered", w)
		}
	}
	if len(f.Replicas) < 2 {
		found.add(Checked, nil, "the final state of %d replicas was read; two are the least to compare", len(f.Replicas))
	}
	names := map[string]bool{}
	for _, r := range f.Replicas {
		if names[r.Name] {
			found.add(Checked, nil, "the final state of %q was read twice, in place of another replica's", r.Name)
		}
		names[r.Name] = true
	}
	if h.Log == nil {
		found.add(Checked, nil, "nobody has watched the store")
		return
	}
	for _, g := range h.Log.Gaps {
		found.add(Checked, nil, "revisions %d to %d of the store were not seen: their history had been dropped", g.From, g.To)
	}
	if h.Log.Reached < f.Revision {
		found.add(Checked, nil, "the store was watched to revision %d, and the final state is that of revision %d", h.Log.Reached, f.Revision)
	}
	if !hasEffects(h.Log) {
		found.add(Checked, nil, "no job of the leader's has written anything")
	}
}

func hasEffects(l *Log) bool {
	for _, t := range l.Transactions {
		if len(t.Effects) > 0 {
			return true
		}
	}
	return false
}

// answered counts the writes that were acknowledged, and the reads that showed something or that there is nothing.
func answered(ops []Op) (written, read int) {
	for _, o := range ops {
		switch {
		case o.Outcome != Applied:
		case o.isWrite():
			written++
		default:
			read++
		}
	}
	return written, read
}

// documented finds answers that are none of the API's, or none to what was asked.
func documented(found *findings, h History) {
	for _, o := range h.Ops {
		if o.Unexpected != "" {
			found.add(AsDocumented, []Op{o}, "%s was answered with %s", o.ID(), o.Unexpected)
		}
		if o.Outcome == Refused && o.If == nil && o.Kind != Create {
			found.add(AsDocumented, []Op{o}, "%s was refused, and had asked for nothing", o.ID())
		}
	}
}

// lastOfEach finds clients whose last operation did not succeed.
func lastOfEach(found *findings, h History) {
	last := map[string]Op{}
	for _, o := range h.Ops {
		if seen, ok := last[o.Client]; !ok || seen.Number < o.Number {
			last[o.Client] = o
		}
	}
	for _, client := range sortedKeys(last) {
		if o := last[client]; o.Outcome != Applied {
			found.add(LastSucceeded, []Op{o}, "the last operation of %s did not succeed", client)
		}
	}
}
