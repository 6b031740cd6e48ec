package loadgen

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/leasehold/leasehold/internal/client"
)

// kind is that of an operation.
type kind int

const (
	write kind = iota
	read
)

const (
	// Latencies are counted in microseconds, of which three digits are kept.
	longestLatency = 48 * time.Hour
	digits         = 3
	// maxExamples is how many are kept of what should not be.
	maxExamples = 5
)

// Figures is what the operations of a kind have come to. Each is in one of the four counts.
type Figures struct {
	Done     int64
	Failed   int64 // certainly not applied, or not read
	Unknown  int64 // nobody has said whether it was applied
	NotBegun int64
	latency  *hdrhistogram.Histogram // of all of them
}

// All is how many operations were due.
func (f Figures) All() int64 { return f.Done + f.Failed + f.Unknown + f.NotBegun }

// Latency is what a share of the operations, in percent, took at most, from when they were due.
func (f Figures) Latency(percentile float64) time.Duration {
	return time.Duration(f.latency.ValueAtPercentile(percentile)) * time.Microsecond
}

// Result is what a load has come to.
type Result struct {
	Writes, Reads Figures
	Length        time.Duration
	Gap           time.Duration // the longest time without an acknowledged write, the beginning and the end included
	Failed        []string      // examples
	Unknown       []string      // examples
	Losses        int           // acknowledged writes that turned out to be lost
	Lost          []string      // examples
	NotChecked    int           // keys that could not be read back
	WhyNotChecked []string      // examples
	Kept          int           // keys that have not been removed
}

// Second is what has come about in a short time.
type Second struct {
	Writes, Reads int64 // that were done
	Failed        int64 // in any way
	Waiting       int64 // due, and not begun by now
	latency       *hdrhistogram.Histogram
}

// Latency is what a share of the operations, in percent, took at most, from when they were due.
func (s Second) Latency(percentile float64) time.Duration {
	return time.Duration(s.latency.ValueAtPercentile(percentile)) * time.Microsecond
}

// tally is the bookkeeping of a load. What it holds does not grow with the number of operations.
type tally struct {
	mu     sync.Mutex
	start  time.Time
	acked  time.Time // when the last write was; at first the beginning
	all    Result
	recent Second
}

func newTally() *tally {
	return &tally{all: Result{Writes: Figures{latency: newHistogram()}, Reads: Figures{latency: newHistogram()}}, recent: Second{latency: newHistogram()}}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency.Microseconds(), digits)
}

func (t *tally) begin(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start, t.acked = now, now
}

func (t *tally) finish(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Length = now.Sub(t.start)
	t.all.Gap = max(t.all.Gap, now.Sub(t.acked))
}

// note counts an operation that was due at a time and has ended now.
func (t *tally) note(k kind, due, now time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	figures, done := &t.all.Writes, &t.recent.Writes
	if k == read {
		figures, done = &t.all.Reads, &t.recent.Reads
	}
	latency := min(max(0, now.Sub(due)), longestLatency).Microseconds()
	_ = figures.latency.RecordValue(latency) // it is within the bounds
	_ = t.recent.latency.RecordValue(latency)
	switch {
	case err == nil:
		figures.Done++
		*done++
		if k == write {
			t.all.Gap = max(t.all.Gap, now.Sub(t.acked))
			t.acked = now
		}
		return
	case errors.Is(err, errNotBegun):
		figures.NotBegun++
		return // it shows as one that waits
	case errors.Is(err, client.ErrUnknown):
		figures.Unknown++
		addExample(&t.all.Unknown, err)
	default:
		figures.Failed++
		addExample(&t.all.Failed, err)
	}
	t.recent.Failed++
}

// addExample keeps a few errors, each once.
func addExample(examples *[]string, err error) {
	if text := err.Error(); len(*examples) < maxExamples && !slices.Contains(*examples, text) {
		*examples = append(*examples, text)
	}
}

// lose counts an acknowledged write that is lost.
func (t *tally) lose(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Losses++
	addExample(&t.all.Lost, err)
}

// notChecked counts a key that could not be read back.
func (t *tally) notChecked(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.NotChecked++
	addExample(&t.all.WhyNotChecked, err)
}

// kept counts a key that has not been removed.
func (t *tally) kept() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Kept++
}

// result is what there is so far. What it points to is not changed after the load.
func (t *tally) result() Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}

// second returns what has come since the last call.
func (t *tally) second() Second {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.recent
	t.recent = Second{latency: newHistogram()}
	return s
}
