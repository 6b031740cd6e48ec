package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// writes are the operations that write, by what they write to each key.
type writes map[cell]Op

// cell is a value at a key.
type cell struct{ key, value string }

func writesOf(h History) writes {
	w := writes{}
	for _, o := range h.Ops {
		if !o.isWrite() {
			continue
		}
		for _, key := range o.Keys {
			w[cell{key, o.Value}] = o
		}
	}
	return w
}

// observation is a value that was seen at a key.
type observation struct {
	cell
	revision int64  // at which it was written
	where    string // it was seen
	by       []Op
}

// observations are all values that reads, the final state and the log have shown.
func observations(h History, f Final) (all []observation) {
	for _, o := range h.Ops {
		if o.Kind == Read && o.Outcome == Applied && o.Value != "" {
			all = append(all, observation{cell{o.Keys[0], o.Value}, o.Written, "read by " + o.ID(), []Op{o}})
		}
	}
	for _, r := range f.Replicas {
		for _, e := range r.Entries {
			if strings.HasPrefix(e.Key, h.Prefix) {
				all = append(all, observation{cell{e.Key, e.Value}, e.Revision, "held by " + r.Name, nil})
			}
		}
	}
	if h.Log == nil {
		return all
	}
	for _, t := range h.Log.Transactions {
		for _, e := range t.Entries {
			if strings.HasPrefix(e.Key, h.Prefix) && !e.Deleted {
				all = append(all, observation{cell{e.Key, e.Value}, t.Revision, "in the log of the store", nil})
			}
		}
	}
	return all
}

// observed finds values that ought not to be there, and writes that took effect at more than one revision.
func observed(found *findings, h History, f Final) {
	written := writesOf(h)
	first := map[string]observation{}
	for _, seen := range observations(h, f) {
		o, ok := written[seen.cell]
		switch {
		case !ok:
			found.add(NotThere, seen.by, "%s holds %q, written at %d, which nobody wrote: %s", seen.key, seen.value, seen.revision, seen.where)
			continue
		case !o.mayBeApplied():
			found.add(NotThere, append([]Op{o}, seen.by...), "%s holds what was %s, written at %d: %s", seen.key, o.Outcome, seen.revision, seen.where)
			continue
		case o.Outcome == Applied && o.Revision != seen.revision:
			found.add(AppliedOnce, append([]Op{o}, seen.by...), "%s is acknowledged at %d, and %s has its value from %d: %s",
				o.ID(), o.Revision, seen.key, seen.revision, seen.where)
			continue
		}
		if before, ok := first[o.ID()]; ok && before.revision != seen.revision {
			found.add(AppliedOnce, append([]Op{o}, seen.by...), "%s was applied at %d (%s) and at %d (%s)",
				o.ID(), before.revision, before.where, seen.revision, seen.where)
		} else if !ok {
			first[o.ID()] = seen
		}
	}
}
