package check

import (
	"cmp"
	"slices"
)

// ordered finds operations that the store ordered otherwise than time did: one that began after another had ended has
// the lower revision. Unlike the search for an order, this looks at all keys together.
func ordered(found *findings, h History) {
	var begun []Op
	for _, o := range h.Ops {
		decided := o.isWrite() && (o.Outcome == Applied || o.Outcome == Refused)
		if o.Revision != 0 && (decided || o.Linearizable && o.Outcome == Applied) {
			begun = append(begun, o)
		}
	}
	ended := slices.Clone(begun)
	slices.SortFunc(begun, func(a, b Op) int { return cmp.Compare(a.Start, b.Start) })
	slices.SortFunc(ended, func(a, b Op) int { return cmp.Compare(a.End, b.End) })
	var newest Op
	for _, o := range begun {
		for len(ended) > 0 && ended[0].End < o.Start {
			if ended[0].Revision > newest.Revision {
				newest = ended[0]
			}
			ended = ended[1:]
		}
		if o.Revision < newest.Revision || o.isWrite() && o.Revision == newest.Revision {
			found.add(Linearizable, []Op{newest, o}, "%s has revision %d, and %s, which had ended before, has %d",
				o.ID(), o.Revision, newest.ID(), newest.Revision)
		}
	}
}

// writers finds epochs under which two pods have decided writes, and writes that were decided under an older epoch than
// one before them.
func writers(found *findings, h History) {
	var decided []Op
	first := map[uint64]Op{}
	for _, o := range h.Ops {
		if !o.isWrite() || o.Epoch == 0 || o.Revision == 0 {
			continue
		}
		decided = append(decided, o)
		if o.Pod == "" {
			continue
		}
		if before, ok := first[o.Epoch]; ok && before.Pod != o.Pod {
			found.add(OneWriter, []Op{before, o}, "%s and %s have both decided writes under epoch %d", before.Pod, o.Pod, o.Epoch)
		} else if !ok {
			first[o.Epoch] = o
		}
	}
	slices.SortStableFunc(decided, func(a, b Op) int { return cmp.Compare(a.Revision, b.Revision) })
	for i := 1; i < len(decided); i++ {
		if before, o := decided[i-1], decided[i]; o.Epoch < before.Epoch {
			found.add(OneWriter, []Op{before, o}, "revision %d was written under epoch %d, after revision %d under epoch %d",
				o.Revision, o.Epoch, before.Revision, before.Epoch)
		}
	}
}
