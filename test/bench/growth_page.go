package main

import (
	_ "embed"
	"os"
	"strings"
	"text/template"

	"github.com/leasehold/leasehold/test/report"
)

//go:embed growth.md.tmpl
var growthText string

var growthTemplate = template.Must(template.New("growth").Parse(growthText))

// growthPage is the Markdown page.
func growthPage(g grown, chart string) (string, error) {
	tables := map[string]string{}
	for _, t := range g.tables() {
		tables[t.title] = report.Markdown(t.rows, 0)
	}
	data := struct {
		Run                                      runInfo
		Version, Chart, Bars                     string
		Tables                                   map[string]string
		Errors                                   []string
		KeyClients, ValueClients, WatchedClients int
		ValueKeys                                string
		QuotaGiB                                 int
	}{
		Run: g.run, Version: g.version, Chart: chart, Tables: tables, Errors: g.errors(),
		KeyClients: keyClients, ValueClients: valueClients, WatchedClients: watchedClients,
		ValueKeys: count(keyCount), QuotaGiB: growthQuota >> 30,
	}
	if judged := g.judge(); len(judged) > 0 {
		data.Bars = report.Markdown(growthBarRows(judged), 2)
	}
	var text strings.Builder
	err := growthTemplate.Execute(&text, data)
	return text.String(), err
}

// writeGrowth writes the files that the flags name.
func (c *growthConfig) writeGrowth(g grown) error {
	if c.svg != "" {
		if err := os.WriteFile(c.svg, []byte(growthChart(g)), 0o644); err != nil {
			return err
		}
	}
	if c.md == "" {
		return nil
	}
	text, err := growthPage(g, c.chartPath())
	if err != nil {
		return err
	}
	return os.WriteFile(c.md, []byte(text), 0o644)
}
