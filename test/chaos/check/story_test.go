package check

import (
	"fmt"
	"slices"
	"time"
)

// story makes histories of a service that keeps its promises, for tests to break.
type story struct {
	h        History
	now      time.Duration
	revision int64
	at       Position
	leader   Leader
	entries  map[string]Entry
	numbers  map[string]int
}

const prefix = "chaos/"

func newStory() *story {
	return &story{
		h: History{
			Seed: 7, Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Prefix: prefix, Workloads: Workloads, Log: &Log{},
		},
		revision: 1, entries: map[string]Entry{}, numbers: map[string]int{},
	}
}

// commit adds a transaction to the log.
func (s *story) commit(t Transaction) int64 {
	s.revision++
	t.Revision = s.revision
	s.at = *t.Head
	s.h.Log.Transactions = append(s.h.Log.Transactions, t)
	s.h.Log.Reached = s.revision
	return s.revision
}

func (s *story) claim(pod string) {
	s.leader = Leader{Pod: pod, Epoch: s.leader.Epoch + 1, ClaimID: fmt.Sprintf("%s/%d", pod, s.leader.Epoch+1)}
	leader, at := s.leader, Position{Epoch: s.leader.Epoch}
	s.commit(Transaction{Head: &at, Leader: &leader, Journal: &Journal{Position: at}})
}

func (s *story) resign() {
	s.leader.Resigned = true
	leader := s.leader
	s.commit(Transaction{Head: &Position{Epoch: leader.Epoch, Resigned: true}, Leader: &leader})
}

// batch commits entries and effects in the leader's name.
func (s *story) batch(entries []Entry, effects ...Effect) int64 {
	at := Position{Epoch: s.at.Epoch, Sequence: s.at.Sequence + 1}
	id := fmt.Sprintf("%032x", s.revision)
	revision := s.commit(Transaction{Head: &at, Journal: &Journal{at, []string{id}}, Entries: entries, Effects: effects})
	for _, e := range entries {
		e.Revision = revision
		s.entries[e.Key] = e
	}
	return revision
}

func (s *story) job(name string) {
	s.batch([]Entry{{Key: "leasehold/" + name, Value: "run"}}, Effect{name, s.leader.Pod, s.leader.Epoch})
}

// next is the next operation of a client, which takes ten milliseconds.
func (s *story) next(w Workload, client string, kind Kind, keys ...string) Op {
	o := Op{Workload: w, Client: client, Number: s.numbers[client], Kind: kind, Attempts: 1, Outcome: Applied}
	for _, key := range keys {
		o.Keys = append(o.Keys, prefix+string(w)+"/"+key)
	}
	s.numbers[client]++
	o.Start, o.End = s.now+time.Millisecond, s.now+10*time.Millisecond
	s.now = o.End
	if kind != Read {
		o.Value = o.ID()
	}
	return o
}

func (s *story) record(o Op) Op {
	s.h.Ops = append(s.h.Ops, o)
	return o
}

// write has o applied and acknowledged.
func (s *story) write(o Op) Op {
	var entries []Entry
	for _, key := range o.Keys {
		entries = append(entries, Entry{Key: key, Value: o.Value})
	}
	o.Revision = s.batch(entries)
	o.Epoch, o.Pod = s.leader.Epoch, s.leader.Pod
	return s.record(o)
}

// read has o show what is there.
func (s *story) read(o Op) Op {
	e := s.entries[o.Keys[0]]
	o.Value, o.Written, o.Revision = e.Value, e.Revision, s.revision
	o.Linearizable = o.Workload == Register
	return s.record(o)
}

// fail has o come to nothing. An unknown one is applied in secret if it is to be.
func (s *story) fail(o Op, outcome Outcome, secretly bool) {
	if secretly {
		s.write(o)
		s.h.Ops = s.h.Ops[:len(s.h.Ops)-1]
	}
	o.Outcome, o.Reason = outcome, "the test says so"
	s.record(o)
}

