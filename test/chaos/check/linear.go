package check

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchLimit is how long the search for an order may take, over all keys.
const searchLimit = 3 * time.Minute

// register is the state of a key: what it holds, and since which revision at the earliest.
type register struct {
	value    string
	revision int64
}

// step is an operation on one key.
type step struct {
	op Op
	// value is what is written; "" for a read and for a write that was refused.
	value string
	// revision is that of a write; 0 where it is not known.
	revision int64
}

// model is a register of which each write has a higher revision than the one before.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		r, _ := state.(register) // as Init and apply make it
		return apply(r, stepOf(input))
	},
}

func apply(r register, s step) (bool, register) {
	switch {
	case s.op.Kind == Read:
		return s.op.Value == r.value && (r.value == "" || s.op.Written >= r.revision), r
	case s.op.Outcome == Refused:
		return s.op.If.Value != r.value, r
	case s.op.If != nil && s.op.If.Key == s.op.Keys[0] && s.op.If.Value != r.value:
		return s.op.Outcome == Unknown, r // then it was refused
	case s.revision != 0 && s.revision <= r.revision:
		return false, r
	}
	return true, register{s.value, cmp.Or(s.revision, r.revision)}
}

// linearizable finds keys of the registers whose operations, the final state among them, have no order that explains
// them. The search ends after limit; a key for which it does not come to an end is one that is not checked.
func linearizable(found *findings, h History, f Final, limit time.Duration) {
	deadline := time.Now().Add(limit)
	keys := registers(h, f)
	for _, key := range sortedKeys(keys) {
		history := keys[key]
		left := time.Until(deadline)
		if left <= 0 {
			found.add(Checked, nil, "no time was left to find an order of the operations on %s", key)
			continue
		}
		result, info := porcupine.CheckOperationsVerbose(model, history, left)
		switch result {
		case porcupine.Ok:
		case porcupine.Illegal:
			stuck := unexplained(history, info)
			found.add(Linearizable, stuck, "no order explains the %d operations on %s; the longest that does comes to its end here", len(history), key)
		default:
			found.add(Checked, nil, "the search for an order of the %d operations on %s took longer than %s", len(history), key, limit)
		}
	}
}

// registers are the histories of the registers' keys, with the final state where that was read. What has not been applied
// is left out, and so is what tells nothing: failed reads, and what was refused for no reason, or for that of another key.
func registers(h History, f Final) map[string][]porcupine.Operation {
	steps := map[string][]porcupine.Operation{}
	clients := map[string]int{}
	seen := firstSeen(h)
	end := time.Duration(0)
	for _, o := range h.of(Register) {
		end = max(end, o.End)
		if o.Outcome == NotApplied || o.Kind == Read && (o.Outcome != Applied || !o.Linearizable) {
			continue
		}
		if _, ok := clients[o.Client]; !ok {
			clients[o.Client] = len(clients)
		}
		for _, key := range o.Keys {
			if o.Outcome == Refused && (o.If == nil || o.If.Key != key) {
				continue
			}
			steps[key] = append(steps[key], operation(o, key, clients[o.Client], seen))
		}
	}
	if len(f.Replicas) == 0 {
		return steps
	}
	held := f.entries()
	for key := range steps {
		last := Op{
			Workload: Register, Client: "final state", Kind: Read, Keys: []string{key}, Value: held[key].Value,
			Outcome: Applied, Written: held[key].Revision, Start: end + 1, End: end + 2, Revision: f.Revision,
		}
		steps[key] = append(steps[key], operation(last, key, len(clients), seen))
	}
	return steps
}

// firstSeen is when a read that showed a value ended first.
func firstSeen(h History) map[cell]Op {
	seen := map[cell]Op{}
	for _, o := range h.Ops {
		if o.Kind != Read || o.Outcome != Applied || o.Value == "" {
			continue
		}
		at := cell{o.Keys[0], o.Value}
		if before, ok := seen[at]; !ok || o.End < before.End {
			seen[at] = o
		}
	}
	return seen
}

// operation is o as far as key goes. A write whose outcome is unknown stays open to the end; but where a read has
// shown it, it was applied before that read ended, and at the revision that the read gives.
func operation(o Op, key string, client int, seen map[cell]Op) porcupine.Operation {
	s := step{op: o, revision: o.Revision}
	s.op.Keys = []string{key}
	end := int64(o.End)
	if o.mayBeApplied() {
		s.value = o.Value
	}
	if o.Outcome == Unknown {
		end, s.revision = math.MaxInt64, 0
		if read, ok := seen[cell{key, o.Value}]; ok {
			end, s.revision = max(int64(o.Start), int64(read.End)), read.Written
		}
	}
	return porcupine.Operation{ClientId: client, Input: s, Call: int64(o.Start), Output: nil, Return: end}
}

// unexplained are the last operations of the longest order that was found, and the first that has no place in it.
func unexplained(history []porcupine.Operation, info porcupine.LinearizationInfo) []Op {
	var longest []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := map[string]bool{}
	var ops []Op
	for _, p := range longest {
		placed[opOf(p).ID()] = true
		ops = append(ops, opOf(p))
	}
	left := slices.DeleteFunc(slices.Clone(history), func(p porcupine.Operation) bool { return placed[opOf(p).ID()] })
	ops = ops[max(0, len(ops)-3):]
	if len(left) == 0 {
		return ops
	}
	first := slices.MinFunc(left, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	return append(ops, opOf(first))
}

func opOf(p porcupine.Operation) Op { return stepOf(p.Input).op }

func stepOf(input any) step {
	s, _ := input.(step) // as operation makes it
	return s
}
