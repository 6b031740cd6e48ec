package check

import (
	"fmt"
	"strings"
	"time"
)

// Workload says what an operation is part of, and so what has to hold of it.
type Workload string

// The workloads.
const (
	// Register is a few keys that are read, overwritten and compared-and-swapped by all of its clients.
	Register Workload = "register"
	// Set is keys that are created, each once.
	Set Workload = "set"
	// Counter is numbers that are increased under the condition that nobody else has; an increment whose outcome is
	// unknown is tried again under its key.
	Counter Workload = "counter"
	// LostKey is a Counter whose clients forget a request that has no answer and begin anew.
	LostKey Workload = "lost-key"
	// Session is keys that one client each writes, and reads at another replica.
	Session Workload = "session"
)

// Workloads are all of them.
var Workloads = []Workload{Register, Set, Counter, LostKey, Session}

// Kind is what an operation asks for.
type Kind string

// The kinds of operations.
const (
	Read   Kind = "read"
	Put    Kind = "put"
	Create Kind = "create"
	Batch  Kind = "batch"
)

// Outcome is what a client knows of an operation at its end.
type Outcome string

// The outcomes.
const (
	// Applied is a write that was acknowledged, or a read that was answered.
	Applied Outcome = "applied"
	// Refused is a write whose condition did not hold.
	Refused Outcome = "refused"
	// NotApplied is a write that certainly was not applied, or a read without an answer.
	NotApplied Outcome = "not applied"
	// Unknown is a write that may have been applied, or may be yet.
	Unknown Outcome = "unknown"
)

// Op is an operation of a client. Its times count from the start of the history, and those of different clients can be
// compared.
type Op struct {
	Workload Workload `json:"workload"`
	Client   string   `json:"client"`
	// Number counts the client's operations.
	Number int  `json:"number"`
	Kind   Kind `json:"kind"`
	// Keys are those that it reads or writes.
	Keys []string `json:"keys"`
	// Value is what was written, or what was read: "" where there was nothing. A value that is written names its
	// operation, and no two are the same.
	Value string `json:"value,omitempty"`
	// If is what a write required of one key.
	If *Condition `json:"if,omitempty"`
	// Linearizable says of a read that it was to be.
	Linearizable bool `json:"linearizable,omitempty"`
	// MinRevision is what a read was not to be older than.
	MinRevision int64 `json:"min_revision,omitempty"`

	Start    time.Duration `json:"start"`
	End      time.Duration `json:"end"`
	Attempts int           `json:"attempts"`
	Outcome  Outcome       `json:"outcome"`
	// Revision is that at which a write was decided, or at which the store was read; 0 where no answer gave it.
	Revision int64 `json:"revision,omitempty"`
	// Written is the revision at which what was read had been written; 0 where there was nothing.
	Written int64 `json:"written,omitempty"`
	// Epoch is that under which a write was decided, Pod who has; empty where no answer gave it first-hand.
	Epoch uint64 `json:"epoch,omitempty"`
	Pod   string `json:"pod,omitempty"`
	// Reason is why there is no better outcome.
	Reason string `json:"reason,omitempty"`
	// Unexpected says that an answer was none that the API describes.
	Unexpected string `json:"unexpected,omitempty"`
}

// Condition is that a key holds Value, which was written at Revision; "" and 0 that it holds nothing.
type Condition struct {
	Key      string `json:"key"`
	Value    string `json:"value,omitempty"`
	Revision int64  `json:"revision,omitempty"`
}

// ID names the operation.
func (o Op) ID() string { return fmt.Sprintf("%s/%d", o.Client, o.Number) }

func (o Op) isWrite() bool { return o.Kind != Read }

// mayBeApplied says whether what the operation writes may be found.
func (o Op) mayBeApplied() bool {
	return o.isWrite() && (o.Outcome == Applied || o.Outcome == Unknown)
}

// String is all that is known of the operation, on a line.
func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", o.ID(), o.Kind, strings.Join(o.Keys, ", "))
	if o.Value != "" {
		fmt.Fprintf(&b, " = %q", o.Value)
	}
	if o.If != nil {
		fmt.Fprintf(&b, " if %s = %q (%d)", o.If.Key, o.If.Value, o.If.Revision)
	}
	if o.MinRevision != 0 {
		fmt.Fprintf(&b, " from %d", o.MinRevision)
	}
	fmt.Fprintf(&b, ": %s, %.4f to %.4f s", o.Outcome, o.Start.Seconds(), o.End.Seconds())
	if o.Revision != 0 {
		fmt.Fprintf(&b, ", revision %d", o.Revision)
	}
	if o.Written != 0 {
		fmt.Fprintf(&b, ", written at %d", o.Written)
	}
	if o.Epoch != 0 {
		fmt.Fprintf(&b, ", epoch %d", o.Epoch)
	}
	if o.Attempts > 1 {
		fmt.Fprintf(&b, ", %d attempts", o.Attempts)
	}
	if o.Reason != "" {
		fmt.Fprintf(&b, " (%s)", o.Reason)
	}
	return b.String()
}

// History is what the clients did and what became of it.
type History struct {
	Seed  uint64
	Start time.Time
	// Prefix is what the keys of all workloads begin with.
	Prefix string
	// Workloads are those that have run.
	Workloads []Workload
	// Ops are in the order in which they ended.
	Ops []Op
	// Log is what the store went through meanwhile; nil where nobody looked.
	Log *Log
}

// of are the operations of one workload.
func (h History) of(w Workload) (ops []Op) {
	for _, o := range h.Ops {
		if o.Workload == w {
			ops = append(ops, o)
		}
	}
	return ops
}

// Final is what the replicas hold when all clients have ended and all faults are over, all at one revision.
type Final struct {
	Revision int64
	Replicas []Replica
	// Hashes are of all that the replicas' members hold, also of what is none of the clients'.
	Hashes []Hash
}

// Hash is what a member's data up to a revision come to, but for the history before Compacted: hashes with another
// revision or another Compacted cannot be compared.
type Hash struct {
	Member    string `json:"member"`
	Revision  int64  `json:"revision"`
	Compacted int64  `json:"compacted"`
	Hash      uint32 `json:"hash"`
}

// Replica is what one of them holds.
type Replica struct {
	Name    string  `json:"name"`
	Entries []Entry `json:"entries"`
}

// Entry is a key with its value, and the revision at which it was written. In a Transaction it may be deleted.
type Entry struct {
	Key      string `json:"key"`
	Value    string `json:"value,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Deleted  bool   `json:"deleted,omitempty"`
}

// String is the value with its revision.
func (e Entry) String() string {
	if e.Revision == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%q of revision %d", e.Value, e.Revision)
}

// entries are what the first replica holds, by key.
func (f Final) entries() map[string]Entry {
	held := map[string]Entry{}
	if len(f.Replicas) > 0 {
		for _, e := range f.Replicas[0].Entries {
			held[e.Key] = e
		}
	}
	return held
}
