package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func withRate(perSecond ...float64) (runs []figures) {
	for _, p := range perSecond {
		runs = append(runs, figures{perSecond: p, p99: time.Second})
	}
	return runs
}

func TestMedian(t *testing.T) {
	t.Parallel()
	at := cell{nameEtcd, opWrite, 1}
	r := results{at: {
		{perSecond: 30, p50: 1, p99: 300, cpu: 2, memory: 7},
		{perSecond: 10, p50: 3, p99: 100, cpu: 4, memory: 9, errors: []string{"a"}},
		{perSecond: 20, p50: 2, p99: 500, cpu: 3, memory: 8, errors: []string{"b", "c"}},
	}}
	m, ok := r.median(at)
	if !ok || m.perSecond != 20 || m.p50 != 2 || m.p99 != 300 || m.cpu != 3 || m.memory != 8 || len(m.errors) != 3 {
		t.Errorf("%+v, %t", m, ok)
	}
	if _, ok := r.median(cell{nameEtcd, opWrite, 2}); ok {
		t.Error("there is a median of nothing")
	}
	r[at] = withRate(40, 10)
	if m, _ := r.median(at); m.perSecond != 25 {
		t.Errorf("the median of two is %g", m.perSecond)
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	least := atLeast(2, "", opRead, 64)
	most := least
	most.most = true
	for _, test := range []struct {
		name    string
		bar     bar
		r       results
		verdict string
	}{
		{"met", least, results{least.cell: withRate(20), least.to: withRate(10)}, verdictOK},
		{"missed", least, results{least.cell: withRate(19), least.to: withRate(10)}, verdictMissed},
		{"by the median", least, results{least.cell: withRate(19, 90, 19), least.to: withRate(10)}, verdictMissed},
		{"at most", most, results{least.cell: withRate(20), least.to: withRate(10)}, verdictOK},
		{"more than at most", most, results{least.cell: withRate(21), least.to: withRate(10)}, verdictMissed},
		{"nothing", least, results{}, verdictUnknown},
		{"one of two", least, results{least.cell: withRate(20)}, verdictUnknown},
		{"none succeeded", least, results{least.cell: withRate(20), least.to: withRate(0)}, verdictUnknown},
	} {
		if _, got := test.bar.judge(test.r); got != test.verdict {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	b := bars[0]
	good := results{b.cell: withRate(100), b.to: withRate(10)}
	slow := results{b.cell: withRate(1), b.to: withRate(10)}
	failed := results{b.cell: {{errors: []string{"no"}}}}
	for _, test := range []struct {
		name string
		r    results
		bars bool
		ok   bool
	}{
		{"good", good, true, true},
		{"slow", slow, true, false},
		{"slow, and only reported", slow, false, true},
		{"failed", failed, false, false},
	} {
		if err := verdict(test.r, test.bars); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	var y tally
	for i := range 2000 {
		y.took = append(y.took, time.Duration(i+1)*time.Millisecond)
	}
	f := y.figures(used{length: 2 * time.Second, servers: 4 * time.Second, own: time.Second, memory: 5})
	want := figures{perSecond: 1000, p50: time.Second, p99: 1980 * time.Millisecond, cpu: 2 * time.Second, ownCPU: 500 * time.Millisecond, memory: 5}
	if f.perSecond != want.perSecond || f.p50 != want.p50 || f.p99 != want.p99 || f.cpu != want.cpu || f.ownCPU != want.ownCPU || f.memory != 5 || len(f.errors) > 0 {
		t.Errorf("%+v", f)
	}
	var none tally
	if f := none.figures(used{length: time.Second}); len(f.errors) != 1 {
		t.Errorf("nothing was done, and that is no error: %+v", f)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	f := findings{
		run: runInfo{Clients: []int{1, 64}}, systems: []system{{name: nameLeasehold, title: "L"}, {name: nameRedis, title: "R"}},
		results: results{
			{nameLeasehold, opWrite, 1}:  {{perSecond: 1234.6, p50: 812 * time.Microsecond, p99: 12340 * time.Microsecond, cpu: 81 * time.Millisecond, ownCPU: 12 * time.Millisecond, memory: 300 << 20}},
			{nameRedis, opWrite, 1}:      withRate(999),
			{nameLeasehold, opWrite, 64}: {{perSecond: 1234567, errors: []string{"x"}}},
			{nameRedis, opRead, 1}:       withRate(5),
		},
	}
	var got []string
	for _, row := range rows(f)[1:] {
		got = append(got, strings.Join(row, "|"))
	}
	want := []string{
		"writes at the leader|1|L|1,235|812 µs|12.3 ms|0.081 s|0.012 s|300 MiB|0",
		"||R|999|0 µs|1.00 s|0 s|0 s|0 MiB|0",
		"|64|L|1,234,567|0 µs|0 µs|0 s|0 s|0 MiB|1",
		"local reads at a follower|1|R|5|0 µs|1.00 s|0 s|0 s|0 MiB|0",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the rows are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChartIsXML(t *testing.T) {
	t.Parallel()
	f := findings{
		systems: []system{{name: nameLeasehold, title: "<L>"}, {name: nameEtcd, title: "E"}},
		results: results{{nameLeasehold, opWrite, 64}: withRate(2000), {nameEtcd, opWrite, 64}: withRate(1000), {nameEtcd, opRead, 64}: withRate(0)},
	}
	text := chart(f, 64)
	isXML(t, text)
	for _, want := range []string{`width="510.0"`, `width="255.0"`, "2,000", "local reads"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

func isXML(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const text = "42 (a ) (b) S 1 42 42 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 100 1000000 3 18446744073709551615 1 1 0\n"
	u, err := parseStat([]byte(text))
	if err != nil || u.cpu != 2*time.Second || u.memory%3 != 0 || u.memory == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := parseStat([]byte("42 (a) S 1")); err == nil {
		t.Error("reads usage where there is none")
	}
	if _, err := usageOf([]int{-1}); err == nil {
		t.Error("there is a process -1")
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	const text = "Name:\ta\nVmPeak:\t  99 kB\nVmRSS:\t      20 kB\nRssAnon:\t      12 kB\nRssFile:\t      8 kB\n"
	if resident, own, err := parseStatus([]byte(text)); err != nil || resident != 20<<10 || own != 12<<10 {
		t.Errorf("%d, %d, %v", resident, own, err)
	}
	if _, _, err := parseStatus([]byte("Name:\ta\nVmRSS:\t 20 kB\n")); err == nil {
		t.Error("reads memory where there is none")
	}
	if resident, own, err := memoryOf(os.Getpid()); err != nil || own < 1<<20 || resident <= own {
		t.Errorf("this process has %d bytes, %d of its own (%v)", resident, own, err)
	}
}

func TestOccupied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, err := occupied(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.WriteFile(filepath.Join(dir, "a", "b"), make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	if full, err := occupied(dir); err != nil || full-empty < 1<<20 || full-empty > 2<<20 {
		t.Errorf("a mebibyte occupies %d bytes (%v)", full-empty, err)
	}
	if _, err := occupied(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there occupies something")
	}
}

func TestCPU(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "0 s", 81 * time.Millisecond: "0.081 s", 1234 * time.Millisecond: "1.2 s", 240 * time.Second: "240 s"} {
		if got := cpu(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		812 * time.Microsecond: "812 µs", 1234 * time.Microsecond: "1.23 ms", 45670 * time.Microsecond: "45.7 ms",
		345 * time.Millisecond: "345 ms", 1234 * time.Millisecond: "1.23 s",
	} {
		if got := latency(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}
