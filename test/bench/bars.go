package main

import (
	"fmt"
)

// bar is how a figure of Leasehold's is to compare with another one: as a ratio of the two.
type bar struct {
	about    string
	cell, to cell
	of       func(figures) float64
	limit    float64
	most     bool // the limit is the most that it may be, not the least
}

func perSecond(f figures) float64 { return f.perSecond }
func p99(f figures) float64       { return f.p99.Seconds() }

// atLeast is a bar for operations a second against etcd's.
func atLeast(limit float64, about, op string, clients int) bar {
	return bar{about, cell{nameLeasehold, op, clients}, cell{nameEtcd, op, clients}, perSecond, limit, false}
}

var bars = []bar{
	atLeast(1.2, "writes at the leader, 1 client, to etcd's", opWrite, 1),
	atLeast(2.5, "writes at the leader, 64 clients, to etcd's", opWrite, 64),
	atLeast(2.5, "writes at the leader, 256 clients, to etcd's", opWrite, 256),
	{
		"p99 of writes at the leader, 64 clients, to etcd's",
		cell{nameLeasehold, opWrite, 64},
		cell{nameEtcd, opWrite, 64},
		p99, 1, true,
	},
	{
		"writes through a follower, 64 clients, to Leasehold's own at the leader",
		cell{nameLeasehold, opWriteFollower, 64},
		cell{nameLeasehold, opWrite, 64},
		perSecond, 0.8, false,
	},
	atLeast(3, "local reads at a follower, 64 clients, to etcd's serializable ones", opRead, 64),
	atLeast(2, "linearizable reads at the leader, 64 clients, to etcd's", opLinearizable, 64),
	atLeast(2, "linearizable reads at a follower, 64 clients, to etcd's", opLinearizableFollow, 64),
}

// Verdicts on a bar.
const (
	verdictOK      = "ok"
	verdictMissed  = "MISSED"
	verdictUnknown = "not measured"
)

// judge compares the medians. Without both of them, or where one is 0, nothing is known.
func (b bar) judge(r results) (ratio float64, verdict string) {
	mine, ok := r.median(b.cell)
	other, also := r.median(b.to)
	if !ok || !also || b.of(mine) == 0 || b.of(other) == 0 {
		return 0, verdictUnknown
	}
	ratio = b.of(mine) / b.of(other)
	if b.most && ratio > b.limit || !b.most && ratio < b.limit {
		return ratio, verdictMissed
	}
	return ratio, verdictOK
}

func (b bar) String() string {
	sign := "≥"
	if b.most {
		sign = "≤"
	}
	return fmt.Sprintf("%s %g ×", sign, b.limit)
}

// barRows are a table of the bars that were measured, with its header.
func barRows(r results) [][]string {
	rows := [][]string{{"", "measured", "bar", "verdict"}}
	for _, b := range bars {
		if ratio, verdict := b.judge(r); verdict != verdictUnknown {
			rows = append(rows, []string{b.about, fmt.Sprintf("%.2f ×", ratio), b.String(), verdict})
		}
	}
	return rows
}

// missed are the bars that are.
func missed(r results) (about []string) {
	for _, b := range bars {
		if ratio, verdict := b.judge(r); verdict == verdictMissed {
			about = append(about, fmt.Sprintf("%s: %.2f ×, not %s", b.about, ratio, b))
		}
	}
	return about
}
