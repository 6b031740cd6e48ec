package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// What must not share a transaction: the outcome has to be that of some order of the requests, and requests
// for the same key are applied as they came.
func TestCrossedRequests(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()

	t.Run("two writes of one key", func(t *testing.T) {
		calls := a.together(nil, request(put("two", "1")), request(put("two", "2")), request(put("two", "3")))
		r1, r2, r3 := calls[0].applied().Revision, calls[1].applied().Revision, calls[2].applied().Revision
		if r1 >= r2 || r2 >= r3 {
			t.Errorf("revisions %d, %d, %d", r1, r2, r3)
		}
		a.holds("two", "3")
	})
	t.Run("each is conditional on what the other writes", func(t *testing.T) {
		calls := a.together(nil,
			request(when("skew1", Absent), put("skew2", "x")),
			request(when("skew2", Absent), put("skew1", "x")))
		calls[0].applied()
		if o, err := calls[1].wait(); err != nil || o.Applied {
			t.Errorf("both applied: %+v, %v", o, err)
		}
	})
	t.Run("a write after a condition on its key", func(t *testing.T) {
		calls := a.together(nil,
			request(when("read", Absent), put("reader", "x")),
			request(put("read", "x")),
			request(when("read", Exists), put("second reader", "x")))
		calls[0].applied()
		calls[1].applied()
		calls[2].applied()
	})
	t.Run("a condition that two share", func(t *testing.T) {
		calls := a.together(nil,
			request(when("shared", Absent), put("s1", "x")),
			request(when("shared", Absent), put("s2", "x")))
		if one, two := calls[0].applied(), calls[1].applied(); one.Revision != two.Revision {
			t.Errorf("needlessly apart: %d and %d", one.Revision, two.Revision)
		}
	})
	t.Run("create, twice", func(t *testing.T) {
		calls := a.together(nil,
			request(when("create", Absent), put("create", "1")),
			request(when("create", Absent), put("create", "2")))
		calls[0].applied()
		if o, err := calls[1].wait(); err != nil || o.Applied {
			t.Errorf("created twice: %+v, %v", o, err)
		}
		a.holds("create", "1")
	})
	t.Run("delete, then put; put, then delete", func(t *testing.T) {
		calls := a.together(nil, request(del("two")), request(put("two", "4")), request(put("new", "1")), request(del("new")))
		for _, c := range calls {
			c.applied()
		}
		a.holds("two", "4")
		a.holds("new", "")
	})
	t.Run("who is put off holds back who comes after for the same key", func(t *testing.T) {
		calls := a.together(nil,
			request(put("p", "1")),
			request(put("p", "2"), put("q", "2")), // waits for p, and takes q with it
			request(put("q", "3")),
			request(put("free", "1")))
		first, second, third, free := calls[0].applied(), calls[1].applied(), calls[2].applied(), calls[3].applied()
		if third.Revision <= second.Revision || free.Revision != first.Revision {
			t.Errorf("revisions %d, %d, %d, %d", first.Revision, second.Revision, third.Revision, free.Revision)
		}
		a.holds("p", "2")
		a.holds("q", "3")
	})
	t.Run("twins", func(t *testing.T) {
		w := request(put("twins", "1"))
		other := again(w)
		other.Hash = Hash("another request")
		calls := a.together(nil, w, again(w), other, again(w))
		o := calls[0].applied()
		if o.Replayed {
			t.Error("the first is called a replay")
		}
		for _, i := range []int{1, 3} {
			if twin := calls[i].applied(); !twin.Replayed || twin.Revision != o.Revision {
				t.Errorf("twin %d: %+v; want revision %d", i, twin, o.Revision)
			}
		}
		calls[2].fails(ErrKeyReused)
	})
	t.Run("one ID, two requests that have no key in common", func(t *testing.T) {
		one, two := request(put("one", "1")), request(put("other", "1"))
		two.ID = one.ID
		calls := a.together(nil, one, two)
		calls[0].applied()
		calls[1].fails(ErrKeyReused)
		a.holds("other", "")
	})
	t.Run("twins that are put off", func(t *testing.T) {
		w := request(put("late twins", "1"))
		calls := a.together(nil, request(put("late twins", "0")), w, again(w), again(w))
		rev := calls[0].applied().Revision
		for _, c := range calls[1:] {
			if o := c.applied(); o.Revision != rev+1 {
				t.Errorf("%+v; want revision %d", o, rev+1)
			}
		}
	})
	t.Run("twins of a failed condition", func(t *testing.T) {
		w := request(when("twins", Absent), put("twins", "2"))
		for i, c := range a.together(nil, w, again(w)) {
			if o, err := c.wait(); err != nil || o.Applied {
				t.Errorf("%d: %+v, %v", i, o, err)
			}
		}
	})
	t.Run("more than one transaction holds", func(t *testing.T) {
		var ws []*Write
		for i := range 3 {
			w := request()
			for j := range maxBatchOps/2 + 1 {
				w.Put(Entry{Key: fmt.Sprintf("many/%d/%d", i, j)})
			}
			ws = append(ws, w)
		}
		last := int64(0)
		for i, c := range a.together(nil, ws...) {
			if o := c.applied(); o.Revision <= last {
				t.Errorf("%d: revision %d after %d", i, o.Revision, last)
			} else {
				last = o.Revision
			}
		}
	})
}

