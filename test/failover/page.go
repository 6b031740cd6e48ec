package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/template"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// runInfo says how was measured.
type runInfo struct {
	Date, Go, System string
	Cores            int
	Rounds           int
	Seed             uint64
	Site, API        string
	Lease, Etcd      string // timings
	Clients, Rate    int
}

func describe(ctx context.Context, b *bench) (runInfo, error) {
	help, err := exec.CommandContext(ctx, b.cfg.server, "serve", "--help").Output()
	if err != nil {
		return runInfo{}, fmt.Errorf("ask the server for its defaults: %w", err)
	}
	of := func(flag string) string { return report.DefaultOf(string(help), flag) }
	return runInfo{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Cores: runtime.NumCPU(), Rounds: b.cfg.rounds, Seed: b.cfg.seed, Site: b.site.About(), API: b.api.about(),
		Lease: fmt.Sprintf("duration %s, renew deadline %s, retry period %s",
			of("leader-elect-lease-duration"), of("leader-elect-renew-deadline"), of("leader-elect-retry-period")),
		Etcd:    fmt.Sprintf("heartbeat %s, election timeout %s", of("etcd-heartbeat-interval"), of("etcd-election-timeout")),
		Clients: clients, Rate: writesASecond,
	}, nil
}

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the Markdown page.
func page(run runInfo, results []result, hard *hardship, plot string) (string, error) {
	var text strings.Builder
	err := pageTemplate.Execute(&text, struct {
		Run     runInfo
		Results []result
		Table   string
		Lossy   string
		Plot    string
	}{run, results, report.Markdown(rows(results), 2), lossyText(hard), plot})
	return text.String(), err
}

// About is for the page.
func (r result) About() string { return "`" + r.name + "`: " + r.about }

// Wrong is for the page.
func (r result) Wrong() []string {
	var wrong []string
	for i, round := range r.rounds {
		for _, w := range round.wrong {
			wrong = append(wrong, fmt.Sprintf("%s, round %d: %s", r.name, i+1, w))
		}
	}
	if r.skipped != "" {
		wrong = append(wrong, fmt.Sprintf("%s was left out: %s", r.name, r.skipped))
	}
	return wrong
}

func lossyText(h *hardship) string {
	if h == nil {
		return ""
	}
	return h.String()
}

// plot draws the gaps of each case that has rounds.
func plot(results []result) string {
	var drawn []report.Row
	for _, r := range results {
		if len(r.rounds) == 0 {
			continue
		}
		row := report.Row{Name: r.name, Dots: r.gaps(), Median: r.bar.median, Worst: r.bar.worst}
		for i := range r.rounds {
			row.Notes = append(row.Notes, fmt.Sprintf("round %d", i+1))
		}
		drawn = append(drawn, row)
	}
	return report.Plot("Time without an acknowledged write, by case",
		"Time without an acknowledged write: a dot a round, the middle half and the median", drawn)
}

// write writes the files that the flags name.
func (c config) write(run runInfo, results []result, hard *hardship) error {
	if c.svg != "" {
		if err := os.WriteFile(c.svg, []byte(plot(results)), 0o644); err != nil {
			return err
		}
	}
	if c.md == "" {
		return nil
	}
	text, err := page(run, results, hard, c.plotPath())
	if err != nil {
		return err
	}
	return os.WriteFile(c.md, []byte(text), 0o644)
}
