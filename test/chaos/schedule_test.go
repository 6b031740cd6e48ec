package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// drawn are the next n faults, each with what chance says first.
func drawn(s *schedule, n int) (names []string, draws []uint64) {
	for range n {
		name, rng, ok := s.next()
		if !ok {
			break
		}
		names, draws = append(names, name), append(draws, rng.Uint64())
	}
	return names, draws
}

func TestASeedFixesTheFaultsAndTheirChance(t *testing.T) {
	t.Parallel()
	of := func(seed uint64) *schedule { return newSchedule(config{seed: seed, faults: faultNames()}) }
	n := 2*len(faultNames()) + 3
	names, draws := drawn(of(7), n)
	again, sameDraws := drawn(of(7), n)
	if len(names) != n || !slices.Equal(names, again) || !slices.Equal(draws, sameDraws) {
		t.Errorf("%q\n%q", names, again)
	}
	if other, otherDraws := drawn(of(8), n); slices.Equal(names, other) || slices.Equal(draws, otherDraws) {
		t.Error("another seed changes nothing")
	}
}

func TestEachFaultComesOnceBeforeAnyComesAgain(t *testing.T) {
	t.Parallel()
	s, all := newSchedule(config{seed: 1, faults: faultNames()}), faultNames()
	slices.Sort(all)
	for range 3 {
		names, _ := drawn(s, len(all))
		if slices.Sort(names); !slices.Equal(names, all) {
			t.Errorf("%q", names)
		}
	}
}

func TestCases(t *testing.T) {
	t.Parallel()
	for _, c := range cases() {
		names, _ := drawn(newSchedule(config{schedule: c.name}), 1000)
		if !slices.Equal(names, c.faults) || len(names) == 0 {
			t.Errorf("%s: %q", c.name, names)
		}
		for _, name := range c.faults {
			if !slices.Contains(faultNames(), name) {
				t.Errorf("%s has %q", c.name, name)
			}
		}
	}
}

func TestFaultsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, f := range faults() {
		names[f.name] = f.about != "" && f.run != nil
	}
	if len(names) != len(faults()) || slices.Contains(slices.Collect(maps.Values(names)), false) {
		t.Errorf("%v", names)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-faults", "none"}, {"-case", "none"}, {"-for", "0s"}, {"-recovery", "1ms"}, {"-rate", "10"}, {"-md", "x.md"}, {"more"}, {"-what"},
	} {
		if _, err := parse(args); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	c, err := parse([]string{"-faults", "kill-leader,cut-all", "-md", "docs/C.md", "-svg", "docs/plots/c.svg", "-seed", "9"})
	if err != nil || len(c.faults) != 2 || c.plotPath() != "plots/c.svg" || c.seed != 9 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestListNamesEverything(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := list(&out); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(faultNames(), "kills", "short") {
		if !strings.Contains(out.String(), "  "+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
}
