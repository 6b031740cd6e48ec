package check

// sets finds elements that are missing or there more than once, and creations that were refused: nobody else creates
// the key, so what exists already is the creation itself.
func sets(found *findings, h History, f Final) {
	ops := h.of(Set)
	for _, o := range ops {
		if o.Outcome == Refused {
			found.add(AppliedOnce, []Op{o}, "%s was refused, and nobody else creates %s", o.ID(), o.Keys[0])
		}
	}
	for _, r := range f.Replicas {
		times := map[cell]int{}
		keys := map[string]int{}
		for _, e := range r.Entries {
			times[cell{e.Key, e.Value}]++
			keys[e.Key]++
		}
		for _, o := range ops {
			key := o.Keys[0]
			if o.Outcome == Applied && times[cell{key, o.Value}] == 0 {
				found.add(NothingLost, []Op{o}, "%s does not hold %s at revision %d", r.Name, key, f.Revision)
			}
			if keys[key] > 1 {
				found.add(AppliedOnce, []Op{o}, "%s holds %s %d times at revision %d", r.Name, key, keys[key], f.Revision)
			}
		}
	}
}
