package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func someResults() []result {
	kill := resultOf("kill", bar{time.Second, 2 * time.Second}, ms(1, 900, 15600, 400000)...)
	kill.rounds[1].wrong = []string{"it <must> not & may not be"}
	return []result{
		resultOf("a<b&c", bar{0, 250 * time.Millisecond}, ms(100)...),
		kill,
		{scenario: scenario{name: "cut", about: "cut off"}, skipped: "there is no network"},
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	t.Parallel()
	for name, results := range map[string][]result{"some": someResults(), "none": nil} {
		text := plot(results)
		decoder := xml.NewDecoder(strings.NewReader(text))
		dots := 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v in\n%s", name, err, text)
			}
			if element, ok := token.(xml.StartElement); ok && element.Name.Local == "circle" {
				dots++
			}
		}
		if want := len(results) / 3 * 5; dots != want {
			t.Errorf("%s: %d dots, want %d", name, dots, want)
		}
		if strings.Contains(text, "%!") || strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%s: a number went wrong in\n%s", name, text)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	run := runInfo{Date: "2026-01-01", Cores: 4, Seed: 7, Lease: "duration 15s", Etcd: "heartbeat 100ms"}
	text, err := page(run, someResults(), &hardship{longGaps: 3}, "f.svg")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| case | rounds | median |", "\n|---|---:|", "| kill | 4 | 900 ms | 400.0 s | 400.0 s | 0 | 0 | 0 | median ≤ 1.00 s, worst ≤ 2.00 s | MISSED WRONG 1 |",
		"| cut | 0 |", "kill, round 2: it <must> not", "cut was left out: there is no network", "(f.svg)", "seed 7", "4 cores", "duration 15s", "## Packet loss", "`kill`: what happens",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if text, err := page(run, nil, nil, "f.svg"); err != nil || strings.Contains(text, "Packet loss") {
		t.Errorf("%v\n%s", err, text)
	}
}
