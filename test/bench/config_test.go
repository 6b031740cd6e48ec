package main

import (
	"bytes"
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-systems", "mongodb"},
		{"-systems", ""},
		{"-systems", "etcd,etcd"},
		{"-ops", "none"},
		{"-ops", "write,write"},
		{"-ops", ""},
		{"-clients", "0"},
		{"-clients", "1001"},
		{"-clients", "x"},
		{"-clients", ""},
		{"-clients", "8,8"},
		{"-runs", "0"},
		{"-runs", "101"},
		{"-for", "0s"},
		{"-for", "2m"},
		{"-etcd-share", "0"},
		{"-md", "x.md"},
		{"more"},
		{"-nonsense"},
		{"-for", "4"},
	} {
		_, err := parse(args, &bytes.Buffer{})
		var said bytes.Buffer
		if code := exitCode(err, &said); code != 2 || !errors.Is(err, errUsage) || len(lines(&said)) != 1 {
			t.Errorf("%q: exit code %d, %q", args, code, said.String())
		}
	}
	c, err := parse([]string{"-systems", "etcd", "-ops", "read,list", "-clients", "8,1", "-md", "docs/B.md", "-svg", "docs/plots/b.svg"}, &bytes.Buffer{})
	if err != nil || len(c.ops) != 2 || c.ops[1].name != opList || !slices.Equal(c.clients, []int{8, 1}) || c.chartPath() != "plots/b.svg" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := parse([]string{"-help"}, &out); !errors.Is(err, flag.ErrHelp) || exitCode(err, &out) != 0 || !strings.Contains(out.String(), "-etcd-share") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	if code := exitCode(errors.New("why"), &said); code != 1 || said.String() != "bench: why\n" {
		t.Errorf("%d, %q", code, said.String())
	}
}

// TestTheWholeTakesHalfAnHourAtMost counts with all systems and the flags' defaults.
func TestTheWholeTakesHalfAnHourAtMost(t *testing.T) {
	t.Parallel()
	cfg, err := parse(nil, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if all := cfg.expected([]system{{}, {}, {}}); all > 30*time.Minute {
		t.Errorf("it takes %s", all)
	}
	cfg, err = parse([]string{"-runs", "1", "-for", "1s", "-clients", "64"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if all := cfg.expected([]system{{}, {}, {}}); all > 90*time.Second {
		t.Errorf("a short run takes %s", all)
	}
}
