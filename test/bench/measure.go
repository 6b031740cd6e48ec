package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// measure measures and reports. Whatever it has started has ended when it returns.
func measure(ctx context.Context, cfg config, out io.Writer) error {
	s := &screen{out: out, clients: cfg.clients}
	systems, err := choose(ctx, cfg, s)
	if err != nil {
		return err
	}
	return inFolder(ctx, cfg, s, func(dir string, run runInfo) error {
		s.begin(run, systems, cfg.expected(systems))
		costs, err := generatorCosts(ctx, cfg, systems, dir)
		if err != nil {
			return err
		}
		s.costs(costs)
		return measureAll(ctx, cfg, findings{run: run, systems: systems, costs: costs, results: results{}}, dir, s)
	})
}

// inFolder makes a folder for the data of what is measured, of which it leaves nothing but, where something goes wrong, the logs.
func inFolder(ctx context.Context, cfg config, s *screen, work func(dir string, run runInfo) error) (err error) {
	dir, err := os.MkdirTemp(cfg.dir, "leasehold-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for the data: %w; name another place with -dir", err)
	}
	defer func() { leave(dir, err != nil && !errors.Is(err, errMissed) && ctx.Err() == nil, s) }()
	run, err := describe(cfg, dir)
	if err != nil {
		return err
	}
	err = work(dir, run)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// choose finds the systems that the flags name. Redis may be missing.
func choose(ctx context.Context, cfg config, s *screen) (systems []system, err error) {
	find := map[string]func(context.Context, config) (system, error){
		nameLeasehold: newLeasehold, nameEtcd: newEtcd, nameRedis: newRedis,
	}
	for _, name := range cfg.systems {
		found, err := find[name](ctx, cfg)
		if errors.Is(err, errNotInstalled) {
			s.leftOut(err)
			continue
		}
		if err != nil {
			return nil, err
		}
		systems = append(systems, found)
	}
	if len(systems) == 0 {
		return nil, errors.New("there is no system to measure")
	}
	return systems, nil
}

// leave removes the data, and where something went wrong leaves the logs.
func leave(dir string, wrong bool, s *screen) {
	if !wrong {
		_ = os.RemoveAll(dir) // what cannot be removed is in a temporary folder
		return
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log")) // the pattern is right
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, path := range kept {
		if !strings.HasSuffix(path, ".log") {
			_ = os.RemoveAll(path)
		}
	}
	if len(logs) > 0 {
		s.kept(dir)
	}
}

// findings is all that a page tells.
type findings struct {
	run     runInfo
	systems []system
	costs   []cost
	results results
}

// measureAll measures everything, shows it, and writes it to the files.
func measureAll(ctx context.Context, cfg config, f findings, dir string, s *screen) error {
	begin := time.Now()
	for n := range cfg.runs {
		for i := range f.systems {
			sys := f.systems[(i+n)%len(f.systems)] // none is always the first
			s.system(n+1, cfg.runs, sys, cfg.expected(f.systems)-time.Since(begin))
			if err := runSystem(ctx, cfg, sys, filepath.Join(dir, fmt.Sprintf("%d-%s", n+1, sys.name)), f.results, s); err != nil {
				return fmt.Errorf("%s: %w", sys.title, err)
			}
		}
	}
	s.table(f)
	return errors.Join(cfg.write(f), verdict(f.results, cfg.bars))
}

// runSystem starts a system with empty disks, measures everything once, and ends it.
func runSystem(ctx context.Context, cfg config, sys system, dir string, r results, s *screen) error {
	if err := makeFolder(dir); err != nil {
		return err
	}
	c, err := sys.start(ctx, dir)
	if err != nil {
		return err
	}
	defer c.close()
	if err := errors.Join(fill(ctx, c), ctx.Err()); err != nil {
		return err
	}
	if err := check(ctx, sys, c); err != nil {
		return fmt.Errorf("it does not do what is to be measured: %w", err)
	}
	for _, o := range cfg.ops {
		if sys.lacks[o.name] != "" {
			continue
		}
		s.operation(o)
		for _, n := range cfg.clients {
			f, err := load(ctx, c, o, n, cfg.warmUp(), cfg.cell)
			if err != nil {
				s.breakOff()
				return fmt.Errorf("%s, %d clients: %w", o.title, n, err)
			}
			at := cell{sys.name, o.name, n}
			r[at] = append(r[at], f)
			s.cell(f)
		}
		s.endOperation()
	}
	return nil
}

// errMissed is the verdict where nothing is wrong but the figures.
var errMissed = errors.New("missed")

// verdict is nil if all is as it should be: there were no errors and, where it matters, no bar was missed.
func verdict(r results, bars bool) error {
	if all := r.errors(); len(all) > 0 {
		return fmt.Errorf("%d operations failed, such as %s", len(all), all[0])
	}
	if about := missed(r); bars && len(about) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(about, "; "))
	}
	return nil
}
