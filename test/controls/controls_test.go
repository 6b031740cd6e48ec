package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	defined = regexp.MustCompile(`(?m)^\t(\w+) += which == "(\w+)"$`)
	uses    = regexp.MustCompile(`\bsabotage\.(\w+)`)
)

func TestEveryProtectionHasAControlAndIsSwitchedOffInOnePlace(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../internal/sabotage/sabotage.go")
	if err != nil {
		t.Fatal(err)
	}
	reads := countReads(t)
	var names []string
	for _, m := range defined.FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[2])
		if n := reads[m[1]]; n != 1 || strings.ToLower(m[1]) != m[2] {
			t.Errorf("sabotage.%s, the tag sabotage_%s, is read in %d places; want one", m[1], m[2], n)
		}
	}
	var listed []string
	for _, c := range controls {
		listed = append(listed, c.name)
	}
	if !slices.Equal(names, listed) || len(names) == 0 {
		t.Errorf("there are controls for %v, and protections %v", listed, names)
	}
}

// countReads counts by constant how often the code, without the tests, reads it.
func countReads(t *testing.T) map[string]int {
	t.Helper()
	reads := map[string]int{}
	for _, dir := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range uses.FindAllStringSubmatch(string(text), -1) {
				reads[m[1]]++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return reads
}
