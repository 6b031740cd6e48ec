package check

// hashes finds members whose data are not the same.
func hashes(found *findings, f Final) {
	if len(f.Hashes) < 2 {
		found.add(Checked, nil, "the data of %d members were hashed; two are the least to compare", len(f.Hashes))
		return
	}
	first := f.Hashes[0]
	for _, h := range f.Hashes[1:] {
		switch {
		case h.Revision != first.Revision || h.Compacted != first.Compacted:
			found.add(Checked, nil, "the hashes of %s and %s cannot be compared: they are of revisions %d and %d, with the history from %d and %d",
				first.Member, h.Member, first.Revision, h.Revision, first.Compacted, h.Compacted)
		case h.Hash != first.Hash:
			found.add(Equal, nil, "at revision %d the data of %s have the hash %08x, those of %s have %08x",
				h.Revision, first.Member, first.Hash, h.Member, h.Hash)
		}
	}
}

// equal finds keys that two replicas do not hold alike, or that they do not hold as the log says.
func equal(found *findings, h History, f Final) {
	if len(f.Replicas) == 0 {
		return
	}
	reference, name := f.entries(), f.Replicas[0].Name
	for _, r := range f.Replicas[1:] {
		held := map[string]Entry{}
		for _, e := range r.Entries {
			held[e.Key] = e
		}
		compare(found, f.Revision, name, reference, r.Name, held)
	}
	if h.Log.complete(f.Revision) {
		compare(found, f.Revision, "the log", h.Log.state(f.Revision), name, reference)
	}
}

func compare(found *findings, revision int64, left string, a map[string]Entry, right string, b map[string]Entry) {
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	for _, key := range sortedKeys(keys) {
		if a[key] != b[key] {
			found.add(Equal, nil, "at revision %d %s is %s by %s and %s by %s", revision, key, a[key], left, b[key], right)
		}
	}
}

// state is what the transactions up to revision have made of the keys.
func (l *Log) state(revision int64) map[string]Entry {
	state := map[string]Entry{}
	for _, t := range l.Transactions {
		if t.Revision > revision {
			break
		}
		for _, e := range t.Entries {
			if e.Deleted {
				delete(state, e.Key)
				continue
			}
			e.Revision = t.Revision
			state[e.Key] = e
		}
	}
	return state
}
