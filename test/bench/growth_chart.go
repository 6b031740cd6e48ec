package main

import (
	"fmt"
	"html"
	"strings"
)

// panel is a group of bars on a scale of its own.
type panel struct {
	title string
	bars  []panelBar
}

type panelBar struct {
	label, text string
	value       float64
}

// panels are what the chart shows, of the parts that were measured.
func (g *grown) panels() []panel {
	var keys, up, values, replicas, writes, reads, watchers []panelBar
	for _, p := range g.keys {
		label := several(p.n, "key")
		keys = append(keys, rate(label, p.write.perSecond))
		up = append(up, panelBar{label, seconds(p.all), p.all.Seconds()})
	}
	for _, p := range g.values {
		values = append(values, rate(sizeText(p.n), p.write.perSecond))
	}
	for _, p := range g.replicas {
		replicas = append(replicas, rate(several(p.n, "replica"), p.write.perSecond))
	}
	for _, p := range g.clients {
		label := several(p.n, "client")
		writes, reads = append(writes, rate(label, p.write.perSecond)), append(reads, rate(label, p.read.perSecond))
	}
	for _, p := range g.watchers {
		watchers = append(watchers, rate(several(p.n, "watcher"), p.write.perSecond))
	}
	return []panel{
		{fmt.Sprintf("writes a second, %d clients", keyClients), keys},
		{"start-up of all replicas after kill -9", up},
		{fmt.Sprintf("writes a second by the size of a value, %d clients", valueClients), values},
		{fmt.Sprintf("writes a second, %d clients", keyClients), replicas},
		{"writes a second", writes},
		{"local reads a second", reads},
		{fmt.Sprintf("changes a second that every watcher has seen, %d clients", watchedClients), watchers},
	}
}

func rate(label string, perSecond float64) panelBar {
	return panelBar{label, count(perSecond), perSecond}
}

// growthChart draws the panels that have bars, one below the other.
func growthChart(g grown) string {
	height := chartTop + chartBottom
	var all []panel
	for _, p := range g.panels() {
		if len(p.bars) > 0 {
			all = append(all, p)
			height += (len(p.bars)+1)*barHeight + groupGap
		}
	}
	var s strings.Builder
	chartHead(&s, "Leasehold as something grows; each group of bars has its own scale", height)
	y := chartTop - barHeight
	for _, p := range all {
		y = drawPanel(&s, p, y)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// drawPanel returns where the next panel begins.
func drawPanel(s *strings.Builder, p panel, y int) int {
	most := 0.0
	for _, b := range p.bars {
		most = max(most, b.value)
	}
	fmt.Fprintf(s, `<text class="title" x="%d" y="%d">%s</text>`+"\n", chartLeft, y+barHeight-4, html.EscapeString(p.title))
	y += barHeight
	for _, b := range p.bars {
		share := 0.0
		if most > 0 {
			share = b.value / most
		}
		fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="end">%s</text>`, chartLeft-12, y+barHeight-4, html.EscapeString(b.label))
		drawBar(s, nameLeasehold, share, y, b.text)
		y += barHeight
	}
	return y + groupGap
}
