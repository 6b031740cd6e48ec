package check

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// line is a line of a file: one of its fields is set.
type line struct {
	Begin       *begin       `json:"begin,omitempty"`
	Op          *Op          `json:"op,omitempty"`
	Transaction *Transaction `json:"transaction,omitempty"`
	Log         *logEnd      `json:"log,omitempty"`
	Replica     *Replica     `json:"replica,omitempty"`
	Hash        *Hash        `json:"hash,omitempty"`
	End         *end         `json:"end,omitempty"`
}

type begin struct {
	Seed      uint64     `json:"seed"`
	Start     time.Time  `json:"start"`
	Prefix    string     `json:"prefix"`
	Workloads []Workload `json:"workloads"`
}

type logEnd struct {
	Reached int64 `json:"reached"`
	Gaps    []Gap `json:"gaps,omitempty"`
}

type end struct {
	Revision int64 `json:"revision"`
}

// Save writes a history and a final state as JSON lines, for Load.
func Save(w io.Writer, h History, f Final) error {
	buffer := bufio.NewWriter(w)
	e := json.NewEncoder(buffer)
	lines := []line{{Begin: &begin{h.Seed, h.Start, h.Prefix, h.Workloads}}}
	for _, o := range h.Ops {
		lines = append(lines, line{Op: &o})
	}
	if h.Log != nil {
		for _, t := range h.Log.Transactions {
			lines = append(lines, line{Transaction: &t})
		}
		lines = append(lines, line{Log: &logEnd{h.Log.Reached, h.Log.Gaps}})
	}
	for _, r := range f.Replicas {
		lines = append(lines, line{Replica: &r})
	}
	for _, hash := range f.Hashes {
		lines = append(lines, line{Hash: &hash})
	}
	for _, l := range append(lines, line{End: &end{f.Revision}}) {
		if err := e.Encode(l); err != nil {
			return fmt.Errorf("save the history: %w", err)
		}
	}
	return buffer.Flush()
}

// Load reads what Save has written. A file that ends early is an error.
func Load(r io.Reader) (h History, f Final, err error) {
	d := json.NewDecoder(bufio.NewReader(r))
	var transactions []Transaction
	for n := 1; ; n++ {
		var l line
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return h, f, errors.New("load the history: the file ends early")
		} else if err != nil {
			return h, f, fmt.Errorf("load the history: line %d: %w", n, err)
		}
		switch {
		case l.Begin != nil:
			h.Seed, h.Start, h.Prefix, h.Workloads = l.Begin.Seed, l.Begin.Start, l.Begin.Prefix, l.Begin.Workloads
		case l.Op != nil:
			h.Ops = append(h.Ops, *l.Op)
		case l.Transaction != nil:
			transactions = append(transactions, *l.Transaction)
		case l.Log != nil:
			h.Log = &Log{Reached: l.Log.Reached, Gaps: l.Log.Gaps, Transactions: transactions}
		case l.Replica != nil:
			f.Replicas = append(f.Replicas, *l.Replica)
		case l.Hash != nil:
			f.Hashes = append(f.Hashes, *l.Hash)
		case l.End != nil:
			f.Revision = l.End.Revision
			return h, f, nil
		}
	}
}