// increment increases a counter.
func (s *story) increment(w Workload, client, key string) Op {
	seen := s.read(s.next(w, client, Read, key))
	n, _ := ParseCounter(seen.Value) // the test's own
	o := s.next(w, client, Put, key)
	o.Value = CounterValue(n+1, o.ID())
	o.If = &Condition{Key: o.Keys[0], Value: seen.Value, Revision: seen.Written}
	return o
}

// swap is a write to a register under the condition that it is as it is.
func (s *story) swap(client, key string) Op {
	o := s.next(Register, client, Put, key)
	e := s.entries[o.Keys[0]]
	o.If = &Condition{Key: o.Keys[0], Value: e.Value, Revision: e.Revision}
	return o
}

// final is what three replicas hold.
func (s *story) final() Final {
	f := Final{Revision: s.revision}
	for i := range 3 {
		r := Replica{Name: fmt.Sprintf("leasehold-%d", i)}
		for _, key := range sortedKeys(s.entries) {
			r.Entries = append(r.Entries, s.entries[key])
		}
		f.Replicas = append(f.Replicas, r)
		f.Hashes = append(f.Hashes, Hash{r.Name, s.revision, 2, 0xfeed})
	}
	return f
}

// told is a story in which everything happens that may.
func told() (History, Final) {
	s := newStory()
	s.claim("leasehold-0")
	s.job("heartbeat")
	s.read(s.next(Register, "register-0", Read, "a"))
	s.write(s.swap("register-0", "a"))
	s.read(s.next(Register, "register-1", Read, "a"))
	s.write(s.next(Register, "register-1", Put, "b"))
	s.write(s.next(Register, "register-0", Batch, "a", "b"))
	s.read(s.next(Register, "register-1", Read, "b"))
	stale := s.swap("register-0", "a")
	stale.If = &Condition{Key: stale.Keys[0], Value: "register-0/1", Revision: 4}
	stale.Outcome, stale.Revision = Refused, s.batch(nil)
	s.record(stale)
	s.fail(s.next(Register, "register-1", Put, "a"), NotApplied, false)
	s.fail(s.next(Register, "register-1", Put, "a"), Unknown, true)
	s.read(s.next(Register, "register-0", Read, "a"))
	s.fail(s.next(Register, "register-1", Put, "b"), Unknown, false)
	s.fail(s.swap("register-0", "b"), Unknown, false)
	s.fail(s.next(Register, "register-1", Read, "b"), NotApplied, false)
	for range 3 {
		s.write(s.next(Set, "set-0", Create, fmt.Sprint(s.numbers["set-0"])))
	}
	s.resign()
	s.claim("leasehold-1")
	s.job("heartbeat")
	s.job("sweep")
	for _, w := range []Workload{Counter, LostKey} {
		s.write(s.increment(w, string(w)+"-0", "0"))
		s.fail(s.increment(w, string(w)+"-1", "0"), Unknown, true)
		s.fail(s.increment(w, string(w)+"-1", "0"), Unknown, false)
		s.write(s.increment(w, string(w)+"-1", "0"))
	}
	s.claim("leasehold-2") // which takes over
	own := s.write(s.next(Session, "session-0", Put, "0"))
	seen := s.next(Session, "session-0", Read, "0")
	seen.MinRevision = own.Revision
	s.read(seen)
	s.write(s.next(Register, "register-1", Put, "b"))
	s.write(s.next(Register, "register-0", Put, "b"))
	return s.h, s.final()
}

// op is an operation of a history, to be changed.
func op(h *History, id string) *Op {
	return &h.Ops[slices.IndexFunc(h.Ops, func(o Op) bool { return o.ID() == id })]
}

// transaction is one of the log, to be changed: the first of that kind.
func transaction(h *History, kind func(Transaction) bool) *Transaction {
	return &h.Log.Transactions[slices.IndexFunc(h.Log.Transactions, kind)]
}
