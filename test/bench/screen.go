package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leasehold/leasehold/test/report"
)

// screen is what a person sees: a line an operation, on which the figures appear as they are measured.
type screen struct {
	out     io.Writer
	clients []int
	errors  []string // of the operation that is shown
}

func (s *screen) leftOut(why error) { fmt.Fprintln(s.out, why) }

func (s *screen) kept(dir string) { fmt.Fprintf(s.out, "The logs are kept in %s.\n", dir) }

func (s *screen) begin(r runInfo, systems []system, expected time.Duration) {
	var names []string
	for _, sys := range systems {
		names = append(names, sys.title+" "+sys.version)
	}
	fmt.Fprintf(s.out, "%s: three nodes of each on this machine, one system at a time.\n", strings.Join(names, ", "))
	fmt.Fprintf(s.out, "%s. It takes about %s.\n", r.Machine(), minutes(expected))
}

// minutes is a time as a person says it.
func minutes(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%d s", int(max(d, 0).Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
}

func (s *screen) costs(costs []cost) {
	fmt.Fprintln(s.out, "\nWhat the clients need when a server does nothing (CPU is for 1,000 operations):")
	s.columns(costRows(costs))
}

// Widths on the lines of a system.
const (
	titleWidth  = 46
	figureWidth = 11
)

func (s *screen) system(run, of int, sys system, left time.Duration) {
	head := fmt.Sprintf("Run %d of %d: %s", run, of, sys.title)
	fmt.Fprintf(s.out, "\n%-*s", titleWidth, head)
	for i, n := range s.clients {
		text := strconv.Itoa(n)
		if i == len(s.clients)-1 {
			text += " clients"
		}
		fmt.Fprintf(s.out, "%*s", s.width(i), text)
	}
	fmt.Fprintf(s.out, "   (%s left)\n", minutes(left))
}

// width is that of a column. The last has the word clients.
func (s *screen) width(i int) int {
	if i == len(s.clients)-1 {
		return figureWidth + 2
	}
	return figureWidth
}

func (s *screen) operation(o operation) {
	s.errors = nil
	fmt.Fprintf(s.out, "  %-*s", titleWidth-2, o.title)
}

func (s *screen) cell(f figures) {
	mark := ""
	if len(f.errors) > 0 {
		mark = "! "
		s.errors = append(s.errors, fmt.Sprintf("%d failed: %s", len(f.errors), f.errors[0]))
	}
	fmt.Fprintf(s.out, "%*s", figureWidth, mark+count(f.perSecond))
}

func (s *screen) endOperation() {
	fmt.Fprintln(s.out, "  a second")
	for _, e := range s.errors {
		fmt.Fprintf(s.out, "    ! %s\n", e)
	}
}

func (s *screen) breakOff() { fmt.Fprintln(s.out) }

func (s *screen) table(f findings) {
	fmt.Fprintln(s.out, "\nThe medians of all runs (CPU is for 1,000 operations, of the servers and of the clients):")
	s.columns(rows(f))
	if judged := barRows(f.results); len(judged) > 1 {
		fmt.Fprintln(s.out, "\nThe bars:")
		s.columns(judged)
	}
}

// columns prints a table whose cells stand one below the other.
func (s *screen) columns(rows [][]string) {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // of the screen
}

// rows are the table, with its header. What is as in the row above is not said again.
func rows(f findings) [][]string {
	rows := [][]string{{"operation", "clients", "system", "a second", "p50", "p99", "CPU", "clients' CPU", "memory", "errors"}}
	for _, o := range operations {
		title := o.title
		for _, n := range f.run.Clients {
			clients := strconv.Itoa(n)
			for _, s := range f.systems {
				m, ok := f.results.median(cell{s.name, o.name, n})
				if !ok {
					continue
				}
				rows = append(rows, []string{
					title, clients, s.title, count(m.perSecond), latency(m.p50), latency(m.p99),
					cpu(m.cpu), cpu(m.ownCPU), fmt.Sprintf("%d MiB", m.memory>>20), strconv.Itoa(len(m.errors)),
				})
				title, clients = "", ""
			}
		}
	}
	return rows
}

func costRows(costs []cost) [][]string {
	rows := [][]string{{"clients of", "writes a second", "CPU", "reads a second", "CPU"}}
	for _, c := range costs {
		rows = append(rows, []string{
			c.system, count(c.write.perSecond), cpu(c.write.ownCPU),
			count(c.read.perSecond), cpu(c.read.ownCPU),
		})
	}
	return rows
}

// count is a whole number, with a comma for the thousands.
func count(f float64) string {
	digits := strconv.Itoa(int(f + 0.5))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// cpu is what 1,000 operations need, in seconds.
func cpu(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.2g s", d.Seconds())
}

// latency is d with three digits.
func latency(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1000)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return report.Duration(d)
}
