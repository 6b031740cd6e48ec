package check

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeptPromisesAreNoViolations(t *testing.T) {
	t.Parallel()
	for _, v := range Check(told()) {
		t.Error(v)
	}
}

// drop removes a key from what a replica holds.
func drop(r *Replica, key string) {
	r.Entries = slices.DeleteFunc(slices.Clone(r.Entries), func(e Entry) bool { return e.Key == key })
}

// set changes what a replica holds.
func set(r *Replica, e Entry) {
	for i := range r.Entries {
		if r.Entries[i].Key == e.Key {
			r.Entries[i] = e
			return
		}
	}
	r.Entries = append(r.Entries, e)
}

func everywhere(f *Final, change func(*Replica)) {
	for i := range f.Replicas {
		change(&f.Replicas[i])
	}
}

func claims(pod string) func(Transaction) bool {
	return func(t Transaction) bool { return t.Leader != nil && t.Leader.Pod == pod && !t.Leader.Resigned }
}

func resigns(t Transaction) bool { return t.Leader != nil && t.Leader.Resigned }

func writesKey(key string) func(Transaction) bool {
	return func(t Transaction) bool {
		return slices.ContainsFunc(t.Entries, func(e Entry) bool { return e.Key == prefix+key })
	}
}

func sweeps(t Transaction) bool {
	return slices.ContainsFunc(t.Effects, func(e Effect) bool { return e.Job == "sweep" })
}

