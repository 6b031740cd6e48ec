package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// testLimit bounds one run of a test, and buildLimit what comes before: a first build takes minutes.
	testLimit  = time.Minute
	buildLimit = 15 * time.Minute
	// shown is how many bytes of a test's output are shown where they are needed to see what went wrong.
	shown = 2000
)

// verify runs the test count times as it is and count times without the protection, in the module at dir. It returns
// why that does not show that the test notices, or nil if it does.
func (c control) verify(ctx context.Context, dir string, count int) error {
	normal, err := c.goTest(ctx, dir, count)
	if err != nil {
		return err
	}
	if err := normal.passes(count); err != nil {
		return fmt.Errorf("in a normal build %w", err)
	}
	sabotaged, err := c.goTest(ctx, dir, count, "-tags", "sabotage_"+c.name)
	if err != nil {
		return err
	}
	if err := sabotaged.fails(count, c.says); err != nil {
		return fmt.Errorf("without the protection %w", err)
	}
	return nil
}

// goTest runs the test. That it fails is no error.
func (c control) goTest(ctx context.Context, dir string, count int, flags ...string) (result, error) {
	limit := time.Duration(count) * testLimit
	ctx, cancel := context.WithTimeout(ctx, buildLimit+limit)
	defer cancel()
	args := []string{"test", "-json", "-vet=off", "-count=" + strconv.Itoa(count), "-timeout=" + limit.String(), "-run=" + pattern(c.test)}
	cmd := exec.CommandContext(ctx, "go", append(append(args, flags...), c.pkg)...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) } // go alone would wait for the test
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		return result{}, fmt.Errorf("go test: %w", errors.Join(err, ctx.Err()))
	}
	r, err := read(&stdout, c.test)
	r.output += stderr.String()
	return r, err
}

// pattern matches the test alone, not another one whose name begins with its.
func pattern(test string) string {
	return "^" + strings.ReplaceAll(test, "/", "$/^") + "$"
}

// result is what "go test" has told of one test.
type result struct {
	runs   []testRun
	output string // everything, of the build too
}

type testRun struct {
	passed bool
	output string
}

// event is a line of "go test -json".
type event struct {
	Action, Test, Output string
}

// read reads what "go test -json" tells of the test, its cases included. A test that is skipped has not run.
func read(stdout io.Reader, test string) (result, error) {
	var r result
	var all, own strings.Builder
	for lines := json.NewDecoder(stdout); ; {
		var e event
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF):
			r.output = all.String()
			return r, nil
		case err != nil:
			return r, fmt.Errorf("read the output of go test: %w", err)
		}
		all.WriteString(e.Output)
		if e.Test != test && !strings.HasPrefix(e.Test, test+"/") {
			continue
		}
		own.WriteString(e.Output)
		if e.Test == test && (e.Action == "pass" || e.Action == "fail") {
			r.runs = append(r.runs, testRun{e.Action == "pass", own.String()})
			own.Reset()
		}
	}
}

func (r result) ran(count int) error {
	if len(r.runs) != count {
		return fmt.Errorf("the test has run %d times, not %d:\n%s", len(r.runs), count, tail(r.output))
	}
	return nil
}

func (r result) passes(count int) error {
	if err := r.ran(count); err != nil {
		return err
	}
	for _, run := range r.runs {
		if !run.passed {
			return fmt.Errorf("the test fails:\n%s", tail(run.output))
		}
	}
	return nil
}

// fails expects every run to have failed for the one reason.
func (r result) fails(count int, says string) error {
	if err := r.ran(count); err != nil {
		return err
	}
	for i, run := range r.runs {
		switch {
		case run.passed:
			return fmt.Errorf("run %d of %d of the test passes", i+1, count)
		case strings.Contains(run.output, "\npanic: "):
			return fmt.Errorf("the test panics:\n%s", tail(run.output))
		case !strings.Contains(run.output, says):
			return fmt.Errorf("the test fails, but does not say %q:\n%s", says, tail(run.output))
		}
	}
	return nil
}

func tail(output string) string {
	return strings.TrimSpace(output[max(0, len(output)-shown):])
}

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n            ") }
