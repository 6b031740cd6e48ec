package main

import (
	"fmt"
	"strconv"
	"time"
)

// table is the figures of a part, with a header.
type table struct {
	title string
	rows  [][]string
}

// tables are those of the parts that were measured.
func (g *grown) tables() (all []table) {
	for _, t := range []table{
		{"Keys", keysRows(g.keys)},
		{"Values", valuesRows(g.values)},
		{"Replicas", replicasRows(g.replicas)},
		{"Clients", clientsRows(g.clients)},
		{"Watchers", watchersRows(g.watchers)},
	} {
		if len(t.rows) > 1 {
			all = append(all, t)
		}
	}
	return all
}

func keysRows(points []keysPoint) [][]string {
	rows := [][]string{{
		"keys", "writes a second", "p50", "p99", "memory", "without the file", "disk",
		"a follower is up in", "all are up in", "an empty disk is up in", "written in",
	}}
	for _, p := range points {
		rows = append(rows, []string{
			count(float64(p.n)), count(p.write.perSecond), latency(p.write.p50), latency(p.write.p99), mebibytes(p.memory), mebibytes(p.own),
			mebibytes(p.disk), seconds(p.follower), seconds(p.all), seconds(p.joined), seconds(p.fill),
		})
	}
	return rows
}

func valuesRows(points []point) [][]string {
	rows := [][]string{{"a value", "writes a second", "MB a second", "p50", "p99", "CPU", "memory"}}
	for _, p := range points {
		rows = append(rows, []string{
			sizeText(p.n), count(p.write.perSecond), megabytes(p.write.perSecond * float64(p.n)),
			latency(p.write.p50), latency(p.write.p99), cpu(p.write.cpu), mebibytes(p.write.memory),
		})
	}
	return rows
}

func replicasRows(points []point) [][]string {
	rows := [][]string{{"replicas", "writes a second", "p50", "p99", "CPU", "memory"}}
	for _, p := range points {
		rows = append(rows, []string{
			strconv.Itoa(p.n), count(p.write.perSecond), latency(p.write.p50), latency(p.write.p99), cpu(p.write.cpu), mebibytes(p.write.memory),
		})
	}
	return rows
}

func clientsRows(points []clientsPoint) [][]string {
	rows := [][]string{{"clients", "writes a second", "p50", "p99", "local reads a second", "p50", "p99", "memory"}}
	for _, p := range points {
		rows = append(rows, []string{
			count(float64(p.n)), count(p.write.perSecond), latency(p.write.p50), latency(p.write.p99),
			count(p.read.perSecond), latency(p.read.p50), latency(p.read.p99), mebibytes(p.write.memory),
		})
	}
	return rows
}

func watchersRows(points []watchersPoint) [][]string {
	rows := [][]string{{"watchers", "changes a second", "seen by all: p50", "p99", "events a second", "lost", "CPU", "memory"}}
	for _, p := range points {
		rows = append(rows, []string{
			count(float64(p.n)), count(p.write.perSecond), latency(p.write.p50), latency(p.write.p99),
			count(p.events()), strconv.FormatInt(p.lost, 10), cpu(p.write.cpu), mebibytes(p.write.memory),
		})
	}
	return rows
}

// megabytes is a number of bytes with three digits or so, in MB.
func megabytes(n float64) string {
	if n >= 100e6 {
		return count(n / 1e6)
	}
	return fmt.Sprintf("%.3g", n/1e6)
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// several is a number of things.
func several(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return count(float64(n)) + " " + thing
}

// sizeText is a number of bytes as a person says it.
func sizeText(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
