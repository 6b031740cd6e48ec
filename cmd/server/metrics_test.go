package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What docs/METRICS.md lists is there, under that type and with those labels, and what is Leasehold's own is
// listed. The alerts and the dashboard, in turn, use nothing that is not listed (see manifests).
func TestMetricsAreAsDocumented(t *testing.T) {
	t.Parallel()
	skipShort(t)
	documented := documentedMetrics(t)
	c := startClusterWith(t, 3, "--leader-reads", "proxy")
	for i, n := range c.nodes {
		n.must(http.StatusOK, "PUT", fmt.Sprintf("/v1/kv/%d", i), "written through each")
		n.must(http.StatusOK, "GET", fmt.Sprintf("/v1/kv/%d?consistency=linearizable", i), "")
	}
	eventually(t, func() error { // jobs run once a replica has led for a moment
		shown := c.shownMetrics()
		for name, want := range documented {
			if got, ok := shown[name]; !ok {
				return fmt.Errorf("%s is documented and not there", name)
			} else if got != want {
				return fmt.Errorf("%s is %+v, documented as %+v", name, got, want)
			}
		}
		for name := range shown {
			if _, ok := documented[name]; !ok && (strings.HasPrefix(name, "leasehold_") || strings.HasPrefix(name, "http_")) {
				return fmt.Errorf("%s is not documented", name)
			}
		}
		return nil
	})
}

// metric is what the documentation and /metrics both say of one.
type metric struct {
	kind   string
	labels string // in alphabetical order
}

func documentedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	page, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = metric{row[2], sorted(regexp.MustCompile(`\w+`).FindAllString(row[3], -1))}
	}
	if len(documented) == 0 {
		t.Fatal("no metric is documented")
	}
	return documented
}

var (
	typeLine   = regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	sampleLine = regexp.MustCompile(`^([a-z_A-Z0-9]+)(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`(\w+)="`)
)

// shownMetrics is what the replicas show between them. One that leads shows more than the others.
func (c *cluster) shownMetrics() map[string]metric {
	c.t.Helper()
	shown := map[string]metric{}
	for _, n := range c.nodes {
		name, kind := "", ""
		for line := range strings.Lines(n.must(http.StatusOK, "GET", "/metrics", "").body) {
			line = strings.TrimSuffix(line, "\n")
			if m := typeLine.FindStringSubmatch(line); m != nil {
				name, kind = m[1], m[2]
			} else if m := sampleLine.FindStringSubmatch(line); m != nil && strings.HasPrefix(m[1], name) {
				shown[name] = metric{kind, labelsOf(m[2], kind)}
			}
		}
	}
	return shown
}

func labelsOf(sample, kind string) string {
	var names []string
	for _, m := range labelName.FindAllStringSubmatch(sample, -1) {
		if kind != "histogram" || m[1] != "le" {
			names = append(names, m[1])
		}
	}
	return sorted(names)
}

func sorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, " ")
}
