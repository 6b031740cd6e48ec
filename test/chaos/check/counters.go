package check

import (
	"fmt"
	"strconv"
	"strings"
)

// CounterValue is what an increment writes: the number, and who it was.
func CounterValue(number int, id string) string { return fmt.Sprintf("%d %s", number, id) }

// ParseCounter reads the number of a CounterValue; that of "" is 0.
func ParseCounter(value string) (int, error) {
	if value == "" {
		return 0, nil
	}
	number, _, _ := strings.Cut(value, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("not a counter: %q", value)
	}
	return n, nil
}

// counters finds counters that are not what their increments make of them. Each increment asks that the counter is
// what it was when it was read, so:
//
//   - with keys, a counter is at least the number of acknowledged increments, and at most that of those and of the
//     ones whose outcome is unknown to the end;
//   - with lost keys the same holds of requests. A client that forgot a request has perhaps increased the counter
//     twice, so of the increments that it meant only the lower bound holds: at most one request of each is acknowledged;
//   - no two acknowledged increments have led to the same number, and in the log each number follows the one before.
func counters(found *findings, h History, f Final) {
	ops := map[string][]Op{}
	for _, w := range []Workload{Counter, LostKey} {
		for _, o := range h.of(w) {
			if o.isWrite() {
				ops[o.Keys[0]] = append(ops[o.Keys[0]], o)
			}
		}
	}
	held := f.entries()
	for _, key := range sortedKeys(ops) {
		if len(f.Replicas) > 0 {
			total(found, key, ops[key], held[key])
		}
		distinct(found, ops[key])
		if h.Log.complete(f.Revision) {
			consecutive(found, key, h.Log)
		}
	}
}

func total(found *findings, key string, ops []Op, held Entry) {
	n, err := ParseCounter(held.Value)
	if err != nil {
		found.add(NothingLost, nil, "%s is no counter any more, since revision %d: %q", key, held.Revision, held.Value)
		return
	}
	applied, unknown := 0, 0
	var newest []Op
	for _, o := range ops {
		switch o.Outcome {
		case Applied:
			applied++
			newest = []Op{o}
		case Unknown:
			unknown++
		}
	}
	if n < applied {
		found.add(NothingLost, newest, "%s is %d since revision %d, and %d increments were acknowledged", key, n, held.Revision, applied)
	}
	if n > applied+unknown {
		found.add(AppliedOnce, newest, "%s is %d since revision %d, and %d increments were acknowledged, and %d more are unknown",
			key, n, held.Revision, applied, unknown)
	}
}

func distinct(found *findings, ops []Op) {
	first := map[int]Op{}
	for _, o := range ops {
		n, err := ParseCounter(o.Value)
		if err != nil || o.Outcome != Applied {
			continue // what a client writes is a counter
		}
		if before, ok := first[n]; ok {
			found.add(NothingLost, []Op{before, o}, "%s and %s have both increased %s to %d", before.ID(), o.ID(), o.Keys[0], n)
		}
		first[n] = o
	}
}

func consecutive(found *findings, key string, log *Log) {
	last := 0
	for _, t := range log.Transactions {
		for _, e := range t.Entries {
			if e.Key != key {
				continue
			}
			n, err := ParseCounter(e.Value)
			if err != nil || e.Deleted || n != last+1 {
				found.add(NothingLost, nil, "%s is %q at revision %d, and was %d before", key, e.Value, t.Revision, last)
			}
			last = n
		}
	}
}
