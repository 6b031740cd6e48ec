package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	cases     []string
	rounds    int
	seed      uint64
	lossy     time.Duration
	losses    []int // percent
	server    string
	md, svg   string
	bars      bool
	real      bool
	namespace string
	hook      string
}

var errUsage = errors.New("wrong usage")

// maxLossy bounds the case that has no rounds.
const maxLossy = 24 * time.Hour

func parse(args []string) (config, error) {
	c := config{}
	names := caseNames()
	f := flag.NewFlagSet("failover", flag.ContinueOnError)
	f.SetOutput(os.Stdout)
	cases := f.String("cases", strings.Join(names, ","), "the cases to run; there is also "+lossyCase)
	f.IntVar(&c.rounds, "rounds", 50, "rounds of each case")
	f.Uint64Var(&c.seed, "seed", 1, "of what is left to chance: when in a round the leader is struck, and how the API server goes away")
	f.DurationVar(&c.lossy, "lossy", 10*time.Minute, "how long the case "+lossyCase+" takes, at each loss")
	losses := f.String("losses", "5,20", "the shares of packets that are lost in it, in percent")
	f.StringVar(&c.server, "server", "", "the server to run (default: it is built as bin/server)")
	f.StringVar(&c.md, "md", "", "write the results to this Markdown file")
	f.StringVar(&c.svg, "svg", "", "draw the results to this SVG file")
	f.BoolVar(&c.bars, "bars", true, "exit with code 1 if a bar is missed")
	f.BoolVar(&c.real, "real", false, "use the API server of $KUBECONFIG, not a stand-in; all replicas are on loopback, then")
	f.StringVar(&c.namespace, "namespace", "default", "namespace of the Lease")
	f.StringVar(&c.hook, "hook", "", "with -real: a command that is run as \"COMMAND apiserver stop\" and \"start\"")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return config{}, err
		}
		return config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	c.cases = strings.Split(*cases, ",")
	for percent := range strings.SplitSeq(*losses, ",") {
		n, err := strconv.Atoi(percent)
		if err != nil || n < 1 || n > 90 {
			return config{}, fmt.Errorf("%w: -losses names %q; each is a whole number from 1 to 90", errUsage, percent)
		}
		c.losses = append(c.losses, n)
	}
	if err := c.validate(f.Args()); err != nil {
		return config{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	return c, nil
}

func (c config) validate(rest []string) error {
	for _, name := range c.cases {
		if known := append(caseNames(), lossyCase); !slices.Contains(known, name) {
			return fmt.Errorf("-cases names %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; -help lists the flags", rest[0])
	case c.rounds < 1:
		return fmt.Errorf("-rounds is %d; it must be at least 1", c.rounds)
	case c.lossy < time.Second || c.lossy > maxLossy:
		return fmt.Errorf("-lossy is %s; it may be 1s to %s", c.lossy, maxLossy)
	case c.real && os.Getenv("KUBECONFIG") == "":
		return errors.New("-real needs $KUBECONFIG to say which API server")
	case c.hook != "" && !c.real:
		return errors.New("-hook is for use with -real; the stand-in needs none")
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
