package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGrowthUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-keys", "0"},
		{"-keys", "1000001"},
		{"-keys", "many"},
		{"-keys", "10,10"},
		{"-values", "0"},
		{"-values", "1048577"},
		{"-replicas", "0"},
		{"-replicas", "7"},
		{"-clients", "0"},
		{"-clients", "1001"},
		{"-watchers", "-1"},
		{"-watchers", "2049"},
		{"-keys", "", "-values", "", "-replicas", "", "-clients", "", "-watchers", ""},
		{"-runs", "0"},
		{"-for", "2m"},
		{"-md", "G.md"},
		{"-systems", "etcd"},
		{"more"},
	} {
		_, err := parseGrowth(args, &bytes.Buffer{})
		var said bytes.Buffer
		if code := exitCode(err, &said); code != 2 || !errors.Is(err, errUsage) || len(lines(&said)) != 1 {
			t.Errorf("%q: exit code %d, %q", args, code, said.String())
		}
	}
	c, err := parseGrowth([]string{"-keys", "7,5", "-clients", "", "-runs", "2", "-bars=false"}, &bytes.Buffer{})
	if err != nil || !slices.Equal(c.keys, []int{7, 5}) || c.clients != nil || len(c.watchers) != 4 || c.watchers[0] != 0 || c.runs != 2 || c.bars {
		t.Errorf("%+v, %v", c, err)
	}
	var out bytes.Buffer
	if _, err := parseGrowth([]string{"-help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "-watchers") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestAllOfTheGrowthTakes20MinutesAtMost(t *testing.T) {
	t.Parallel()
	cfg, err := parseGrowth(nil, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if all := cfg.expected(); all > 20*time.Minute {
		t.Errorf("it takes %s", all)
	}
	short := []string{"-runs", "1", "-for", "1s", "-keys", "1000,10000", "-values", "16,4096", "-clients", "1,64", "-watchers", "0,10"} // as in the Makefile
	if cfg, err = parseGrowth(short, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if all := cfg.expected(); all > 2*time.Minute {
		t.Errorf("a short one takes %s", all)
	}
}

// everything is a growth of which every part was measured, and no bar was missed.
func everything() grown {
	write := figures{perSecond: 1000, p50: time.Millisecond, p99: 5 * time.Millisecond, cpu: time.Second, memory: 300 << 20}
	keys := func(n int, perSecond float64) keysPoint {
		f := write
		f.perSecond = perSecond
		return keysPoint{
			point: point{n, f}, fill: 60 * time.Second, memory: 700 << 20, own: 400 << 20, disk: 900 << 20,
			follower: 2 * time.Second, all: 10 * time.Second, joined: 30 * time.Second,
		}
	}
	return grown{
		run: runInfo{Runs: 3, Cell: 4 * time.Second, WarmUp: time.Second, ValueBytes: 256}, version: "v1",
		keys:   []keysPoint{keys(fewKeys, 1000), keys(manyKeys, 800)},
		values: []point{{16, write}, {1 << 20, write}}, replicas: []point{{3, write}, {5, write}},
		clients:  []clientsPoint{{point{1, write}, write}, {point{64, write}, write}},
		watchers: []watchersPoint{{point: point{0, write}}, {point: point{10, write}}},
	}
}

func TestGrowthBars(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		spoil  func(g *grown)
		bars   int
		missed string // what the verdict names; "" if no bar is missed
	}{
		{"met", func(*grown) {}, 3, ""},
		{"a slow follower", func(g *grown) { g.keys[1].follower = 10001 * time.Millisecond }, 3, "start-up of a follower"},
		{"a slow start of all", func(g *grown) { g.keys[1].all = 11 * time.Second }, 3, "start-up of all replicas"},
		{"slow writes", func(g *grown) { g.keys[1].write.perSecond = 799 }, 3, "writes with 1,000,000 keys"},
		{"slow with fewer keys", func(g *grown) { g.keys[0].follower = time.Minute }, 3, ""},
		{"not with few keys", func(g *grown) { g.keys = g.keys[1:] }, 2, ""},
		{"not with many keys", func(g *grown) { g.keys = g.keys[:1] }, 0, ""},
		{"no keys", func(g *grown) { g.keys = nil }, 0, ""},
		{"no writes", func(g *grown) { g.keys[0].write.perSecond = 0 }, 2, ""},
	} {
		g := everything()
		test.spoil(&g)
		err := g.verdict(true)
		if n := len(g.judge()); n != test.bars {
			t.Errorf("%s: %d bars", test.name, n)
		}
		if missed := errors.Is(err, errMissed); missed != (test.missed != "") || missed && !strings.Contains(err.Error(), ": "+test.missed) || !missed && err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := g.verdict(false); err != nil {
			t.Errorf("%s, and only reported: %v", test.name, err)
		}
	}
}

func TestWhatFailsInTheGrowthIsNamed(t *testing.T) {
	t.Parallel()
	failed := figures{errors: []string{"no"}}
	for want, spoil := range map[string]func(g *grown){
		"10,000 keys: no":                 func(g *grown) { g.keys[0].write = failed },
		"values of 1 MiB: no":             func(g *grown) { g.values[1].write = failed },
		"5 replicas: no":                  func(g *grown) { g.replicas[1].write = failed },
		"writes, 1 client: no":            func(g *grown) { g.clients[0].write = failed },
		"reads, 64 clients: no":           func(g *grown) { g.clients[1].read = failed },
		"10 watchers: no":                 func(g *grown) { g.watchers[1].write = failed },
		"10 watchers: 3 events were lost": func(g *grown) { g.watchers[1].lost = 3 },
	} {
		g := everything()
		spoil(&g)
		if all := g.errors(); len(all) != 1 || all[0] != want {
			t.Errorf("%q: %q", want, all)
		}
		if err := g.verdict(false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
		if text, err := growthPage(g, "g.svg"); err != nil || !strings.Contains(text, "- FAILED: "+want+"\n") {
			t.Errorf("%q is not on the page (%v):\n%s", want, err, text)
		}
	}
}

func TestGrowthPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := growthConfig{config: config{md: filepath.Join(dir, "G.md"), svg: filepath.Join(dir, "plots", "g.svg")}}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "plots"), 0o700), cfg.writeGrowth(everything())); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg.md)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"(plots/g.svg)",
		"| start-up of all replicas with 1,000,000 keys | 10.00 s | ≤ 10 s | ok |",
		"| writes with 1,000,000 keys, to those with 10,000 | 0.80 × | ≥ 0.8 × | ok |",
		"| 1,000,000 | 800 | 1.00 ms | 5.00 ms | 700 MiB | 400 MiB | 900 MiB | 2.00 s | 10.00 s | 30.00 s | 60.00 s |",
		"| 1 MiB | 1,000 | 1,049 | 1.00 ms | 5.00 ms | 1 s | 300 MiB |",
		"| 5 | 1,000 | 1.00 ms | 5.00 ms | 1 s | 300 MiB |",
		"| 64 | 1,000 | 1.00 ms | 5.00 ms | 1,000 | 1.00 ms | 5.00 ms | 300 MiB |",
		"| 10 | 1,000 | 1.00 ms | 5.00 ms | 10,000 | 0 | 1 s | 300 MiB |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not on the page:\n%s", want, text)
		}
	}
	if s := string(text); strings.Contains(s, "no value") || strings.Contains(s, "\n\n\n") || strings.Contains(s, "FAILED") {
		t.Error(s)
	}
	chart, err := os.ReadFile(cfg.svg)
	if err != nil {
		t.Fatal(err)
	}
	isXML(t, string(chart))
	if !strings.Contains(string(chart), ">10 watchers</text>") || !strings.Contains(string(chart), ">10.00 s</text>") {
		t.Errorf("%s", chart)
	}
}

