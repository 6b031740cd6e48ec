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

	"github.com/leasehold/leasehold/test/chaos/check"
	"github.com/leasehold/leasehold/test/report"
)

// runInfo says how the run was made.
type runInfo struct {
	Date, Go, System string
	Cores            int
	Seed             uint64
	Rate             int
	Lease, Etcd      string // timings
	Recovery         time.Duration
}

func describe(ctx context.Context, cfg config) (runInfo, error) {
	help, err := exec.CommandContext(ctx, cfg.server, "serve", "--help").Output()
	if err != nil {
		return runInfo{}, fmt.Errorf("ask the server for its defaults: %w", err)
	}
	of := func(flag string) string { return report.DefaultOf(string(help), flag) }
	return runInfo{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Cores: runtime.NumCPU(), Seed: cfg.seed, Rate: cfg.rate, Recovery: cfg.recovery,
		Lease: fmt.Sprintf("duration %s, renew deadline %s, retry period %s",
			of("leader-elect-lease-duration"), of("leader-elect-renew-deadline"), of("leader-elect-retry-period")),
		Etcd: fmt.Sprintf("heartbeat %s, election timeout %s", of("etcd-heartbeat-interval"), of("etcd-election-timeout")),
	}, nil
}

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the Markdown page.
func page(run runInfo, r result, plot string) (string, error) {
	var faulty []string
	for _, i := range r.Incidents {
		for _, b := range i.Broken {
			faulty = append(faulty, fmt.Sprintf("%s at %s: %s", i.Fault, clock(i.At), b))
		}
	}
	var about []string
	for _, t := range tally(r) {
		about = append(about, fmt.Sprintf("`%s`: %s", t.fault, faultOf(t.fault).about))
	}
	var text strings.Builder
	err := pageTemplate.Execute(&text, struct {
		Run           runInfo
		Table, Totals string
		About, Faulty []string
		Broken        []check.Violation
		Promises      []check.Invariant
		Plot          string
	}{run, report.Markdown(rows(r), 1), totals(r), about, faulty, r.Broken, check.Invariants, plot})
	return text.String(), err
}

// plot draws the gaps of each kind of fault.
func plot(r result) string {
	var drawn []report.Row
	for _, t := range tally(r) {
		drawn = append(drawn, report.Row{Name: t.fault, Dots: t.gaps, Notes: t.notes})
	}
	return report.Plot("Time without an acknowledged write, by fault",
		"Time without an acknowledged write: a dot a fault, the middle half and the median", drawn)
}

// write writes the files that the flags name.
func (r *rig) write(ctx context.Context) error {
	if r.cfg.svg != "" {
		if err := os.WriteFile(r.cfg.svg, []byte(plot(r.result)), 0o644); err != nil {
			return err
		}
	}
	if r.cfg.md == "" {
		return nil
	}
	run, err := describe(ctx, r.cfg)
	if err != nil {
		return err
	}
	text, err := page(run, r.result, r.cfg.plotPath())
	if err != nil {
		return err
	}
	return os.WriteFile(r.cfg.md, []byte(text), 0o644)
}
