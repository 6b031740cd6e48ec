package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// run measures fakes, and returns what was printed and written.
func runFakes(ctx context.Context, t *testing.T, fakes map[string]*fake, args ...string) (screenText, pageText string, err error) {
	t.Helper()
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	cfg, err := parse(append([]string{"-for", minCell.String(), "-runs", "2", "-clients", "1,3", "-md", page, "-svg", filepath.Join(dir, "chart.svg")}, args...), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := describe(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	f := findings{run: run, results: results{}}
	for _, name := range systemNames {
		if fakes[name] != nil {
			f.systems = append(f.systems, fakes[name].system(name))
		}
	}
	var out bytes.Buffer
	err = measureAll(ctx, cfg, f, dir, &screen{out: &out, clients: cfg.clients})
	for name, fake := range fakes {
		if !fake.closed {
			t.Errorf("%s was not ended", name)
		}
	}
	written, readErr := os.ReadFile(page)
	if readErr != nil && !errors.Is(readErr, os.ErrNotExist) {
		t.Fatal(readErr)
	}
	return out.String(), string(written), err
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	fakes := map[string]*fake{nameLeasehold: newFake(), nameEtcd: newFake()}
	shown, page, err := runFakes(t.Context(), t, fakes, "-bars=false", "-ops", "conditional", "-for", "500ms")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Run 1 of 2: LEASEHOLD", "Run 2 of 2: ETCD", "conditional writes at the leader", "The medians of all runs"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not on the screen:\n%s", want, shown)
		}
	}
	if n := strings.Count(page, "| LEASEHOLD |"); n != 3 { // with 2 numbers of clients, and the system
		t.Errorf("the page has %d rows of LEASEHOLD:\n%s", n, page)
	}
	if strings.Contains(page, "FAILED") || strings.Contains(page, "<no value>") {
		t.Error(page)
	}
}

func TestAnErrorOfOneSystemFailsTheRun(t *testing.T) {
	t.Parallel()
	broken := newFake()
	broken.fails = errors.New("out of order")
	fakes := map[string]*fake{nameLeasehold: newFake(), nameEtcd: broken}
	shown, page, err := runFakes(t.Context(), t, fakes, "-bars=false", "-ops", "conditional,list")
	if err == nil || !strings.Contains(err.Error(), "etcd, conditional, 1 clients: out of order") {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]string{shown: "! 1 failed: out of order", page: "FAILED: etcd, conditional, 3 clients: out of order"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestAChangeOfLeaderFailsTheRun(t *testing.T) {
	t.Parallel()
	moving := newFake()
	moving.moving = true
	_, _, err := runFakes(t.Context(), t, map[string]*fake{nameLeasehold: moving}, "-bars=false", "-ops", "write")
	if err == nil || !strings.Contains(err.Error(), "the leader did not stay the same") {
		t.Errorf("%v", err)
	}
}

func TestASystemThatDoesNotDoItIsNotMeasured(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*fake){
		"a conditional write: creates what exists": func(f *fake) { f.careless = true },
		"a list has 99 entries, not 100":           func(f *fake) { f.short = true },
		"there is no bench/key-00000":              func(f *fake) { f.deaf = true },
	} {
		f := newFake()
		spoil(f)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := errors.Join(fill(t.Context(), f), check(ctx, f.system("fake"), f))
		cancel()
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	sound := newFake()
	if err := errors.Join(fill(t.Context(), sound), check(t.Context(), sound.system("fake"), sound)); err != nil {
		t.Error(err)
	}
}

func TestAnInterruptionEndsTheRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := newFake()
	f.interrupted = cancel
	_, page, err := runFakes(ctx, t, map[string]*fake{nameLeasehold: f}, "-for", "1m", "-ops", "write")
	if !errors.Is(err, context.Canceled) || page != "" {
		t.Errorf("%v, page %q", err, page)
	}
}