func TestGrowthPageHasWhatWasMeasured(t *testing.T) {
	t.Parallel()
	g := everything()
	g.keys, g.values, g.replicas, g.watchers = nil, nil, nil, nil
	text, err := growthPage(g, "g.svg")
	if err != nil || !strings.Contains(text, "## Clients") || strings.Contains(text, "## Keys") || strings.Contains(text, "verdict") || strings.Contains(text, "\n\n\n") {
		t.Errorf("%v:\n%s", err, text)
	}
	chart := growthChart(g)
	isXML(t, chart)
	if strings.Contains(chart, "start-up") || strings.Contains(chart, "changes") || strings.Count(chart, ">64 clients<") != 2 {
		t.Error(chart)
	}
	var out bytes.Buffer
	(&screen{out: &out}).growthTables(g)
	if !strings.Contains(out.String(), "Clients:") || strings.Contains(out.String(), "Keys:") {
		t.Error(out.String())
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{1: "1 B", 256: "256 B", 1000: "1000 B", 4096: "4 KiB", 1 << 20: "1 MiB", 1<<20 + 1024: "1025 KiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	w := newWorker(nil, "a", 1)
	for _, size := range []int{1, 16, 256, 1 << 20} {
		first := bytes.Clone(w.sized(size))
		if second := w.sized(size); len(first) != size || len(second) != size || size > 1 && bytes.Equal(first, second) {
			t.Errorf("values of %d bytes: %.20q, then %.20q", size, first, second)
		}
	}
}
