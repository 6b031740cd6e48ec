package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// config is what the flags say.
type config struct {
	seed     uint64
	duration time.Duration
	faults   []string
	schedule string // name of a case; "" for faults by chance
	recovery time.Duration
	rate     int
	server   string
	md, svg  string
	list     bool
}

var errUsage = errors.New("wrong usage")

const (
	maxDuration = 24 * time.Hour
	maxRate     = 10_000
	maxSeed     = 1_000_000 // of those that are chosen here
)

func parse(args []string) (config, error) {
	c := config{}
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Uint64Var(&c.seed, "seed", 0, "of all that is left to chance: which faults follow each other, and how they strike (default: another one each time)")
	f.DurationVar(&c.duration, "for", 3*time.Minute, "how long faults are begun")
	faults := f.String("faults", "", "only these faults, separated by commas (default: all)")
	f.StringVar(&c.schedule, "case", "", "run one of the scheduled cases in place of faults by chance")
	f.BoolVar(&c.list, "list", false, "list the faults and the cases, and do nothing")
	f.DurationVar(&c.recovery, "recovery", time.Minute, "how long the cluster may take to recover from a fault")
	f.IntVar(&c.rate, "rate", 300, "operations a second that the clients begin at most")
	f.StringVar(&c.server, "server", "", "the server to run (default: it is built as bin/server)")
	f.StringVar(&c.md, "md", "", "write the results to this Markdown file")
	f.StringVar(&c.svg, "svg", "", "draw the results to this SVG file")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(os.Stdout)
			f.PrintDefaults()
			return config{}, err
		}
		return config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	if c.seed == 0 {
		c.seed = 1 + rand.Uint64N(maxSeed)
	}
	c.faults = faultNames()
	if *faults != "" {
		c.faults = strings.Split(*faults, ",")
	}
	if err := c.validate(f.Args()); err != nil {
		return config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return c, nil
}

func (c config) validate(rest []string) error {
	for _, name := range c.faults {
		if !slices.Contains(faultNames(), name) {
			return fmt.Errorf("-faults names %q, which there is not; -list lists them", name)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; -help lists the flags", rest[0])
	case c.schedule != "" && caseOf(c.schedule) == nil:
		return fmt.Errorf("-case names %q, which there is not; -list lists them", c.schedule)
	case c.duration < time.Second || c.duration > maxDuration:
		return fmt.Errorf("-for is %s; it may be 1s to %s", c.duration, maxDuration)
	case c.recovery < time.Second || c.recovery > time.Hour:
		return fmt.Errorf("-recovery is %s; it may be 1s to 1h", c.recovery)
	case c.rate < 2*leastRate || c.rate > maxRate:
		return fmt.Errorf("-rate is %d; it may be %d to %d", c.rate, 2*leastRate, maxRate)
	case c.md != "" && c.svg == "":
		return errors.New("-md embeds the plot: name its file with -svg")
	}
	return nil
}

// plotPath is the path of the plot as the page refers to it.
func (c config) plotPath() string {
	path, err := filepath.Rel(filepath.Dir(c.md), c.svg)
	if err != nil {
		return c.svg
	}
	return filepath.ToSlash(path)
}

func list(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Faults, for -faults:")
	for _, f := range faults() {
		fmt.Fprintf(w, "  %s\t%s\n", f.name, f.about)
	}
	fmt.Fprintln(w, "\nCases, for -case:")
	for _, c := range cases() {
		fmt.Fprintf(w, "  %s\t%s\n", c.name, c.about)
	}
	return w.Flush()
}
