package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestReadsUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-runs", "0"}, {"-md", "R.md"}, {"more"}} {
		err := runReads(t.Context(), args, &bytes.Buffer{})
		if code := exitCode(err, &bytes.Buffer{}); code != 2 || !errors.Is(err, errUsage) {
			t.Errorf("%q: exit code %d, %v", args, code, err)
		}
	}
}

func TestWhatIsPassedOnIsRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"": 0,
		"leasehold_reads_passed_total{result=\"answered\"} 0\n":                                                                 0,
		"a 1\nleasehold_reads_passed_total{result=\"answered\"} 30\nleasehold_reads_passed_total{result=\"nobody\"} 10\nb 2\n":  0.75,
		"leasehold_reads_passed_total{result=\"answered\"} 1e+03\nleasehold_reads_passed_total{result=\"unanswered\"} 0\nb 2\n": 1,
	} {
		if part, err := passedOf([]byte(text)); err != nil || part != want {
			t.Errorf("%q: %v, %v", text, part, err)
		}
	}
	if _, err := passedOf([]byte("leasehold_reads_passed_total{result=\"answered\"} many\n")); err == nil {
		t.Error("many is a number")
	}
}

func TestPacedOperationsCountFromWhenTheyWereDue(t *testing.T) {
	t.Parallel()
	var all tally
	begin := time.Now()
	const stall = 30 * time.Millisecond
	slow := func(context.Context, *worker) error {
		time.Sleep(stall) // three times as long as the pace allows
		return nil
	}
	clients := []client{&fakeClient{fake: newFake()}}
	all.startPaced(t.Context(), slow, clients, window{begin, begin.Add(100 * time.Millisecond)}, 100)()
	if n := len(all.took); n != 10 && n != 11 {
		t.Fatalf("%d operations, though ten were due", n)
	}
	if last := all.took[len(all.took)-1]; last < 5*stall {
		t.Errorf("the last one has waited for those before it, but took only %s", last)
	}
}

func TestReadsTable(t *testing.T) {
	t.Parallel()
	points := make([][]readsPoint, len(readsCases))
	for i := range points {
		p := readsPoint{leader: 0.25, others: 0.5, read: spread{time.Millisecond, 5 * time.Millisecond}, write: spread{2 * time.Millisecond, 9 * time.Millisecond}, passed: 1}
		points[i] = []readsPoint{p}
	}
	var out bytes.Buffer
	(&screen{out: &out}).readsTable(points)
	for _, want := range []string{
		"none                                local           25 %          50 %                              2.00 ms    9.00 ms",
		"200 lists of 100 entries a second   proxy           25 %          50 %            1.00 ms   5.00 ms  2.00 ms    9.00 ms  100 %",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("not there: %s\n%s", want, out.String())
		}
	}
}
