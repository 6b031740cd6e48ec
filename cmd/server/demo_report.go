package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// screen is what a person sees of the demo. Its methods can be called from any goroutine; what one of them
// prints stays together.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
}

func newScreen(w io.Writer) *screen {
	return &screen{w: w, color: os.Getenv("NO_COLOR") == "" && isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// color is an escape sequence's number.
type color int

const (
	bold  color = 1
	dim   color = 2
	red   color = 31
	green color = 32
)

func (s *screen) paint(c color, text string) string {
	if !s.color {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.w, text) // nobody looks on, then
}

// event prints a line with the time, as it stands in the logs.
func (s *screen) event(format string, args ...any) {
	s.print("  " + s.paint(dim, time.Now().Format("15:04:05.0")) + "  " + fmt.Sprintf(format, args...) + "\n")
}

func (s *screen) starting(p *place) {
	kept := "kept"
	if p.temporary {
		kept = "removed at the end"
	}
	s.print(s.paint(bold, "Leasehold: three replicas on this machine, without Kubernetes") + "\n\n" +
		fmt.Sprintf("  data  %s (%s)\n  logs  %s/%s.log and so on\n\n", p.dir, kept, p.dir, replicaName(0)))
}

// replicas prints the table of who is where.
func (s *screen) replicas(statuses []replicaStatus) {
	var b strings.Builder
	b.WriteString(s.paint(dim, fmt.Sprintf("  %-12s  %-8s  %s", "replica", "PID", "URL")) + "\n")
	for _, st := range statuses {
		fmt.Fprintf(&b, "  %-12s  %-8d  %s%s\n", st.name, st.pid, st.url, s.leads(st))
	}
	s.print(b.String() + "\n")
}

func (s *screen) leads(st replicaStatus) string {
	if st.epoch == 0 {
		return ""
	}
	return "  " + s.paint(green, fmt.Sprintf("leads, epoch %d", st.epoch))
}

// invite prints three commands: a write through a follower, a read on the other one, and who leads.
func (s *screen) invite(statuses []replicaStatus) {
	var followers []string
	for _, st := range statuses {
		if st.epoch == 0 {
			followers = append(followers, st.url)
		}
	}
	s.print("Try it from another terminal: write through one follower, read from the other,\nand ask who leads.\n\n" +
		fmt.Sprintf("  curl -X PUT -d hello %s/v1/kv/greeting\n", followers[0]) +
		fmt.Sprintf("  curl %s/v1/kv/greeting\n", followers[1]) +
		fmt.Sprintf("  curl %s/v1/leader\n\n", followers[0]))
}

func (s *screen) failover(pod string) {
	s.print(s.paint(bold, "A failover") + "\n" +
		fmt.Sprintf("%d clients make %d writes a second through the two followers, and the leader,\n%s, is killed while they do.\n\n", writers, writesASecond, pod))
}

func (s *screen) killing(l leader, pid int) {
	s.event("%s", s.paint(red, fmt.Sprintf("kill -9 %d: %s, the leader of epoch %d", pid, l.pod, l.epoch)))
}

func (s *screen) ended(name, cause string) {
	s.event("%s has ended (%s); started again in %s", name, cause, seconds(restartAfter))
}

func (s *screen) restarted(name string, pid int) { s.event("%s is started again, PID %d", name, pid) }

func (s *screen) caughtUp(name string) { s.event("%s has caught up and is ready", name) }

func (s *screen) changed(old, now leader, gap time.Duration) {
	s.event("%s", s.paint(green, fmt.Sprintf("%s → %s leads, epoch %d; nobody led for %s", old.pod, now.pod, now.epoch, seconds(gap))))
}

// report prints what the failover came to.
func (s *screen) report(o outcome) {
	var b strings.Builder
	bars, mark := chart(o)
	fmt.Fprintf(&b, "\n  %s\n  %s\n\n", s.paint(green, bars), s.paint(red, mark))
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("leader", "%s (epoch %d) → %s (epoch %d)", o.old.pod, o.old.epoch, o.new.pod, o.new.epoch)
	row("longest gap", "%s without an acknowledged write", s.paint(bold, seconds(o.longestGap())))
	row("acknowledged", "%d, and each was read back afterwards", len(o.acks))
	row("failed", "%s", s.count(o.failed))
	row("lost", "%s", s.count(o.lost))
	s.print(b.String())
}

// count shows the first few of what should be none.
func (s *screen) count(what []string) string {
	const most = 5
	return s.number(int64(len(what)), what[:min(most, len(what))]...)
}

// number is of what should be none, with examples.
func (s *screen) number(n int64, examples ...string) string {
	if n == 0 {
		return s.paint(green, "0")
	}
	text := s.paint(red, fmt.Sprint(n))
	for _, one := range examples {
		text += "\n    " + one
	}
	return text
}

// standing says what can be tried while the demo stays up.
func (s *screen) standing(statuses []replicaStatus) {
	var b strings.Builder
	b.WriteString("\n" + s.paint(bold, "The replicas stay up until Ctrl-C") + "\nKill any of them, and see here what becomes of it.\n\n")
	for _, st := range statuses {
		fmt.Fprintf(&b, "  kill -9 %-8d  %s%s\n", st.pid, st.name, s.leads(st))
	}
	s.print(b.String() + "\n")
}

func (s *screen) stopping() { s.print("\nStopping the replicas.\n") }

func (s *screen) kept(dir string) { s.print(fmt.Sprintf("The data and the logs are in %s\n", dir)) }

func (s *screen) total(o outcome) { s.print(o.total() + "\n") }

// chart draws how many writes were acknowledged when, one column for each stretch of time, and marks below it
// when the leader was killed.
func chart(o outcome) (bars, mark string) {
	const widest, finest = 76, 100 * time.Millisecond
	levels := []rune(" ▁▂▃▄▅▆▇█")
	step := max(finest, o.end.Sub(o.start)/(widest-1))
	column := func(at time.Time) int { return max(0, min(widest-1, int(at.Sub(o.start)/step))) }
	counts := make([]int, column(o.end)+1)
	most := 1
	for _, at := range o.acks {
		i := min(column(at), len(counts)-1)
		counts[i]++
		most = max(most, counts[i])
	}
	var b strings.Builder
	for _, n := range counts {
		b.WriteRune(levels[(n*(len(levels)-1)+most-1)/most])
	}
	text := fmt.Sprintf("↑ killed; a column is %s of acknowledged writes", seconds(step))
	return strings.TrimRight(b.String(), " "), strings.Repeat(" ", column(o.killed)) + text
}

func seconds(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", d.Seconds()), "0"), ".") + " s"
}
