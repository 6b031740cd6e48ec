package main

import (
	"errors"
	"testing"
	"time"
)

func ms(values ...int) (durations []time.Duration) {
	for _, v := range values {
		durations = append(durations, time.Duration(v)*time.Millisecond)
	}
	return durations
}

func TestBar(t *testing.T) {
	t.Parallel()
	both, worst := bar{100 * time.Millisecond, 250 * time.Millisecond}, bar{0, 250 * time.Millisecond}
	for _, test := range []struct {
		bar  bar
		gaps []time.Duration
		want bool
	}{
		{both, ms(100, 90, 250), true},
		{both, ms(100, 101, 102), false},
		{both, ms(10, 10, 251), false},
		{worst, ms(240, 250), true},
		{worst, ms(10, 251), false},
		{bar{}, ms(99999), true},
		{both, nil, false},
	} {
		if got := test.bar.met(test.gaps); got != test.want {
			t.Errorf("%s with %v: %t", test.bar, test.gaps, got)
		}
	}
}

// resultOf makes a result with those gaps.
func resultOf(name string, b bar, gaps ...time.Duration) result {
	r := result{scenario: scenario{name: name, about: "what happens", bar: b}}
	for _, g := range gaps {
		r.rounds = append(r.rounds, round{gap: g})
	}
	return r
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	tight := bar{0, time.Millisecond}
	good, missed := resultOf("good", bar{}, ms(5)...), resultOf("missed", tight, ms(5)...)
	wrong, lost := resultOf("wrong", bar{}, ms(5)...), resultOf("lost", bar{}, ms(5)...)
	wrong.rounds[0].wrong = []string{"the boot ID has changed"}
	lost.lost = []string{"a"}
	for _, test := range []struct {
		name    string
		results []result
		hard    *hardship
		bars    bool
		ok      bool
	}{
		{"nothing was run", nil, nil, true, true},
		{"good", []result{good}, &hardship{}, true, true},
		{"left out", []result{{scenario: missed.scenario, skipped: "why"}}, nil, true, true},
		{"missed", []result{good, missed}, nil, true, false},
		{"missed, and only reported", []result{good, missed}, nil, false, true},
		{"wrong", []result{wrong}, nil, true, false},
		{"lost", []result{lost}, nil, false, false},
		{"lost packets cost a write", nil, &hardship{lost: []string{"a"}}, false, false},
	} {
		if err := verdict(test.results, test.hard, test.bars); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	for _, args := range [][]string{
		{"-cases", "none"}, {"-rounds", "0"}, {"-lossy", "0s"}, {"-real"}, {"-hook", "x"}, {"-md", "x.md"}, {"more"}, {"-cases", ""},
	} {
		if _, err := parse(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	c, err := parse([]string{"-cases", "kill,lossy", "-md", "docs/F.md", "-svg", "docs/plots/f.svg"})
	if err != nil || len(c.cases) != 2 || c.plotPath() != "plots/f.svg" {
		t.Errorf("%+v, %v", c, err)
	}
}
