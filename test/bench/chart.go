package main

import (
	"fmt"
	"html"
	"strings"
)

// The chart's measures, in pixels.
const (
	chartWidth  = 900
	chartLeft   = 300
	chartRight  = chartWidth - 90 // a value stands to the right of its bar
	chartTop    = 56
	barHeight   = 16
	groupGap    = 18
	chartBottom = 10
)

const chartStyle = `
  svg { --back: #ffffff; --ink: #1f2328; --leasehold: #0969da; --etcd: #9a6700; --redis: #cf222e; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #0d1117; --ink: #e6edf3; --leasehold: #58a6ff; --etcd: #d29922; --redis: #ff7b72; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .title { font-weight: 600; }
  .back { fill: var(--back); }
  .leasehold { fill: var(--leasehold); }
  .etcd { fill: var(--etcd); }
  .redis { fill: var(--redis); }
`

// group is the bars of an operation.
type group struct {
	title string
	bars  []groupBar
}

type groupBar struct {
	system string
	value  float64
}

// groups are the operations that were measured with that many clients.
func groups(f findings, clients int) (all []group) {
	for _, o := range operations {
		g := group{title: o.title}
		for _, s := range f.systems {
			if m, ok := f.results.median(cell{s.name, o.name, clients}); ok {
				g.bars = append(g.bars, groupBar{s.name, m.perSecond})
			}
		}
		if len(g.bars) > 0 {
			all = append(all, g)
		}
	}
	return all
}

// chart draws operations a second: a group of bars for each operation, each group on a scale of its own.
func chart(f findings, clients int) string {
	all := groups(f, clients)
	height := chartTop + chartBottom
	for _, g := range all {
		height += len(g.bars)*barHeight + groupGap
	}
	title := fmt.Sprintf("Operations a second with %d clients; each operation has its own scale", clients)
	var s strings.Builder
	chartHead(&s, title, height)
	legend(&s, f.systems)
	y := chartTop
	for _, g := range all {
		y = drawGroup(&s, g, y)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func chartHead(s *strings.Builder, title string, height int) {
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`, chartWidth, height)
	fmt.Fprintf(s, "\n<title>%s</title>\n<style>%s</style>\n", html.EscapeString(title), chartStyle)
	fmt.Fprintf(s, `<rect class="back" width="%d" height="%d"/>`+"\n", chartWidth, height)
	fmt.Fprintf(s, `<text class="title" x="16" y="22">%s</text>`+"\n", html.EscapeString(title))
}

func legend(s *strings.Builder, systems []system) {
	for i, sys := range systems {
		x := chartLeft + 110*i
		fmt.Fprintf(s, `<rect class="%s" x="%d" y="34" width="10" height="10"/><text x="%d" y="43">%s</text>`+"\n", sys.name, x, x+16, html.EscapeString(sys.title))
	}
}

// drawGroup returns where the next group begins.
func drawGroup(s *strings.Builder, g group, y int) int {
	most := 1.0
	for _, b := range g.bars {
		most = max(most, b.value)
	}
	middle := y + len(g.bars)*barHeight/2 + 4
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", chartLeft-12, middle, html.EscapeString(g.title))
	for _, b := range g.bars {
		drawBar(s, b.system, b.value/most, y, count(b.value))
		y += barHeight
	}
	return y + groupGap
}

// drawBar draws a bar of that share of the width, with a text beside it.
func drawBar(s *strings.Builder, class string, share float64, y int, text string) {
	width := share * (chartRight - chartLeft)
	fmt.Fprintf(s, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, chartLeft, y+1, width, barHeight-2)
	fmt.Fprintf(s, `<text x="%.1f" y="%d">%s</text>`+"\n", chartLeft+width+6, y+barHeight-4, html.EscapeString(text))
}
