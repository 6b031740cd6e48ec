package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/leasehold/leasehold/test/lab"
	"github.com/leasehold/leasehold/test/report"
)

// growthQuota is the replicas' --quota-bytes: a million keys with some history come near the default. More is more than etcd would have.
const growthQuota = 4 << 30

// Clients of a part.
const (
	keyClients     = 64 // also with more replicas
	valueClients   = 16
	watchedClients = 16
)

// grown is all that was measured. Parts that were left out are empty.
type grown struct {
	run     runInfo
	version string

	keys     []keysPoint
	values   []point
	replicas []point
	clients  []clientsPoint
	watchers []watchersPoint
}

// point is what writes came to with n of something.
type point struct {
	n     int
	write figures
}

type clientsPoint struct {
	point
	read figures
}

// runGrowth measures how cost grows, and reports.
func runGrowth(ctx context.Context, args []string, out io.Writer) error {
	cfg, err := parseGrowth(args, out)
	if err != nil {
		return err
	}
	sys, err := newLeasehold(ctx, cfg.config)
	if err != nil {
		return err
	}
	s := &screen{out: out}
	return inFolder(ctx, cfg.config, s, func(dir string, run runInfo) error {
		s.beginGrowth(sys.version, run, cfg.expected())
		g := &grower{cfg: cfg, dir: dir, screen: s, grown: grown{run: run, version: sys.version}}
		if err := g.measure(ctx); err != nil {
			return err
		}
		s.growthTables(g.grown)
		return errors.Join(cfg.writeGrowth(g.grown), g.verdict(cfg.bars))
	})
}

// grower measures part by part.
type grower struct {
	cfg    growthConfig
	dir    string
	screen *screen
	grown
}

func (g *grower) measure(ctx context.Context) error {
	for _, part := range []struct {
		title   string
		of      []int
		measure func(context.Context) error
	}{
		{"Keys", g.cfg.keys, g.measureKeys},
		{"Values", g.cfg.values, g.measureValues},
		{"Replicas", g.cfg.replicas, g.measureReplicas},
		{"Clients", g.cfg.clients, g.measureClients},
		{"Watchers", g.cfg.watchers, g.measureWatchers},
	} {
		if len(part.of) == 0 {
			continue
		}
		g.screen.part(part.title)
		if err := part.measure(ctx); err != nil {
			g.screen.breakOff()
			return fmt.Errorf("%s: %w", strings.ToLower(part.title), err)
		}
	}
	return nil
}

// with has work done with replicas on empty disks, and ends them. Where all went well their data is deleted at once: the next ones need the room.
func (g *grower) with(ctx context.Context, name string, replicas int, work func(leasehold) error) error {
	dir := filepath.Join(g.dir, name)
	if err := makeFolder(dir); err != nil {
		return err
	}
	c, err := startLeasehold(ctx, g.cfg.server, dir, replicas, "--quota-bytes", strconv.Itoa(growthQuota))
	if err != nil {
		return err
	}
	err = work(c)
	c.close()
	if err == nil {
		err = os.RemoveAll(dir)
	}
	return err
}

// repeat has n clients do the operation, as often as there are runs.
func (g *grower) repeat(ctx context.Context, c cluster, o operation, n int) (figures, error) {
	var runs []figures
	for range g.cfg.runs {
		f, err := load(ctx, c, o, n, g.cfg.warmUp(), g.cfg.cell)
		if err != nil {
			return figures{}, err
		}
		runs = append(runs, f)
	}
	return medians(runs), nil
}

// median is the median of how long something takes, done as often as there are runs.
func (g *grower) median(do func() (time.Duration, error)) (time.Duration, error) {
	var all []time.Duration
	for range g.cfg.runs {
		took, err := do()
		if err != nil {
			return 0, err
		}
		all = append(all, took)
	}
	return report.Percentile(all, 50), nil
}

// writeAmong writes values of that size to n keys, at random.
func writeAmong(n, size int) operation {
	return operation{name: opWrite, at: atLeader, do: func(ctx context.Context, w *worker) error {
		return w.client.write(ctx, growthKey(w.random.IntN(n)), w.sized(size))
	}}
}

func growthKey(i int) string { return fmt.Sprintf("%skey-%07d", keyPrefix, i) }

// sized is a new value of that size. It is valid until the next call.
func (w *worker) sized(size int) []byte {
	if len(w.value) != size {
		w.value = []byte(strings.Repeat("leasehold ", size/10+1)[:size])
	}
	for i := range min(size, 8) {
		w.value[i] = 'a' + byte(w.random.UintN(26))
	}
	return w.value
}

func (g *grower) measureValues(ctx context.Context) error {
	for _, size := range g.cfg.values {
		g.screen.point(sizeText(size))
		write, err := g.anew(ctx, fmt.Sprintf("values-%d", size), lab.ReplicaCount, writeAmong(keyCount, size), valueClients)
		if err != nil {
			return err
		}
		g.values = append(g.values, point{size, write})
	}
	return nil
}

func (g *grower) measureReplicas(ctx context.Context) error {
	for _, n := range g.cfg.replicas {
		g.screen.point(several(n, "replica"))
		write, err := g.anew(ctx, fmt.Sprintf("replicas-%d", n), n, writeAmong(keyCount, valueBytes), keyClients)
		if err != nil {
			return err
		}
		g.replicas = append(g.replicas, point{n, write})
	}
	return nil
}

// anew has clients do the operation, with replicas on empty disks in each run.
func (g *grower) anew(ctx context.Context, name string, replicas int, o operation, clients int) (figures, error) {
	var runs []figures
	for i := range g.cfg.runs {
		err := g.with(ctx, fmt.Sprintf("%s-%d", name, i+1), replicas, func(c leasehold) error {
			f, err := load(ctx, c, o, clients, g.cfg.warmUp(), g.cfg.cell)
			runs = append(runs, f)
			return err
		})
		if err != nil {
			return figures{}, err
		}
	}
	f := medians(runs)
	g.screen.writes(f)
	return f, nil
}

func (g *grower) measureClients(ctx context.Context) error {
	return g.with(ctx, "clients", lab.ReplicaCount, func(c leasehold) error {
		if err := fill(ctx, c); err != nil {
			return err
		}
		for _, n := range g.cfg.clients {
			g.screen.point(several(n, "client"))
			write, err := g.repeat(ctx, c, operation{name: opWrite, at: atLeader, do: write}, n)
			if err != nil {
				return err
			}
			g.screen.writes(write)
			read, err := g.repeat(ctx, c, operation{name: opRead, at: atFollowers, do: readLocal}, n)
			if err != nil {
				return err
			}
			g.screen.say("%s reads a second", count(read.perSecond))
			g.clients = append(g.clients, clientsPoint{point{n, write}, read})
		}
		return nil
	})
}