// broken are promises that are broken, each with a word that the violation is to say.
var broken = []struct {
	name  string
	want  Invariant
	says  string
	spoil func(h *History, f *Final)
}{
	{"a linearizable read shows an older value", Linearizable, "register/a", func(h *History, _ *Final) {
		o, before := op(h, "register-0/4"), op(h, "register-0/1")
		o.Value, o.Written = before.Value, before.Revision
	}},
	{"a read shows what was overwritten at its revision", Linearizable, "the log", func(h *History, _ *Final) {
		o, before := op(h, "register-0/4"), op(h, "register-0/2")
		o.Value, o.Written = before.Value, before.Revision
	}},
	{"a linearizable read does not show a batch", Linearizable, "register/b", func(h *History, _ *Final) {
		before := op(h, "register-1/1")
		o := op(h, "register-1/2")
		o.Value, o.Written = before.Value, before.Revision
	}},
	{"a swap is applied though the register is another", Linearizable, "register/a", func(h *History, _ *Final) {
		op(h, "register-0/1").If.Value = "register-1/1"
	}},
	{"a swap is refused though the register is as it asks", Linearizable, "register/a", func(h *History, _ *Final) {
		op(h, "register-0/3").If.Value = "register-0/2"
	}},
	{"the final state of a register is not the last one", Linearizable, "register/b", func(h *History, f *Final) {
		o := op(h, "register-1/1")
		everywhere(f, func(r *Replica) { set(r, Entry{Key: o.Keys[0], Value: o.Value, Revision: o.Revision}) })
	}},
	{"a read is of an older revision than a write elsewhere that had ended", Linearizable, "has revision", func(h *History, _ *Final) {
		op(h, "register-1/2").Revision = 3
	}},
	{"a later write has the lower revision", Linearizable, "has revision", func(h *History, _ *Final) {
		a, b := op(h, "set-0/0"), op(h, "set-0/1")
		a.Revision, b.Revision = b.Revision, a.Revision
	}},
	{"an element is missing", NothingLost, "set/1", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { drop(r, prefix+"set/1") })
	}},
	{"an element is missing on one replica", NothingLost, "leasehold-2", func(_ *History, f *Final) {
		drop(&f.Replicas[2], prefix+"set/1")
	}},
	{"the log does not have a write", NothingLost, "the log", func(h *History, _ *Final) {
		transaction(h, writesKey("set/1")).Entries = nil
	}},
	{"a counter is less than its increments", NothingLost, "counter/0", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) {
			set(r, Entry{Key: prefix + "counter/0", Value: CounterValue(1, "counter-0/1"), Revision: 3})
		})
	}},
	{"a counter with lost keys is less than its increments", NothingLost, "lost-key/0", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { drop(r, prefix+"lost-key/0") })
	}},
	{"a counter is none", NothingLost, "no counter", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { set(r, Entry{Key: prefix + "counter/0", Value: "many", Revision: 3}) })
	}},
	{"two increments lead to the same number", NothingLost, "both increased", func(h *History, _ *Final) {
		op(h, "counter-1/5").Value = CounterValue(1, "counter-1/5")
	}},
	{"a counter goes back in the log", NothingLost, "counter/0", func(h *History, _ *Final) {
		transaction(h, writesKey("counter/0")).Entries[0].Value = CounterValue(5, "counter-0/1")
	}},
	{"a session's last write is not there in the end", NothingLost, "session/0", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { drop(r, prefix+"session/0") })
	}},
	{"an element is there twice", AppliedOnce, "2 times", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) {
			r.Entries = append(r.Entries, r.Entries[slices.IndexFunc(r.Entries, func(e Entry) bool { return e.Key == prefix+"set/0" })])
		})
	}},
	{"an element is refused", AppliedOnce, "was refused", func(h *History, _ *Final) {
		op(h, "set-0/1").Outcome = Refused
	}},
	{"a counter is more than its increments", AppliedOnce, "counter/0", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) {
			set(r, Entry{Key: prefix + "counter/0", Value: CounterValue(5, "counter-1/5"), Revision: 3})
		})
	}},
	{"a counter with lost keys is more than its requests", AppliedOnce, "lost-key/0", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) {
			set(r, Entry{Key: prefix + "lost-key/0", Value: CounterValue(5, "lost-key-1/5"), Revision: 3})
		})
	}},
	{"a write is in the log at two revisions", AppliedOnce, "set-0/0", func(h *History, _ *Final) {
		o := op(h, "set-0/0")
		t := transaction(h, writesKey("set/1"))
		t.Entries = append(t.Entries, Entry{Key: o.Keys[0], Value: o.Value})
	}},
	{"an unknown write is applied twice", AppliedOnce, "counter-1/1", func(h *History, _ *Final) {
		o := op(h, "counter-1/1")
		t := transaction(h, writesKey("set/1"))
		t.Entries = append(t.Entries, Entry{Key: o.Keys[0], Value: o.Value})
	}},
	{"a batch has two revisions", AppliedOnce, "register-0/2", func(h *History, _ *Final) {
		op(h, "register-1/2").Written++
	}},
	{"a write is decided twice", AppliedOnce, "decided at", func(h *History, _ *Final) {
		transaction(h, writesKey("set/1")).Journal.IDs = transaction(h, writesKey("set/0")).Journal.IDs
	}},
	{"a write that was not applied is read", NotThere, "register-1/3", func(h *History, _ *Final) {
		op(h, "register-0/4").Value = op(h, "register-1/3").Value
	}},
	{"a write that was not applied is in the final state", NotThere, "leasehold-1", func(h *History, f *Final) {
		o := op(h, "register-1/3")
		set(&f.Replicas[1], Entry{Key: o.Keys[0], Value: o.Value, Revision: 9})
	}},
	{"a write that was not applied is in the log", NotThere, "in the log", func(h *History, _ *Final) {
		o := op(h, "register-1/3")
		t := transaction(h, writesKey("set/1"))
		t.Entries = append(t.Entries, Entry{Key: o.Keys[0], Value: o.Value})
	}},
	{"a write that was refused is there", NotThere, "refused", func(h *History, f *Final) {
		o := op(h, "register-0/3")
		everywhere(f, func(r *Replica) { set(r, Entry{Key: o.Keys[0], Value: o.Value, Revision: 9}) })
	}},
	{"a value is there that nobody wrote", NotThere, "nobody wrote", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { set(r, Entry{Key: prefix + "set/9", Value: "set-9/0", Revision: 9}) })
	}},
	{"a read is answered as of too old a revision", FreshReads, "session-0/1", func(h *History, _ *Final) {
		op(h, "session-0/1").Revision = 5
	}},
	{"a session's read does not show its write", FreshReads, "session/0", func(h *History, _ *Final) {
		o := op(h, "session-0/1")
		o.Value, o.Written = "", 0
	}},
	{"a replica lacks a key", Equal, "leasehold-1", func(_ *History, f *Final) { drop(&f.Replicas[1], "leasehold/sweep") }},
	{"a replica has a key too many", Equal, "leasehold/more", func(_ *History, f *Final) {
		set(&f.Replicas[2], Entry{Key: "leasehold/more", Value: "more", Revision: 4})
	}},
	{"a replica holds another value", Equal, "leasehold/sweep", func(_ *History, f *Final) {
		set(&f.Replicas[1], Entry{Key: "leasehold/sweep", Value: "swept", Revision: 4})
	}},
	{"a replica holds a value of another revision", Equal, "leasehold/sweep", func(_ *History, f *Final) {
		set(&f.Replicas[1], Entry{Key: "leasehold/sweep", Value: "run", Revision: 4})
	}},
	{"all replicas hold what is not in the log", Equal, "the log", func(_ *History, f *Final) {
		everywhere(f, func(r *Replica) { set(r, Entry{Key: "leasehold/more", Value: "more", Revision: 4}) })
	}},
	{"the data of a member differ", Equal, "hash", func(_ *History, f *Final) { f.Hashes[1].Hash++ }},
	{"the data of no members were hashed", Checked, "hashed", func(_ *History, f *Final) { f.Hashes = nil }},
	{"hashes are of different revisions", Checked, "hashes", func(_ *History, f *Final) { f.Hashes[2].Revision++ }},
	{"hashes are of different histories", Checked, "hashes", func(_ *History, f *Final) { f.Hashes[2].Compacted++ }},
	{"two pods acknowledge under one epoch", OneWriter, "both decided", func(h *History, _ *Final) {
		op(h, "set-0/1").Pod = "leasehold-2"
	}},
	{"an acknowledgement names another leader than the log", OneWriter, "has acknowledged it", func(h *History, _ *Final) {
		op(h, "session-0/0").Pod = "leasehold-0"
		op(h, "register-1/7").Pod = ""
		op(h, "register-0/6").Pod = ""
	}},
	{"a write is acknowledged under an older epoch than one before", OneWriter, "epoch 1", func(h *History, _ *Final) {
		o := op(h, "session-0/0")
		o.Epoch, o.Pod = 1, ""
	}},
	{"an epoch is claimed twice", OneWriter, "claimed epoch 1", func(h *History, _ *Final) {
		t := transaction(h, claims("leasehold-1"))
		t.Leader.Epoch, t.Head.Epoch, t.Journal.Epoch = 1, 1, 1
	}},
	{"an epoch is skipped", OneWriter, "claimed epoch 9", func(h *History, _ *Final) {
		t := transaction(h, claims("leasehold-2"))
		t.Leader.Epoch, t.Head.Epoch, t.Journal.Epoch = 9, 9, 9
	}},
	{"a claim leaves the head alone", OneWriter, "has the head", func(h *History, _ *Final) {
		transaction(h, claims("leasehold-2")).Head.Sequence = 4
	}},
	{"a claim is not in the journal", OneWriter, "has the head", func(h *History, _ *Final) {
		transaction(h, claims("leasehold-2")).Journal = nil
	}},
	{"somebody else resigns", OneWriter, "not its own", func(h *History, _ *Final) {
		transaction(h, resigns).Leader.ClaimID = "leasehold-2/1"
	}},
	{"a resignation leaves the head alone", OneWriter, "the resignation", func(h *History, _ *Final) {
		transaction(h, resigns).Head.Resigned = false
	}},
	{"a batch comes out of turn", OneWriter, "follows", func(h *History, _ *Final) {
		t := transaction(h, writesKey("set/1"))
		t.Head.Sequence += 2
		t.Journal.Sequence += 2
	}},
	{"a batch comes under an epoch that is over", OneWriter, "follows", func(h *History, _ *Final) {
		t := transaction(h, writesKey("session/0"))
		t.Head.Epoch, t.Journal.Epoch = 2, 2
	}},
	{"a batch comes after the resignation", OneWriter, "follows", func(h *History, _ *Final) {
		a, b := transaction(h, writesKey("set/2")), transaction(h, resigns)
		a.Revision, b.Revision = b.Revision, a.Revision
		*a, *b = *b, *a
	}},
	{"a batch has no journal record", OneWriter, "no such journal record", func(h *History, _ *Final) {
		transaction(h, writesKey("set/1")).Journal = nil
	}},
	{"a write goes around the chain", OneWriter, "around the chain", func(h *History, _ *Final) {
		transaction(h, writesKey("set/1")).Head = nil
	}},
	{"a key is none of the service's", OneWriter, "elsewhere", func(h *History, _ *Final) {
		transaction(h, writesKey("set/1")).Foreign = []string{"elsewhere"}
	}},
	{"a job writes under an old epoch", JobsFenced, "sweep", func(h *History, _ *Final) {
		e := &transaction(h, sweeps).Effects[0]
		e.Epoch, e.Pod = 1, "leasehold-0"
	}},
	{"a job writes as a pod that does not lead", JobsFenced, "leasehold-0", func(h *History, _ *Final) {
		transaction(h, sweeps).Effects[0].Pod = "leasehold-0"
	}},
	{"a client's last operation fails", LastSucceeded, "session-0", func(h *History, _ *Final) {
		op(h, "session-0/1").Outcome = NotApplied
	}},
	{"an answer is none of the API's", AsDocumented, "500", func(h *History, _ *Final) {
		o := op(h, "register-1/6")
		o.Unexpected = "500"
	}},
	{"a write that asks for nothing is refused", AsDocumented, "had asked for nothing", func(h *History, _ *Final) {
		op(h, "register-1/1").Outcome = Refused
	}},
	{"no workload has run", Checked, "no workload", func(h *History, _ *Final) { h.Workloads = nil }},
	{"a workload has done nothing", Checked, `"set"`, func(h *History, _ *Final) {
		h.Ops = slices.DeleteFunc(slices.Clone(h.Ops), func(o Op) bool { return o.Workload == Set })
	}},
	{"no read was answered", Checked, `no read of the workload "session"`, func(h *History, _ *Final) {
		for i := range h.Ops {
			if h.Ops[i].Workload == Session && h.Ops[i].Kind == Read {
				h.Ops[i].Outcome = NotApplied
			}
		}
	}},
	{"only one replica was read", Checked, "1 replicas", func(_ *History, f *Final) { f.Replicas = f.Replicas[:1] }},
	{"one replica answered for another", Checked, `"leasehold-0" was read twice`, func(_ *History, f *Final) { f.Replicas[1].Name = "leasehold-0" }},
	{"nobody watched", Checked, "nobody", func(h *History, _ *Final) { h.Log = nil }},
	{"history was dropped before it was seen", Checked, "2 to 5", func(h *History, _ *Final) {
		h.Log.Gaps = []Gap{{2, 5}}
		h.Log.Transactions = h.Log.Transactions[4:]
	}},
	{"the log ends early", Checked, "was watched to", func(h *History, _ *Final) { h.Log.Reached-- }},
	{"no job has run", Checked, "no job", func(h *History, _ *Final) {
		for i := range h.Log.Transactions {
			h.Log.Transactions[i].Effects = nil
		}
	}},
}

