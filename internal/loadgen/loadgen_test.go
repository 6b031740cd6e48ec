package loadgen

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leasehold/leasehold/internal/client"
)

// fakeStore is a map.
type fakeStore struct {
	mu       sync.Mutex
	values   map[string]client.Value
	keys     map[string]bool // idempotency keys
	revision int
	writes   int
	hinder   func(n int, w client.Write) error // what becomes of the n-th write, before it is applied
	forgets  int                               // the write that is acknowledged and not kept
	down     bool                              // for reads
}

func newFake() *fakeStore {
	return &fakeStore{values: map[string]client.Value{}, keys: map[string]bool{}, forgets: -1}
}

func (f *fakeStore) Put(_ context.Context, w client.Write) (client.Applied, error) {
	f.mu.Lock()
	n, hinder := f.writes, f.hinder
	f.writes++
	f.mu.Unlock()
	if hinder != nil {
		if err := hinder(n, w); err != nil {
			return client.Applied{}, err
		}
	}
	return f.apply(w, n != f.forgets)
}

func (f *fakeStore) apply(w client.Write, keep bool) (client.Applied, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys[w.IdempotencyKey] {
		panic("a second write under the key " + w.IdempotencyKey)
	}
	f.keys[w.IdempotencyKey] = true
	if now, exists := f.values[w.Key]; w.IfRevision != now.Revision || w.IfNew == exists {
		return client.Applied{}, client.ErrCondition
	}
	f.revision++
	revision := strconv.Itoa(f.revision)
	if keep {
		f.values[w.Key] = client.Value{Value: w.Value, Revision: revision}
	}
	return client.Applied{Revision: revision}, nil
}

func (f *fakeStore) Get(_ context.Context, r client.Read) (client.Value, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return client.Value{}, client.ErrNotRead
	}
	v, ok := f.values[r.Key]
	if !ok {
		return client.Value{}, client.ErrNotFound
	}
	return v, nil
}

func (f *fakeStore) Delete(_ context.Context, key string, _ int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.values, key)
	return nil
}

func testConfig() Config {
	return Config{Rate: 100, Length: 10 * time.Second, Clients: 8, Keys: 8, ValueSize: 256, Timeout: 5 * time.Second}
}

// run makes the whole load, in virtual time.
func run(t *testing.T, cfg Config, f *fakeStore, prepare func(l *Load)) (r Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(cfg, f)
		if err := l.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if prepare != nil {
			prepare(l)
		}
		l.Run(t.Context())
		l.Check(t.Context())
		r = l.Result()
	})
	return r
}

// expect compares what there should be none of.
func expect(t *testing.T, r Result, failed, unknown, notBegun int64, losses, notChecked, kept int) {
	t.Helper()
	got := fmt.Sprint(r.Writes.Failed+r.Reads.Failed, r.Writes.Unknown, r.Writes.NotBegun+r.Reads.NotBegun, r.Losses, r.NotChecked, r.Kept)
	if want := fmt.Sprint(failed, unknown, notBegun, losses, notChecked, kept); got != want {
		t.Errorf("failed, unknown, not begun, lost, not checked, kept: %s, want %s; failed %q, lost %q", got, want, r.Failed, r.Lost)
	}
}

func TestLoadOfAHealthyStore(t *testing.T) {
	t.Parallel()
	for _, reads := range []int{0, 1, 33, 50, 100} {
		f, cfg := newFake(), testConfig()
		cfg.ReadPercent = reads
		r := run(t, cfg, f, nil)
		if r.Reads.Done != int64(10*reads) || r.Writes.Done != 1000-r.Reads.Done {
			t.Errorf("%d %% reads: %d reads and %d writes", reads, r.Reads.Done, r.Writes.Done)
		}
		if reads == 0 && r.Gap != 10*time.Millisecond {
			t.Errorf("the longest gap is %s", r.Gap)
		}
		expect(t, r, 0, 0, 0, 0, 0, 0)
		if len(f.values) != 0 || r.Length != 9990*time.Millisecond {
			t.Errorf("%d keys are left after %s", len(f.values), r.Length)
		}
	}
}

func TestKindsAreSpreadAndEachGoesRoundTheReplicas(t *testing.T) {
	t.Parallel()
	l := Load{cfg: Config{ReadPercent: 25}}
	var got []string
	for n := range int64(8) {
		got = append(got, fmt.Sprintf("%d:%d", l.kind(n), l.nth(n)))
	}
	if want := "0:0 0:1 0:2 1:0 0:3 0:4 0:5 1:1"; strings.Join(got, " ") != want {
		t.Errorf("kinds and places %v, want %s", got, want)
	}
}

