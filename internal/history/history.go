// Package history keeps the last changes of leadership in the store, with their reasons and what they cost.
//
// The one invariant: an epoch has one entry at most, written under that epoch's own term. A term that ends before it could
// write has none.
package history

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/store"
)

// Entry is one change of leadership.
type Entry struct {
	// From has led before; it is empty for the first leader.
	From  string    `json:"from"`
	To    string    `json:"to"`
	Epoch uint64    `json:"epoch"`
	At    time.Time `json:"at"`
	// Reason is a word for why From leads no more, Why half a sentence.
	Reason string `json:"reason"`
	Why    string `json:"why"`
	// GapMS is for how many milliseconds, rounded down, writes waited as the new leader saw it; nil where it does not
	// know. See store.Term.Gap.
	GapMS *int64 `json:"gap_ms"`
}

const (
	// Kept is how many entries there are at most.
	Kept = 100

	stateName = "history"
	// retry is the pause after a failed attempt to write an entry.
	retry = time.Second
)

// State reads a record of the service's own from the local member; nil if there is none.
type State func(ctx context.Context, name string) ([]byte, error)

// Read returns the entries that the local member holds, the newest first.
func Read(ctx context.Context, state State) ([]Entry, error) {
	value, err := state(ctx, stateName)
	if err != nil {
		return nil, fmt.Errorf("read the history of leaders: %w", err)
	}
	entries := []Entry{}
	if value == nil {
		return entries, nil
	}
	if err := json.Unmarshal(value, &entries); err != nil {
		return nil, fmt.Errorf("malformed history of leaders: %w", err)
	}
	return entries, nil
}

// Term is a term of this replica's own. Context ends with it; Entry is how it came about.
type Term struct {
	Context context.Context
	Entry   Entry
	Write   func(ctx context.Context, w *store.Write) (store.Outcome, error)
}

// Config is what a Recorder needs.
type Config struct {
	// Term returns the term under which this replica leads, nil while it does not, and a channel that is closed
	// when that changes.
	Term  func() (*Term, <-chan struct{})
	State State
	Log   *zap.Logger
}

// Recorder writes an entry for each of this replica's terms.
type Recorder struct{ cfg Config }

// New makes a Recorder that writes nothing yet.
func New(cfg Config) *Recorder { return &Recorder{cfg: cfg} }

// Run writes entries until ctx is done.
func (r *Recorder) Run(ctx context.Context) {
	for {
		term, changed := r.cfg.Term()
		if term != nil {
			r.record(ctx, term)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// record writes the term's entry, however often that takes, until the term ends or ctx is done.
func (r *Recorder) record(ctx context.Context, term *Term) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term.Context, cancel)()
	for failed := false; ctx.Err() == nil; failed = true {
		err := r.add(ctx, term)
		if err == nil {
			return
		}
		if !failed && ctx.Err() == nil {
			r.cfg.Log.Warn("the change of leadership is not in the history yet", zap.Uint64("epoch", term.Entry.Epoch), zap.Error(err))
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// add writes the term's entry unless it is there: an attempt whose answer was lost may have been applied. What is read
// locally is what earlier terms have left, since a term begins when its replica knows that, and nobody else writes in it.
func (r *Recorder) add(ctx context.Context, term *Term) error {
	entries, err := Read(ctx, r.cfg.State)
	if err != nil {
		return err
	}
	if len(entries) > 0 && entries[0].Epoch >= term.Entry.Epoch {
		return nil
	}
	entries = append([]Entry{term.Entry}, entries[:min(len(entries), Kept-1)]...)
	value, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	w := &store.Write{ID: store.NewID()}
	w.PutState(stateName, value)
	_, err = term.Write(ctx, w)
	return err
}
