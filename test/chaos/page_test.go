package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/test/chaos/check"
)

func someResult() result {
	return result{
		Incidents: []incident{
			{Number: 1, Fault: "kill-leader", Target: "leasehold-0", At: time.Second, Gap: 900 * time.Millisecond, Recovery: 3 * time.Second, Failed: 2},
			{Number: 2, Fault: "cut-all", Target: "leasehold-1", At: time.Minute, Gap: 2 * time.Second, Recovery: 70 * time.Second, Broken: []string{"the cluster did not recover"}},
			{Number: 3, Fault: "kill-leader", Target: "leasehold-2", At: time.Hour, Gap: 1100 * time.Millisecond, Recovery: time.Second},
		},
		Elections: 3, Took: time.Hour, Operations: 1000, Totals: check.Measures{Acknowledged: 900},
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := rows(someResult())
	want := []string{"kill-leader | 2 | 900 ms | 1.10 s | 1.00 s | 3.00 s | 2 | ok", "cut-all | 1 | 2.00 s | 2.00 s | 70.0 s | 70.0 s | 0 | BROKEN 1"}
	for i, w := range want {
		if len(got) != 3 || strings.Join(got[i+1], " | ") != w {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNoFaultIsClearedOfWhatClientsSawBroken(t *testing.T) {
	t.Parallel()
	r := someResult()
	r.Broken = []check.Violation{{Invariant: check.NothingLost, Detail: "chaos/set/1 is not there"}}
	for i, want := range []string{"verdict", "unclear", "BROKEN 1"} {
		if row := rows(r)[i]; row[len(row)-1] != want {
			t.Errorf("%q, want the verdict %q", row, want)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	run := runInfo{Date: "2026-01-01", Cores: 4, Seed: 7, Lease: "duration 15s", Recovery: time.Minute}
	broken, whole := someResult(), result{Incidents: someResult().Incidents[:1]}
	broken.Broken = []check.Violation{{Invariant: check.NothingLost, Detail: "chaos/set/1 is not there"}}
	for _, test := range []struct {
		result      result
		want, wrong []string
	}{
		{broken, []string{
			"Faults 3, elections 3, in 1h0m0s", "acknowledged 900", "| kill-leader | 2 |", "|---:|---|\n", "(c.svg)", "seed 7", "4 cores", "`cut-all`: the leader",
			"nothing acknowledged is lost: chaos/set/1 is not there", "cut-all at 1:00: the cluster did not recover",
		}, []string{"No promise was broken"}},
		{whole, []string{"No promise was broken"}, []string{"Promises were broken", "`cut-all`"}},
	} {
		text, err := page(run, test.result, "c.svg")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("the page lacks %q:\n%s", want, text)
			}
		}
		for _, wrong := range test.wrong {
			if strings.Contains(text, wrong) {
				t.Errorf("the page has %q:\n%s", wrong, text)
			}
		}
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	t.Parallel()
	decoder, dots := xml.NewDecoder(strings.NewReader(plot(someResult()))), 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "circle" {
			dots++
		}
	}
	if dots != 3 {
		t.Errorf("%d dots, want 3", dots)
	}
}

func TestScreen(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &screen{out: &out}
	for _, i := range someResult().Incidents {
		s.strike(i)
		s.recovered(i)
	}
	s.end(someResult())
	for _, want := range []string{"   0:01  kill-leader     leasehold-0", "2 writes failed", "1:00:00", "! the cluster did not recover", "BROKEN 1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the screen lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "No promise was broken") {
		t.Error("a broken promise is passed over")
	}
}