// Random requests that arrive together must have the outcomes that they have one after another, in the order
// of their revisions and, within one, of their arrival.
func TestBatchesAreAsIfOneAfterAnother(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	a.lead()
	rng := rand.New(rand.NewPCG(1, 1))
	m := &model{t: t, revisions: map[string]int64{}}
	shared, failed := 0, 0
	for round := range 30 {
		ws := make([]*Write, 5+rng.IntN(20))
		for i := range ws {
			ws[i] = randomRequest(rng, m.revisions)
		}
		var fate []fault
		for range 3 {
			fate = append(fate, []fault{pass, pass, loseAnswer, loseRequest, sendTwice}[rng.IntN(5)])
		}
		outcomes := make([]Outcome, len(ws))
		for i, c := range a.together(fate, ws...) {
			o, err := c.wait()
			if err != nil {
				t.Fatalf("round %d: %s: %v", round, describe(ws[i]), err)
			}
			outcomes[i] = o
			if !o.Applied {
				failed++
			} else if i > 0 && o.Revision == outcomes[i-1].Revision {
				shared++
			}
		}
		a.wire.heal()
		m.replay(ws, outcomes)
		m.compare(a)
	}
	if shared < 100 || failed < 100 {
		t.Errorf("%d requests shared a transaction with their neighbor, %d failed: the test shows little", shared, failed)
	}
}

const modelKeys = 6

func randomRequest(rng *rand.Rand, revisions map[string]int64) *Write {
	key := func() string { return fmt.Sprint(rng.IntN(modelKeys)) }
	var parts []func(*Write)
	for range rng.IntN(3) {
		k := key()
		parts = append(parts, when(k, []int64{Absent, Exists, Exists, revisions[k]}[rng.IntN(4)]))
	}
	for _, k := range rng.Perm(modelKeys)[:rng.IntN(3)] {
		if rng.IntN(3) == 0 {
			parts = append(parts, del(fmt.Sprint(k)))
		} else {
			parts = append(parts, put(fmt.Sprint(k), fmt.Sprint(rng.Int())))
		}
	}
	return request(parts...)
}

// model is the store as it would be if requests came one at a time.
type model struct {
	t         *testing.T
	revisions map[string]int64
}

func (m *model) replay(ws []*Write, outcomes []Outcome) {
	m.t.Helper()
	written := map[string]int64{} // by the latest request in the order of arrival
	for i, o := range outcomes {
		for _, op := range ws[i].ops {
			if o.Applied && o.Revision <= written[op.key] {
				m.t.Fatalf("request %d overtook an earlier one for %s", i, op.key)
			}
			if o.Applied {
				written[op.key] = o.Revision
			}
		}
	}
	for len(ws) > 0 {
		next := 0
		for i := range outcomes {
			if outcomes[i].Revision < outcomes[next].Revision {
				next = i
			}
		}
		m.apply(ws[next], outcomes[next])
		ws = append(append([]*Write{}, ws[:next]...), ws[next+1:]...)
		outcomes = append(append([]Outcome{}, outcomes[:next]...), outcomes[next+1:]...)
	}
}

func (m *model) apply(w *Write, o Outcome) {
	m.t.Helper()
	holds := true
	for _, c := range w.conditions {
		rev := m.revisions[c.key[len(entryPrefix):]]
		holds = holds && (c.revision == rev || c.revision == Exists && rev != 0)
	}
	if holds != o.Applied {
		m.t.Fatalf("%s at %d: applied %t; one after another it would be %t (%v)", describe(w), o.Revision, o.Applied, holds, m.revisions)
	}
	if !holds {
		return
	}
	for _, op := range w.ops {
		key := op.key[len(entryPrefix):]
		if m.revisions[key] == o.Revision {
			m.t.Fatalf("%s: written twice at revision %d", key, o.Revision)
		}
		m.revisions[key] = o.Revision
		if op.delete {
			delete(m.revisions, key)
		}
	}
}

func (m *model) compare(r *replica) {
	m.t.Helper()
	for i := range modelKeys {
		key := fmt.Sprint(i)
		e, _, err := r.Get(testContext(m.t), key, ReadOptions{})
		if err != nil && !errors.Is(err, ErrNotFound) {
			m.t.Fatal(err)
		}
		if e.Revision != m.revisions[key] {
			m.t.Fatalf("%s was last written at %d; want %d", key, e.Revision, m.revisions[key])
		}
	}
}
