package loadgen

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leasehold/leasehold/internal/client"
)

// begun is one operation as it was begun.
type begun struct {
	number    int64
	due, took time.Duration // since the start, and to its beginning
}

// play runs a schedule in virtual time; each operation does what it is told to.
func play(t *testing.T, cfg Config, do func(s *schedule, number int64)) (made, missed []begun) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		s := newSchedule(cfg)
		start := time.Now()
		var mu sync.Mutex
		add := func(to *[]begun, number int64, due time.Time) {
			mu.Lock()
			defer mu.Unlock()
			*to = append(*to, begun{number, due.Sub(start), time.Since(due)})
		}
		s.run(func(number int64, due time.Time) {
			add(&made, number, due)
			do(s, number)
		}, func(number int64, due time.Time) {
			add(&missed, number, due)
		})
	})
	slices.SortFunc(made, func(a, b begun) int { return int(a.number - b.number) })
	return made, missed
}

func TestOperationsBeginWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	cfg := Config{Rate: 300, Length: 2 * time.Second, Clients: 3, Timeout: time.Second}
	made, missed := play(t, cfg, func(*schedule, int64) { time.Sleep(3 * time.Millisecond) })
	if len(made) != 600 || len(missed) != 0 {
		t.Fatalf("%d operations, %d missed", len(made), len(missed))
	}
	for i, o := range made {
		if want := time.Duration(i) * time.Second / 300; o.number != int64(i) || o.due != want || o.took != 0 {
			t.Fatalf("operation %d was due at %s and begun %s later; want %s and no later", i, o.due, o.took, want)
		}
	}
}

func TestNoMoreClientsThanAreAllowed(t *testing.T) {
	t.Parallel()
	cfg := Config{Rate: 1000, Length: time.Second, Clients: 5, Timeout: time.Minute}
	var mu sync.Mutex
	var now, most int
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		now += by
		most = max(most, now)
	}
	made, missed := play(t, cfg, func(*schedule, int64) {
		count(1)
		time.Sleep(10 * time.Millisecond)
		count(-1)
	})
	if most != 5 || len(made) != 1000 || len(missed) != 0 {
		t.Errorf("%d at once, %d operations, %d missed", most, len(made), len(missed))
	}
	// The clients make 500 in a second, so the last one is a second late.
	if late := made[999].took; late < 990*time.Millisecond || late > 1010*time.Millisecond {
		t.Errorf("the last one is %s late", late)
	}
}

func TestWhatIsNotBegunInTimeIsMissed(t *testing.T) {
	t.Parallel()
	cfg := Config{Rate: 100, Length: 2 * time.Second, Clients: 4, Timeout: time.Second}
	made, missed := play(t, cfg, func(_ *schedule, number int64) {
		if number >= 100 {
			time.Sleep(time.Minute)
		}
	})
	if len(made) != 104 || len(missed) != 96 {
		t.Errorf("%d operations, %d missed, want 104 and 96", len(made), len(missed))
	}
	for _, o := range missed {
		if at := o.due + o.took; at < 61*time.Second || at > 61*time.Second+30*time.Millisecond {
			t.Errorf("operation %d was noted as missed at %s, not when the first client was free", o.number, at)
		}
	}
}

func TestNothingIsDueAfterStop(t *testing.T) {
	t.Parallel()
	cfg := Config{Rate: 100, Length: time.Hour, Clients: 4, Timeout: time.Minute}
	made, missed := play(t, cfg, func(s *schedule, number int64) {
		switch {
		case number == 104: // at 1.04 s
			time.Sleep(5 * time.Millisecond)
			s.stop()
			s.stop()
			time.Sleep(time.Second)
		case number >= 100:
			time.Sleep(10 * time.Second)
		}
	})
	// 100 to 103 keep the four clients busy until 11.00 s and more; 104 is the only one that is begun then.
	if len(made) != 105 || len(missed) != 996 {
		t.Errorf("%d operations, %d missed, want 105 and the 996 that were due until 11.00 s", len(made), len(missed))
	}
	for _, o := range missed {
		if o.due > 11*time.Second {
			t.Errorf("operation %d, missed, was due at %s, after the stop", o.number, o.due)
		}
	}
}

