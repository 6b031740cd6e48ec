package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	systems []string
	ops     []operation
	clients []int
	runs    int
	cell    time.Duration // of which the first quarter, a second at most, is the warm-up

	server, etcd, redis string // paths of the programs
	etcdShare           int    // of etcd's clients, how many share a connection
	dir                 string
	md, svg             string
	bars                bool
}

var errUsage = errors.New("wrong usage")

const (
	minCell    = 100 * time.Millisecond
	maxCell    = time.Minute
	maxRuns    = 100
	maxClients = 1000
	maxWarmUp  = time.Second
)

func parse(args []string, out io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	systems := f.String("systems", strings.Join(systemNames, ","), "the systems to measure")
	ops := f.String("ops", strings.Join(operationNames(), ","), "the operations")
	clients := f.String("clients", "1,16,64,256", "the numbers of clients")
	f.StringVar(&c.etcd, "etcd", "bin/etcd", "etcd")
	f.StringVar(&c.redis, "redis", "redis-server", "Redis's server")
	f.IntVar(&c.etcdShare, "etcd-share", 16, "how many of etcd's clients share a connection; more of these cost more than they bring")
	c.common(f)
	err := readFlags(f, args, out, func() error { return c.fill(*systems, *ops, *clients, f.Args()) })
	return c, err
}

// common are the flags of the commands that write a page.
func (c *config) common(f *flag.FlagSet) {
	c.basic(f)
	f.StringVar(&c.md, "md", "", "write the results to this Markdown file")
	f.StringVar(&c.svg, "svg", "", "draw the results to this SVG file")
	f.BoolVar(&c.bars, "bars", true, "exit with code 1 if a bar is missed")
}

// basic are the flags that all commands have.
func (c *config) basic(f *flag.FlagSet) {
	f.IntVar(&c.runs, "runs", 3, "runs, of which the medians are shown")
	f.DurationVar(&c.cell, "for", 4*time.Second, "how long an operation is measured each time; a quarter more, 1s at most, is its warm-up")
	f.StringVar(&c.server, "server", "bin/server", "Leasehold's server")
	f.StringVar(&c.dir, "dir", "", "folder for the data, which decides how long an fsync takes (default: the system's temporary one)")
}

// readFlags reads the flags, and then has fill read what they say.
func readFlags(f *flag.FlagSet, args []string, out io.Writer, fill func() error) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(out, "Flags of %s:\n", f.Name())
		f.SetOutput(out)
		f.PrintDefaults()
		return err
	}
	if err == nil {
		err = fill()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}

// fill reads the lists, and says what is wrong with them or with another flag.
func (c *config) fill(systems, ops, clients string, rest []string) error {
	c.systems = strings.Split(systems, ",")
	for i, name := range c.systems {
		if !slices.Contains(systemNames, name) || slices.Contains(c.systems[:i], name) {
			return fmt.Errorf("-systems names %q; it may name each of %s, once", name, strings.Join(systemNames, ", "))
		}
	}
	for name := range strings.SplitSeq(ops, ",") {
		i := slices.Index(operationNames(), name)
		if i < 0 || slices.ContainsFunc(c.ops, func(o operation) bool { return o.name == name }) {
			return fmt.Errorf("-ops names %q; it may name each of %s, once", name, strings.Join(operationNames(), ", "))
		}
		c.ops = append(c.ops, operations[i])
	}
	var err error
	if c.clients, err = numbers("clients", clients, 1, maxClients); err != nil {
		return err
	}
	if c.etcdShare < 1 || c.etcdShare > maxClients {
		return fmt.Errorf("-etcd-share is %d; it may be 1 to %d", c.etcdShare, maxClients)
	}
	return c.validate(rest)
}

// numbers reads the list that a flag has.
func numbers(name, list string, least, most int) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most || slices.Contains(all, n) {
			return nil, fmt.Errorf("-%s names %q; each is a whole number from %d to %d, and stands there once", name, text, least, most)
		}
		all = append(all, n)
	}
	return all, nil
}

func (c *config) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; -help lists the flags", rest[0])
	case c.runs < 1 || c.runs > maxRuns:
		return fmt.Errorf("-runs is %d; it may be 1 to %d", c.runs, maxRuns)
	case c.cell < minCell || c.cell > maxCell:
		return fmt.Errorf("-for is %s; it may be %s to %s", c.cell, minCell, maxCell)
	case c.md != "" && c.svg == "":
		return errors.New("-md embeds the chart: name its file with -svg")
	}
	return nil
}

func (c *config) warmUp() time.Duration { return min(c.cell/4, maxWarmUp) }

// expected is about how long everything takes.
func (c *config) expected(systems []system) (all time.Duration) {
	for _, s := range systems {
		for _, o := range c.ops {
			if s.lacks[o.name] == "" {
				all += time.Duration(c.runs*len(c.clients)) * (c.cell + c.warmUp())
			}
		}
		all += time.Duration(c.runs) * startUp
	}
	return all
}

// chartPath is the path of the chart as the page refers to it.
func (c *config) chartPath() string {
	path, err := filepath.Rel(filepath.Dir(c.md), c.svg)
	if err != nil {
		return c.svg
	}
	return filepath.ToSlash(path)
}
