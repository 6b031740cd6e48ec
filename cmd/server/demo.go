package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/leasehold/leasehold/internal/client"
)

// demoConfig is what the flags of "server demo" say.
type demoConfig struct {
	once    bool
	dataDir string
	port    int
}

const (
	demoReplicas = 3
	maxPort      = 65535
)

// The failover's timetable.
const (
	beforeKill    = 2 * time.Second
	takeoverLimit = 30 * time.Second
	afterTakeover = 3 * time.Second
)

// errInterrupted is the end of a demo that was stopped before it had shown the failover.
var errInterrupted = errors.New("stopped before the failover was over")

func (c *demoConfig) flags() *pflag.FlagSet {
	f := newFlagSet("demo")
	f.BoolVar(&c.once, "once", false, "end after the failover, with exit code 1 if a write failed or was lost")
	f.StringVar(&c.dataDir, "data-dir", "", "folder for the data and the logs, which is kept (default: a temporary one, removed at the end)")
	f.IntVar(&c.port, "port", 8081, "the replicas' public API is on this port of 127.0.0.1 and the two after it")
	return f
}

func parseDemo(args []string, stdout io.Writer) (demoConfig, error) {
	var c demoConfig
	if err := parse(c.flags(), args, stdout); err != nil {
		return demoConfig{}, err
	}
	if last := maxPort - demoReplicas + 1; c.port < 1 || c.port > last {
		return demoConfig{}, usageError{fmt.Errorf("--port is %d; it may be 1 to %d", c.port, last)}
	}
	return c, nil
}

// runDemo runs three replicas as processes of this machine and shows a failover. With --once that is all;
// else the replicas stay up until ctx is done.
func runDemo(ctx context.Context, cfg demoConfig, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal was closed
	defer stop()
	s := newScreen(stdout)
	o, err := demonstrate(ctx, cfg, s)
	switch {
	case errors.Is(err, errInterrupted) && !cfg.once:
		return o.err()
	case err != nil:
		return err
	case cfg.once:
		s.total(o)
	}
	return o.err()
}

// demonstrate returns when no replica runs any more.
func demonstrate(ctx context.Context, cfg demoConfig, s *screen) (o outcome, err error) {
	p, err := occupy(cfg)
	if err != nil {
		return outcome{}, err
	}
	defer func() { p.leave(s, o.err() != nil || err != nil && !errors.Is(err, errInterrupted)) }()
	c, err := newDemoCluster(p, s)
	if err != nil {
		return outcome{}, err
	}
	s.starting(p)
	c.start()
	defer func() {
		s.stopping()
		c.stop()
	}()
	if err := c.awaitReady(ctx); err != nil {
		return outcome{}, err
	}
	s.replicas(c.status())
	s.invite(c.status())
	if o, err = showFailover(ctx, c, s); err != nil {
		return o, err
	}
	if cfg.once {
		return o, nil
	}
	s.standing(c.status())
	<-ctx.Done()
	return o, nil
}

// showFailover kills the leader while clients write, and returns once the replica that was killed is back.
func showFailover(ctx context.Context, c *demoCluster, s *screen) (outcome, error) {
	first := c.leader()
	w := newWriter(client.New(c.client, c.urlsWithout(first.pod)...))
	s.failover(first.pod)
	writing := w.start(ctx)
	defer writing.stop()
	if !pause(ctx, beforeKill) {
		return outcome{}, errInterrupted
	}
	o := outcome{old: c.leader(), killed: time.Now()}
	s.killing(o.old, c.kill(o.old.pod))
	if err := awaitTakeover(ctx, w, o.old); err != nil {
		return outcome{}, err
	}
	writing.stop()
	o.new = c.leader()
	w.tally.fill(&o)
	var err error
	if o.lost, err = w.check(ctx); err != nil {
		return outcome{}, err
	}
	s.report(o)
	return o, c.awaitReplica(ctx, o.old.pod)
}

// awaitTakeover waits until writes have been acknowledged for a while under a newer epoch than the old leader's.
func awaitTakeover(ctx context.Context, w *writer, old leader) error {
	limit, cancel := context.WithTimeout(ctx, takeoverLimit)
	defer cancel()
	for w.tally.newestEpoch() <= old.epoch {
		if pause(limit, pollEvery) {
			continue
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		return fmt.Errorf("no write was acknowledged by another leader within %s of the end of %s; see the logs", takeoverLimit, old.pod)
	}
	if !pause(ctx, afterTakeover) {
		return errInterrupted
	}
	return nil
}

// pause returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