// A store that stalls once makes everybody wait who comes meanwhile. That is what the latency says which counts from when
// an operation was due; from when it was begun, as a closed loop would have it, hardly anybody has waited.
func TestStallShowsInTheLatency(t *testing.T) {
	t.Parallel()
	const clients = 4
	f, cfg := newFake(), testConfig()
	cfg.Clients = clients
	var mu sync.Mutex
	closed := newHistogram()
	r := run(t, cfg, f, func(*Load) {
		start := time.Now()
		stallFrom, stallTo := start.Add(3*time.Second), start.Add(5*time.Second)
		f.hinder = func(int, client.Write) error {
			begun := time.Now()
			time.Sleep(time.Millisecond)
			if !begun.Before(stallFrom) {
				time.Sleep(time.Until(stallTo))
			}
			mu.Lock()
			defer mu.Unlock()
			return closed.RecordValue(time.Since(begun).Microseconds())
		}
	})
	expect(t, r, 0, 0, 0, 0, 0, 0)
	if r.Writes.Done != 1000 {
		t.Fatalf("%d operations", r.Writes.Done)
	}
	// 200 of 1,000 were due within the stall, and waited 0 to 2 s.
	for _, at := range []struct {
		percentile  float64
		least, most time.Duration
	}{{50, time.Millisecond, 2 * time.Millisecond}, {90, 900 * time.Millisecond, 1100 * time.Millisecond}, {99, 1800 * time.Millisecond, 2100 * time.Millisecond}} {
		if got := r.Writes.Latency(at.percentile); got < at.least || got > at.most {
			t.Errorf("p%v is %s, want %s to %s", at.percentile, got, at.least, at.most)
		}
	}
	if p99 := time.Duration(closed.ValueAtPercentile(99)) * time.Microsecond; p99 > 2*time.Millisecond {
		t.Errorf("the p99 of a closed loop is %s, so this test shows nothing", p99)
	}
	if r.Gap < 1900*time.Millisecond || r.Gap > 2100*time.Millisecond {
		t.Errorf("the longest gap is %s", r.Gap)
	}
}

func TestStopEndsTheLoadWithItsResult(t *testing.T) {
	t.Parallel()
	f, cfg := newFake(), testConfig()
	cfg.Length = time.Hour
	r := run(t, cfg, f, func(l *Load) { time.AfterFunc(10*time.Second, l.Stop) })
	if r.Writes.All() < 1000 || r.Writes.All() > 1001 {
		t.Errorf("%d operations in ten seconds", r.Writes.All())
	}
	expect(t, r, 0, 0, 0, 0, 0, 0)
}

// A load that is given up leaves nothing out either.
func TestGivenUpOperationsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, cfg := newFake(), testConfig()
		l := New(cfg, f)
		if err := l.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.hinder = func(int, client.Write) error {
			<-ctx.Done()
			return client.ErrUnknown
		}
		time.AfterFunc(time.Second, l.Stop)
		time.AfterFunc(2*time.Second, cancel)
		l.Run(ctx)
		r := l.Result()
		if r.Writes.Unknown != 8 || r.Writes.All() != 100 || r.Writes.NotBegun != 92 || r.Writes.Latency(100) < 2*time.Second-time.Millisecond {
			t.Errorf("%+v", r.Writes)
		}
	})
}

func TestSecondsShowWhatIsGoingOn(t *testing.T) {
	t.Parallel()
	f, cfg := newFake(), testConfig()
	cfg.ReadPercent = 50
	seconds := make(chan Second, 3)
	run(t, cfg, f, func(l *Load) {
		start := time.Now()
		f.hinder = func(int, client.Write) error {
			if at := time.Since(start); at >= time.Second && at < 2*time.Second {
				time.Sleep(time.Until(start.Add(2500 * time.Millisecond)))
			}
			return nil
		}
		for i := range 3 {
			time.AfterFunc(time.Duration(i+1)*time.Second-time.Millisecond, func() { seconds <- l.Second() })
		}
	})
	first, second, third := <-seconds, <-seconds, <-seconds
	if first.Writes != 50 || first.Reads != 50 || first.Waiting != 0 || first.Latency(100) != 0 {
		t.Errorf("the first second: %+v", first)
	}
	if second.Writes != 0 || second.Waiting < 80 || second.Waiting > 90 {
		t.Errorf("the second second: %+v", second)
	}
	if third.Writes < 90 || third.Waiting != 0 || third.Latency(100) < 1400*time.Millisecond {
		t.Errorf("the third second: %+v", third)
	}
}