func TestBrokenPromisesAreViolations(t *testing.T) {
	t.Parallel()
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, f := told()
			c.spoil(&h, &f)
			all := Check(h, f)
			if !slices.ContainsFunc(all, func(v Violation) bool { return v.Invariant == c.want && strings.Contains(v.String(), c.says) }) {
				t.Errorf("%q is not found, with %q; found: %v", c.want, c.says, all)
			}
		})
	}
}

func TestEveryPromiseIsBrokenOnce(t *testing.T) {
	t.Parallel()
	for _, i := range Invariants {
		found := false
		for _, c := range broken {
			found = found || c.want == i
		}
		if !found {
			t.Errorf("no test breaks %q", i)
		}
	}
}

func TestAFinalStateThatWasNotReadAccusesNobody(t *testing.T) {
	t.Parallel()
	h, _ := told()
	all := Check(h, Final{})
	for _, v := range all {
		if v.Invariant != Checked {
			t.Error(v)
		}
	}
	if len(all) == 0 {
		t.Error("that nothing was read is not found")
	}
}

func TestAGapHidesNoChainBehindIt(t *testing.T) {
	t.Parallel()
	h, f := told()
	h.Log.Gaps = []Gap{{2, 5}}
	h.Log.Transactions = h.Log.Transactions[4:]
	for _, v := range Check(h, f) {
		if v.Invariant != Checked {
			t.Error(v)
		}
	}
}

