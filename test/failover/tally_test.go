package main

import (
	"slices"
	"testing"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func TestLongestGapOfAWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		acks []int // in the order in which they are noted
		want int
	}{
		{"between two", []int{100, 200, 700, 900}, 500},
		{"out of order", []int{900, 100, 700, 200}, 500},
		{"at the beginning", []int{600, 700, 900}, 600},
		{"at the end", []int{100, 200}, 800},
		{"over the beginning", []int{-300, 400, 500, 800}, 400},
		{"over the end", []int{300, 600, 1900}, 400},
		{"outside of the window only", []int{-500, 1500}, 1000},
		{"no write at all", nil, 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var ty tally
			for i, ms := range test.acks {
				ty.acknowledge(ack{i, at(ms), 1})
			}
			got := slices.Max(ty.snapshot().gaps(at(0), at(1000)))
			if want := time.Duration(test.want) * time.Millisecond; got != want {
				t.Errorf("longest gap %s, want %s", got, want)
			}
		})
	}
}

func TestResumed(t *testing.T) {
	t.Parallel()
	tr := &trial{load: &load{}, before: lab.View{Epoch: 3}, struck: at(100)}
	expect := func(want time.Time) {
		t.Helper()
		if got, ok := tr.resumed(); got.at != want || ok == want.IsZero() {
			t.Errorf("resumed at %s (%t), want %s", got.at, ok, want)
		}
	}
	tr.load.tally.acknowledge(ack{0, at(50), 3})
	tr.load.tally.acknowledge(ack{1, at(150), 3})
	expect(time.Time{})
	tr.load.tally.acknowledge(ack{2, at(700), 4})
	tr.load.tally.acknowledge(ack{3, at(600), 4})
	expect(at(600))
	tr.healed = at(120)
	expect(at(150))
}

func TestCountLooksAtTheWindow(t *testing.T) {
	t.Parallel()
	tr := &trial{load: &load{}, struck: at(2000), until: at(4000)}
	for i, ms := range []int{10, 1200, 1900, 2700, 3900, 9000} {
		tr.load.tally.acknowledge(ack{i, at(ms), 1})
	}
	tr.load.tally.retry()
	tr.load.tally.fail("why")
	tr.count()
	if r := tr.round; r.gap != 1200*time.Millisecond || r.acknowledged != 6 || r.retried != 1 || len(r.failed) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestHardshipCounts(t *testing.T) {
	t.Parallel()
	var c counts
	for i, ms := range []int{500, 1700, 1800, 4000, 4900} {
		c.acks = append(c.acks, ack{i, at(ms), 1})
	}
	var h hardship
	h.count(c, at(0), at(5000))
	if h.longGaps != 2 || h.longest != 2200*time.Millisecond || h.acknowledged != 5 {
		t.Errorf("%s", &h)
	}
}
