package check

// sessions finds reads that are older than they asked for. A session's key is its client's alone and never deleted, and
// the least revision of a read is that of the client's last acknowledged write: so what is read was written then
// or later, and so was what the key holds in the end.
func sessions(found *findings, h History, f Final) {
	for _, o := range h.Ops {
		if o.MinRevision != 0 && o.Outcome == Applied && o.Revision < o.MinRevision {
			found.add(FreshReads, []Op{o}, "%s was answered as of revision %d, and asked for %d", o.ID(), o.Revision, o.MinRevision)
		}
	}
	last := map[string]Op{}
	for _, o := range h.of(Session) {
		switch {
		case o.Outcome != Applied:
		case o.isWrite():
			last[o.Keys[0]] = o
		case o.Written < o.MinRevision:
			found.add(FreshReads, []Op{last[o.Keys[0]], o}, "%s shows what %s held at %d, and asked for %d", o.ID(), o.Keys[0], o.Written, o.MinRevision)
		}
	}
	if len(f.Replicas) == 0 {
		return // which present finds
	}
	held := f.entries()
	for _, key := range sortedKeys(last) {
		if e := held[key]; e.Revision < last[key].Revision {
			found.add(NothingLost, []Op{last[key]}, "%s holds %q, written at %d, and %s was acknowledged at %d",
				key, e.Value, e.Revision, last[key].ID(), last[key].Revision)
		}
	}
}
