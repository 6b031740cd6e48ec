package check

import (
	"cmp"
	"slices"
)

// logged finds acknowledged writes that are not in the log as they were acknowledged.
func logged(found *findings, h History) {
	pods := map[uint64]string{}
	for _, t := range h.Log.Transactions {
		if t.Leader != nil {
			pods[t.Leader.Epoch] = t.Leader.Pod
		}
	}
	for _, o := range h.Ops {
		if !o.isWrite() || o.Outcome != Applied || h.Log.missed(o.Revision) {
			continue
		}
		t, ok := h.Log.at(o.Revision)
		if !ok || !t.wrote(o) {
			found.add(NothingLost, []Op{o}, "the log does not have %s at revision %d", o.ID(), o.Revision)
			continue
		}
		if t.Head == nil || o.Epoch == 0 {
			continue // the chain is found to be broken, or the epoch was not told
		}
		if pod := pods[t.Head.Epoch]; o.Epoch != t.Head.Epoch || o.Pod != "" && pod != "" && o.Pod != pod {
			found.add(OneWriter, []Op{o}, "revision %d is of epoch %d and %s, and %s has acknowledged it under epoch %d",
				o.Revision, t.Head.Epoch, pod, o.Pod, o.Epoch)
		}
	}
}

// missed says whether the log cannot have a revision, which is reported on its own.
func (l *Log) missed(revision int64) bool {
	for _, g := range l.Gaps {
		if g.From <= revision && revision <= g.To {
			return true
		}
	}
	return revision > l.Reached
}

func (t Transaction) wrote(o Op) bool {
	written := map[string]string{}
	for _, e := range t.Entries {
		if !e.Deleted {
			written[e.Key] = e.Value
		}
	}
	for _, key := range o.Keys {
		if written[key] != o.Value {
			return false
		}
	}
	return true
}

// shown finds reads that do not show what the log has at their revision, whatever they were to be.
func shown(found *findings, h History) {
	written := map[string][]Entry{}
	for _, t := range h.Log.Transactions {
		for _, e := range t.Entries {
			e.Revision = t.Revision
			written[e.Key] = append(written[e.Key], e)
		}
	}
	for _, o := range h.Ops {
		if o.Kind != Read || o.Outcome != Applied || !h.Log.complete(o.Revision) {
			continue
		}
		entries := written[o.Keys[0]]
		n, _ := slices.BinarySearchFunc(entries, o.Revision+1, func(e Entry, revision int64) int { return cmp.Compare(e.Revision, revision) })
		var e Entry
		if n > 0 && !entries[n-1].Deleted {
			e = entries[n-1]
		}
		if e.Value != o.Value || e.Revision != o.Written {
			found.add(Linearizable, []Op{o}, "at revision %d %s is %s by the log, and %s shows %q of revision %d",
				o.Revision, o.Keys[0], e, o.ID(), o.Value, o.Written)
		}
	}
}
