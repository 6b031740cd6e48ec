package check

import (
	"cmp"
	"slices"
)

// Log is what the store went through, as one of its members tells it: every transaction, in order.
type Log struct {
	// Reached is the revision up to which the log goes.
	Reached int64
	// Gaps are what could not be seen: the history had been dropped.
	Gaps         []Gap
	Transactions []Transaction
}

// Gap is the revisions from From to To, both included.
type Gap struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Transaction is what was written at one revision.
type Transaction struct {
	Revision int64     `json:"revision"`
	Head     *Position `json:"head,omitempty"`
	Leader   *Leader   `json:"leader,omitempty"`
	Journal  *Journal  `json:"journal,omitempty"`
	Entries  []Entry   `json:"entries,omitempty"`
	Effects  []Effect  `json:"effects,omitempty"`
	// Foreign are keys that are none of the service's, or that hold what the service does not write.
	Foreign []string `json:"foreign,omitempty"`
}

// Position is a place in the chain.
type Position struct {
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Resigned bool   `json:"resigned,omitempty"`
}

// Leader is a claim of leadership, or its resignation.
type Leader struct {
	Pod      string `json:"pod"`
	ClaimID  string `json:"claim_id"`
	Epoch    uint64 `json:"epoch"`
	Resigned bool   `json:"resigned,omitempty"`
}

// Journal is what a batch decided: the IDs of its writes.
type Journal struct {
	Position
	IDs []string `json:"ids,omitempty"`
}

// Effect is what a job of the leader's wrote: as whom, and under which epoch.
type Effect struct {
	Job   string `json:"job"`
	Pod   string `json:"pod"`
	Epoch uint64 `json:"epoch"`
}

// complete says whether the log has everything from the beginning to a revision.
func (l *Log) complete(revision int64) bool {
	return l != nil && len(l.Gaps) == 0 && l.Reached >= revision
}

// at is the transaction of a revision.
func (l *Log) at(revision int64) (Transaction, bool) {
	n, ok := slices.BinarySearchFunc(l.Transactions, revision, func(t Transaction, revision int64) int {
		return cmp.Compare(t.Revision, revision)
	})
	if !ok {
		return Transaction{}, false
	}
	return l.Transactions[n], true
}
