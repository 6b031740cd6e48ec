package main

import (
	"errors"
	"flag"
	"io"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// growthCommand has this program measure how cost grows.
const growthCommand = "growth"

// The most of everything that is measured.
const (
	maxKeys     = 1_000_000
	maxValue    = 1 << 20
	maxWatchers = 2048 // the server's own bound, on a replica
)

// growthConfig is what the flags say. A list that is empty is a part that is left out.
type growthConfig struct {
	config // of which systems, ops, etcd and redis do not matter

	keys, values, replicas, watchers []int
}

func parseGrowth(args []string, out io.Writer) (growthConfig, error) {
	var c growthConfig
	f := flag.NewFlagSet("bench "+growthCommand, flag.ContinueOnError)
	keys := f.String("keys", "1000,10000,100000,1000000", "the numbers of keys; empty to leave this out, as each of the lists")
	values := f.String("values", "16,256,4096,65536,1048576", "the sizes of a value, in bytes")
	replicas := f.String("replicas", "3,5", "the numbers of replicas")
	clients := f.String("clients", "1,4,16,64,256,1000", "the numbers of clients")
	watchers := f.String("watchers", "0,10,100,1000", "the numbers of watchers")
	c.common(f)
	err := readFlags(f, args, out, func() (err error) {
		for _, l := range []struct {
			flag, list  string
			least, most int
			into        *[]int
		}{
			{"keys", *keys, 1, maxKeys, &c.keys},
			{"values", *values, 1, maxValue, &c.values},
			{"replicas", *replicas, 1, lab.MaxOnLoopback, &c.replicas},
			{"clients", *clients, 1, maxClients, &c.clients},
			{"watchers", *watchers, 0, maxWatchers, &c.watchers},
		} {
			if l.list == "" {
				continue
			}
			if *l.into, err = numbers(l.flag, l.list, l.least, l.most); err != nil {
				return err
			}
		}
		return c.validate(f.Args())
	})
	return c, err
}

func (c *growthConfig) validate(rest []string) error {
	if len(c.keys)+len(c.values)+len(c.replicas)+len(c.clients)+len(c.watchers) == 0 {
		return errors.New("every list is empty: there is nothing to measure")
	}
	return c.config.validate(rest)
}

// About what the steps take, on two cores.
const (
	growthStart   = 4 * time.Second
	fillPerSecond = 10_000
	restart       = 3 * time.Second // and as much again for each million of keys, as the next
	joining       = settled + 5*time.Second
	perMillion    = 15 * time.Second
)

// expected is about how long everything takes.
func (c *growthConfig) expected() (all time.Duration) {
	runs := time.Duration(c.runs)
	load := c.cell + c.warmUp()
	for _, n := range c.keys {
		slower := perMillion * time.Duration(n) / maxKeys
		all += growthStart + time.Duration(n)*time.Second/fillPerSecond + runs*(load+2*(restart+slower)+joining+slower)
	}
	all += time.Duration(len(c.values)+len(c.replicas)) * runs * (growthStart + load)
	if len(c.clients) > 0 {
		all += growthStart + time.Duration(2*len(c.clients))*runs*load
	}
	if len(c.watchers) > 0 {
		all += growthStart + time.Duration(len(c.watchers))*(runs*load+time.Second)
	}
	return all
}
