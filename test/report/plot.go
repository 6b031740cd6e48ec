package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The plot's measures, in pixels.
const (
	plotWidth  = 900
	plotLeft   = 150
	plotRight  = plotWidth - 20
	plotTop    = 44
	rowHeight  = 46
	plotBottom = 40 // below the last row
)

// The time axis is logarithmic.
const (
	axisFrom = 10 * time.Millisecond
	axisTo   = 100 * time.Second
)

var ticks = []time.Duration{
	10 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second, 100 * time.Second,
}

const plotStyle = `
  svg { --back: #ffffff; --ink: #1f2328; --faint: #d1d9e0; --dot: #0969da; --box: #54aeff; --bar: #cf222e; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #0d1117; --ink: #e6edf3; --faint: #30363d; --dot: #79c0ff; --box: #1f6feb; --bar: #ff7b72; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .back { fill: var(--back); }
  .grid { stroke: var(--faint); }
  .dot { fill: var(--dot); fill-opacity: .55; }
  .box { fill: var(--box); fill-opacity: .25; }
  .median { stroke: var(--ink); stroke-width: 2; }
  .bar { stroke: var(--bar); stroke-width: 1.5; }
  .goal { stroke-dasharray: 3 3; }
`

// Row is a row of a plot.
type Row struct {
	Name  string
	Dots  []time.Duration // at least one
	Notes []string        // of the dots, where they have any: what is shown beside the value
	// Limits of the median and of the worst; 0 is none.
	Median, Worst time.Duration
}

// Plot draws times on a logarithmic axis: a dot for each, a box from the first quartile to the third with the median
// in it, and the limits.
func Plot(title, legend string, shown []Row) string {
	height := plotTop + rowHeight*len(shown) + plotBottom
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`, plotWidth, height)
	fmt.Fprintf(&s, "\n<title>%s</title>\n<style>%s</style>\n", html.EscapeString(title), plotStyle)
	fmt.Fprintf(&s, `<rect class="back" width="%d" height="%d"/>`+"\n", plotWidth, height)
	caption(&s, legend, slices.ContainsFunc(shown, Row.limited))
	axis(&s, plotTop+rowHeight*len(shown))
	for i, r := range shown {
		row(&s, r, plotTop+rowHeight*i+rowHeight/2)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// x is where a time is on the axis; beyond its ends it is at the end.
func x(d time.Duration) float64 {
	d = min(max(d, axisFrom), axisTo)
	share := math.Log(float64(d)/float64(axisFrom)) / math.Log(float64(axisTo)/float64(axisFrom))
	return plotLeft + share*(plotRight-plotLeft)
}

func (r Row) limited() bool { return r.Median > 0 || r.Worst > 0 }

func caption(s *strings.Builder, legend string, limits bool) {
	label(s, plotLeft, 20, "start", legend)
	if !limits {
		return
	}
	const at = plotRight - 190
	line(s, "bar goal", at, 11, 23)
	label(s, at+6, 20, "start", "limit of the median")
	line(s, "bar", at+128, 11, 23)
	label(s, at+134, 20, "start", "of the worst")
}

func axis(s *strings.Builder, bottom int) {
	for _, t := range ticks {
		line(s, "grid", x(t), plotTop-8, float64(bottom))
		label(s, x(t), float64(bottom+18), "middle", tickLabel(t))
	}
}

func tickLabel(t time.Duration) string {
	if t < time.Second {
		return fmt.Sprintf("%d ms", t.Milliseconds())
	}
	return fmt.Sprintf("%g s", t.Seconds())
}

func row(s *strings.Builder, r Row, middle int) {
	y := float64(middle)
	label(s, plotLeft-10, y+4, "end", r.Name)
	first, third := x(Percentile(r.Dots, 25)), x(Percentile(r.Dots, 75))
	fmt.Fprintf(s, `<rect class="box" x="%.1f" y="%.1f" width="%.1f" height="28" rx="3"/>`+"\n", first-2, y-14, third-first+4)
	for i, g := range r.Dots {
		fmt.Fprintf(s, `<circle class="dot" cx="%.1f" cy="%.1f" r="3"><title>%s</title></circle>`+"\n",
			x(g), y+jitter(i), html.EscapeString(r.note(i)))
	}
	line(s, "median", x(Percentile(r.Dots, 50)), y-14, y+14)
	if r.Median > 0 {
		line(s, "bar goal", x(r.Median), y-20, y+20)
	}
	if r.Worst > 0 {
		line(s, "bar", x(r.Worst), y-20, y+20)
	}
}

func (r Row) note(i int) string {
	note := strconv.Itoa(i + 1)
	if i < len(r.Notes) {
		note = r.Notes[i]
	}
	return note + ": " + Duration(r.Dots[i])
}

// jitter keeps the dots of a row apart, always in the same way.
func jitter(i int) float64 {
	const golden = 0.618034
	_, fraction := math.Modf(float64(i) * golden)
	return (fraction - 0.5) * 20
}

func line(s *strings.Builder, class string, x, from, to float64) {
	fmt.Fprintf(s, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`+"\n", class, x, x, from, to)
}

func label(s *strings.Builder, x, y float64, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
}
