package check

// tip is the end of the chain so far.
type tip struct {
	known  bool // false after a gap
	at     Position
	leader Leader
}

// chain finds transactions that do not follow the one before: claims that skip or repeat an epoch, batches out of turn
// or under an epoch that is not the newest, writes around the chain; and effects of jobs under another epoch or
// as another pod than the one that was writing.
func chain(found *findings, l *Log) {
	end := tip{known: true}
	gaps := l.Gaps
	for _, t := range l.Transactions {
		for len(gaps) > 0 && gaps[0].To < t.Revision {
			end, gaps = tip{}, gaps[1:]
		}
		for _, key := range t.Foreign {
			found.add(OneWriter, nil, "revision %d was written around the chain: %s", t.Revision, key)
		}
		switch {
		case t.Head == nil:
			if t.Leader != nil || t.Journal != nil || len(t.Entries)+len(t.Effects) > 0 {
				found.add(OneWriter, nil, "revision %d was written around the chain", t.Revision)
			}
			continue
		case t.Leader != nil && t.Leader.Resigned:
			resigned(found, t, end)
		case t.Leader != nil:
			claimed(found, t, end)
		default:
			batched(found, t, end)
		}
		end = end.after(t)
		effects(found, t, end)
	}
}

// after is the end of the chain with t.
func (e tip) after(t Transaction) tip {
	e.at = *t.Head
	if t.Leader != nil {
		e.leader, e.known = *t.Leader, true
	}
	return e
}

func claimed(found *findings, t Transaction, end tip) {
	if t.Head.Epoch != t.Leader.Epoch || t.Head.Sequence != 0 || t.Journal == nil || t.Journal.Position != *t.Head {
		found.add(OneWriter, nil, "the claim of epoch %d by %s at revision %d has the head at %+v", t.Leader.Epoch, t.Leader.Pod, t.Revision, *t.Head)
	}
	if end.known && t.Leader.Epoch != end.leader.Epoch+1 {
		found.add(OneWriter, nil, "%s has claimed epoch %d at revision %d, after epoch %d of %s",
			t.Leader.Pod, t.Leader.Epoch, t.Revision, end.leader.Epoch, end.leader.Pod)
	}
}

func resigned(found *findings, t Transaction, end tip) {
	if !t.Head.Resigned || t.Head.Epoch != t.Leader.Epoch {
		found.add(OneWriter, nil, "the resignation of epoch %d at revision %d has the head at %+v", t.Leader.Epoch, t.Revision, *t.Head)
	}
	if end.known && (end.leader.Resigned || t.Leader.ClaimID != end.leader.ClaimID || t.Leader.Epoch != end.leader.Epoch) {
		found.add(OneWriter, nil, "%s has resigned epoch %d at revision %d, which was not its own: %s led under %d",
			t.Leader.Pod, t.Leader.Epoch, t.Revision, end.leader.Pod, end.leader.Epoch)
	}
}

func batched(found *findings, t Transaction, end tip) {
	if t.Journal == nil || t.Journal.Position != *t.Head || t.Head.Resigned {
		found.add(OneWriter, nil, "the batch of revision %d has the head at %+v, and no such journal record", t.Revision, *t.Head)
	}
	if !end.known {
		return
	}
	if end.leader.Resigned || t.Head.Epoch != end.leader.Epoch || t.Head.Sequence != end.at.Sequence+1 {
		found.add(OneWriter, nil, "the batch %d/%d of revision %d follows %+v, when the leader was %+v",
			t.Head.Epoch, t.Head.Sequence, t.Revision, end.at, end.leader)
	}
}

func effects(found *findings, t Transaction, end tip) {
	for _, e := range t.Effects {
		if e.Epoch != t.Head.Epoch || end.known && (e.Epoch != end.leader.Epoch || e.Pod != end.leader.Pod) {
			found.add(JobsFenced, nil, "the job %s of %s has written under epoch %d at revision %d, when %s led under %d",
				e.Job, e.Pod, e.Epoch, t.Revision, end.leader.Pod, end.leader.Epoch)
		}
	}
}

// once finds writes that two batches have decided.
func once(found *findings, l *Log) {
	first := map[string]int64{}
	for _, t := range l.Transactions {
		if t.Journal == nil {
			continue
		}
		for _, id := range t.Journal.IDs {
			if before, ok := first[id]; ok {
				found.add(AppliedOnce, nil, "the write with the ID %s was decided at revision %d, and again at %d", id, before, t.Revision)
			}
			first[id] = t.Revision
		}
	}
}
