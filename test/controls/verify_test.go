package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// module is a module whose protection is "on", with tests that notice its absence or do not.
var module = map[string]string{
	"go.mod":   "module example.com/m\n\ngo 1.26\n",
	"on.go":    "//go:build !sabotage_x\n\npackage m\n\nconst off = false\n",
	"off.go":   "//go:build sabotage_x\n\npackage m\n\nconst off = true\n",
	"build.go": "//go:build sabotage_y\n\npackage m\n\nvar a string = 1\n",
	"m_test.go": `package m

import (
	"os"
	"strconv"
	"testing"
	"time"
)

var runs int

func TestNotices(t *testing.T) {
	t.Log("as it should be")
	if off {
		t.Error("the promise is broken")
	}
}

func TestNoticesSeldom(t *testing.T) {
	if runs++; off && runs == 1 {
		t.Error("the promise is broken")
	}
}

func TestFailsForAnotherReason(t *testing.T) {
	if off {
		t.Error("no answer")
	}
}

func TestFailsBesides(t *testing.T) {
	t.Run("this", func(t *testing.T) {})
	t.Run("that", func(t *testing.T) {
		if off {
			t.Error("the promise is broken")
		}
	})
}

func TestPanics(t *testing.T) {
	if off {
		t.Error("the promise is broken")
		panic("so it is")
	}
}

func TestIsSlow(t *testing.T) {
	if err := os.WriteFile("pid", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
}

func TestIsBlind(t *testing.T)     {}
func TestFailsAnyway(t *testing.T) { t.Error("the promise is broken") }
func TestIsSkipped(t *testing.T)   { t.Skip("not here") }
`,
}

func TestWhatIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("builds some tests; not with -short")
	}
	t.Parallel()
	dir := writeModule(t)
	for _, c := range []struct {
		tag, test string
		count     int
		want      string // "" where it is caught
	}{
		{"x", "TestNotices", 2, ""},
		{"x", "TestFailsBesides", 2, ""},
		{"x", "TestFailsBesides/that", 2, ""},
		{"x", "TestFailsBesides/this", 2, "without the protection run 1 of 2 of the test passes"},
		{"x", "TestNoticesSeldom", 2, "without the protection run 2 of 2 of the test passes"},
		{"x", "TestIsBlind", 2, "without the protection run 1 of 2 of the test passes"},
		{"x", "TestFailsForAnotherReason", 2, `without the protection the test fails, but does not say "the promise is broken"`},
		{"x", "TestPanics", 1, "without the protection the test panics"},
		{"x", "TestPanics", 2, "without the protection the test has run 1 times, not 2"},
		{"x", "TestFailsAnyway", 2, "in a normal build the test fails"},
		{"x", "TestIsSkipped", 2, "in a normal build the test has run 0 times"},
		{"x", "TestNotice", 2, "in a normal build the test has run 0 times"},
		{"x", "TestNotices/NoSuchCase", 2, "in a normal build the test has run 0 times"},
		{"y", "TestNotices", 2, "without the protection the test has run 0 times"},
		{"no_such_tag", "TestNotices", 2, "without the protection run 1 of 2 of the test passes"},
	} {
		err := control{name: c.tag, pkg: ".", test: c.test, says: "the promise is broken"}.verify(t.Context(), dir, c.count)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.test, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%s: %v; want %q", c.test, err, c.want)
		}
	}
}

func writeModule(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range module {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnInterruptEndsTheTestAsWell(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a test; not with -short")
	}
	t.Parallel()
	dir := writeModule(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- control{pkg: ".", test: "TestIsSlow"}.verify(ctx, dir, 1)
	}()
	var pid int
	for look := time.NewTicker(20 * time.Millisecond); pid == 0; <-look.C {
		text, _ := os.ReadFile(filepath.Join(dir, "pid")) // not yet there, or not yet written
		pid, _ = strconv.Atoi(string(text))
		if len(over) > 0 {
			t.Fatal(<-over)
		}
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("verify: %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the test runs on: %v", err)
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"-count=0", "-count=1001", "-count=x", "-cuont=1", "chain"} {
		if _, err := parse([]string{args}, os.Stdout); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one sentence", args, err)
		}
	}
}