// hard is a history of which no order explains the end, and that only all orders tell.
func hard() History {
	s := newStory()
	for range 60 {
		s.fail(s.next(Register, "register-0", Put, "a"), Unknown, false)
	}
	o := s.next(Register, "register-1", Read, "a")
	o.Value, o.Written, o.Linearizable = "nobody", 0, true
	s.record(o)
	return s.h
}

func TestASearchWithoutAnEndIsNoPass(t *testing.T) {
	t.Parallel()
	for _, limit := range []time.Duration{0, 20 * time.Millisecond} {
		found := newFindings()
		linearizable(found, hard(), Final{}, limit)
		if all := found.sorted(); len(all) != 1 || all[0].Invariant != Checked {
			t.Errorf("within %s: %v", limit, all)
		}
	}
}

func TestAFewOfMany(t *testing.T) {
	t.Parallel()
	found := newFindings()
	for range maxViolations + 5 {
		found.add(Equal, nil, "again")
	}
	all := found.sorted()
	if len(all) != maxViolations+1 || all[maxViolations].Detail != "and 5 more" {
		t.Errorf("%d: %v", len(all), all[len(all)-1])
	}
}

func TestAnOpenWriteMayComeLate(t *testing.T) {
	t.Parallel()
	s := newStory()
	s.claim("leasehold-0")
	late := s.next(Register, "register-0", Put, "a")
	s.fail(late, Unknown, false)
	s.write(s.next(Register, "register-1", Put, "a"))
	s.read(s.next(Register, "register-0", Read, "a"))
	s.batch([]Entry{{Key: late.Keys[0], Value: late.Value}}) // a replica thaws that had the request
	s.read(s.next(Register, "register-0", Read, "a"))
	s.job("heartbeat")
	s.h.Workloads = []Workload{Register}
	for _, v := range Check(s.h, s.final()) {
		t.Error(v)
	}
}