func TestLongestGap(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, test := range []struct {
		name string
		acks []int
		want time.Duration
	}{
		{"between two", []int{100, 200, 700, 900}, 500 * time.Millisecond},
		{"at the beginning", []int{600, 700, 900}, 600 * time.Millisecond},
		{"at the end", []int{100, 200}, 800 * time.Millisecond},
		{"no write at all", nil, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ty := newTally()
			ty.begin(start)
			for _, ms := range test.acks {
				ty.note(write, start, at(ms), nil)
			}
			ty.note(write, start, at(950), client.ErrNotApplied)
			ty.note(write, start, at(950), client.ErrUnknown)
			ty.note(read, start, at(950), nil)
			ty.finish(at(1000))
			if got := ty.result().Gap; got != test.want {
				t.Errorf("longest gap %s, want %s", got, test.want)
			}
		})
	}
}

func TestOutcomesAreCounted(t *testing.T) {
	t.Parallel()
	f, cfg := newFake(), testConfig()
	r := run(t, cfg, f, func(l *Load) {
		f.hinder = func(n int, w client.Write) error {
			switch n % 10 {
			case 0:
				return client.ErrNotApplied
			case 1: // it is not applied
				return client.ErrUnknown
			case 2: // it is applied
				_, err := f.apply(w, true)
				if err != nil {
					t.Error(err)
				}
				return client.ErrUnknown
			}
			return nil
		}
	})
	if r.Writes.Done != 700 || r.Writes.All() != 1000 {
		t.Errorf("%d of %d writes are acknowledged", r.Writes.Done, r.Writes.All())
	}
	expect(t, r, 100, 200, 0, 0, 0, 0)
	if len(r.Failed) != 1 || len(r.Unknown) != 1 {
		t.Errorf("examples: %q, %q", r.Failed, r.Unknown)
	}
}

// A write that was given up is applied while the next one to its key is on its way.
func TestLateWriteIsNoLoss(t *testing.T) {
	t.Parallel()
	f, cfg := newFake(), testConfig()
	cfg.Clients, cfg.Keys = 1, 1
	r := run(t, cfg, f, func(*Load) {
		var late *client.Write
		f.hinder = func(n int, w client.Write) error {
			switch {
			case n == 100:
				late = &w
				return client.ErrUnknown
			case late != nil:
				if _, err := f.apply(*late, true); err != nil {
					t.Error(err)
				}
				late = nil
			}
			return nil
		}
	})
	expect(t, r, 0, 1, 0, 0, 0, 0)
}

func TestLostWriteIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		forgets      int
		losses, kept int
	}{
		{"in the beginning", 0, 1, 0},
		{"with writes to its key after it", 100, 1, 0},
		{"the last to its key", 1007, 1, 1},
		{"none", -1, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			f.forgets = test.forgets
			r := run(t, testConfig(), f, nil)
			expect(t, r, 0, 0, 0, test.losses, 0, test.kept)
			if len(r.Lost) != test.losses || len(f.values) != test.kept {
				t.Errorf("lost %q; %d keys are kept", r.Lost, len(f.values))
			}
		})
	}
}

// What a store that has gone back in time holds is an older value, and what somebody else has put there is none of ours.
func TestWhatARegisterMayHold(t *testing.T) {
	t.Parallel()
	r := newRegister("load/x/", 3, 100)
	r.acked, r.tried = 5, 7
	other := newRegister("load/x/", 4, 100)
	for value, want := range map[string]bool{
		r.value(4): false, r.value(5): true, r.value(6): true, r.value(7): true, r.value(8): false,
		"": false, other.value(6): false, r.value(6) + ".": false, "6": false,
	} {
		if _, ok := r.holds(value); ok != want {
			t.Errorf("%q: %t", value, ok)
		}
	}
	if n := len(r.value(7)); n != 100 {
		t.Errorf("a value of %d bytes", n)
	}
	r.size = MinValueSize
	if n := len(newRegister("load/abcdefgh/", 99_999, MinValueSize).value(8_640_000_000)); n != MinValueSize {
		t.Errorf("a value of %d bytes, want %d at least", n, MinValueSize)
	}
}

func TestWhatCannotBeReadBackIsNotLost(t *testing.T) {
	t.Parallel()
	f := newFake()
	var r Result
	synctest.Test(t, func(t *testing.T) {
		l := New(testConfig(), f)
		if err := l.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Run(t.Context())
		f.down = true
		l.Check(t.Context())
		r = l.Result()
	})
	expect(t, r, 0, 0, 0, 0, 8, 8)
	if len(r.WhyNotChecked) != maxExamples {
		t.Errorf("examples: %q", r.WhyNotChecked)
	}
}

func TestStoreThatIsNotThereIsNotFilled(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.down = true
	if err := New(testConfig(), f).Fill(t.Context()); !errors.Is(err, client.ErrNotRead) || f.writes != 0 {
		t.Errorf("%d writes; error %v", f.writes, err)
	}
	f.down = false
	f.hinder = func(int, client.Write) error { return client.ErrNotApplied }
	if err := New(testConfig(), f).Fill(t.Context()); !errors.Is(err, client.ErrNotApplied) {
		t.Errorf("error %v", err)
	}
}
