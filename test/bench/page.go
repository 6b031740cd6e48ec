package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/template"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// runInfo says how was measured.
type runInfo struct {
	Date, Go, System string
	Cores            int
	Disk             string // the kind of file system
	Fsync            time.Duration
	Runs             int
	Cell, WarmUp     time.Duration
	Clients          []int
	ValueBytes       int
}

func describe(cfg config, dir string) (runInfo, error) {
	fsync, err := measureFsync(dir)
	if err != nil {
		return runInfo{}, fmt.Errorf("measure an fsync: %w", err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return runInfo{}, err
	}
	return runInfo{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Cores: runtime.NumCPU(), Disk: fileSystem(uint32(fs.Type)), Fsync: fsync, Runs: cfg.runs, Cell: cfg.cell, WarmUp: cfg.warmUp(),
		Clients: cfg.clients, ValueBytes: valueBytes,
	}, nil
}

// Machine is what decides the figures.
func (r runInfo) Machine() string {
	return fmt.Sprintf("%d cores for everything, %s, %s; data on %s, where an fsync takes %s", r.Cores, r.System, r.Go, r.Disk, latency(r.Fsync))
}

// fileSystem is the name of a kind, by its magic number (statfs(2)).
func fileSystem(kind uint32) string {
	names := map[uint32]string{
		0x01021994: "tmpfs (memory: an fsync does nothing)", 0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlayfs",
	}
	if name := names[kind]; name != "" {
		return name
	}
	return fmt.Sprintf("a file system of kind %#x", kind)
}

// measureFsync is the median over some fsyncs of a small file to which something was appended.
func measureFsync(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var took []time.Duration
	for range 50 {
		if _, err := f.WriteString(strings.Repeat("x", 4096)); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	return report.Percentile(took, 50), nil
}

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the Markdown page.
func page(f findings, chart string) (string, error) {
	type about struct{ Title, Version, About, Durability string }
	data := struct {
		Run                runInfo
		Systems            []about
		Lacks              []string
		Table, Bars, Costs string
		Errors             []string
		Chart              string
		Keys, Runs         string
		CostClients        int
	}{
		Run: f.run, Lacks: lacks(f), Table: report.Markdown(rows(f), 0), Costs: report.Markdown(costRows(f.costs), 0),
		Errors: f.results.errors(), Chart: chart, Keys: count(keyCount), Runs: "1 run", CostClients: costClients,
	}
	if f.run.Runs > 1 {
		data.Runs = fmt.Sprintf("%d runs", f.run.Runs)
	}
	if judged := barRows(f.results); len(judged) > 1 {
		data.Bars = report.Markdown(judged, 2)
	}
	for _, s := range f.systems {
		data.Systems = append(data.Systems, about{s.title, s.version, s.about, s.durability})
	}
	var text strings.Builder
	err := pageTemplate.Execute(&text, data)
	return text.String(), err
}

// lacks says which rows there are not, and why.
func lacks(f findings) (lines []string) {
	for _, s := range f.systems {
		for _, o := range operations {
			if why := s.lacks[o.name]; why != "" {
				lines = append(lines, fmt.Sprintf("%s, %s: %s", s.title, o.title, why))
			}
		}
	}
	return lines
}

// write writes the files that the flags name.
func (c *config) write(f findings) error {
	if c.svg != "" {
		if err := os.WriteFile(c.svg, []byte(chart(f, chartClients(c.clients))), 0o644); err != nil {
			return err
		}
	}
	if c.md == "" {
		return nil
	}
	text, err := page(f, c.chartPath())
	if err != nil {
		return err
	}
	return os.WriteFile(c.md, []byte(text), 0o644)
}

// chartClients is the number of clients whose figures are drawn: 64 if it was measured, else the largest.
func chartClients(measured []int) int {
	const usual = 64
	if slices.Contains(measured, usual) {
		return usual
	}
	return slices.Max(measured)
}
