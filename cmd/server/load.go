package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/leasehold/leasehold/internal/client"
	"github.com/leasehold/leasehold/internal/loadgen"
)

// loadConfig is what the flags of "server load" say.
type loadConfig struct {
	urls []string
	loadgen.Config
}

const (
	maxRate       = 100_000
	maxLoadLength = 24 * time.Hour
	maxClients    = 8000 // fewer than the connections that a replica takes
	maxKeys       = 100_000
	// Outcomes are remembered for two minutes.
	maxLoadTimeout = time.Minute
)

func (c *loadConfig) flags() *pflag.FlagSet {
	f := newFlagSet("load")
	f.StringSliceVar(&c.urls, "url", []string{"http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8083"},
		"replicas to talk to in turn; those that do not answer are passed over")
	f.IntVar(&c.Rate, "rate", 200, "operations that are due in a second")
	f.DurationVar(&c.Length, "duration", 30*time.Second, "how long; Ctrl-C ends it earlier")
	f.IntVar(&c.Clients, "clients", 64, "operations under way at once, at most: the others wait, and that counts")
	f.IntVar(&c.ReadPercent, "reads", 50, "percentage of the operations that are reads")
	f.BoolVar(&c.Linearizable, "linearizable", false, "have reads never be behind, rather than local")
	f.IntVar(&c.Keys, "keys", 1000, "keys that are written to in turn; removed at the end")
	f.IntVar(&c.ValueSize, "value-size", 256, "bytes of a value")
	f.DurationVar(&c.Timeout, "timeout", 30*time.Second, "how long an operation is tried, on one replica after another")
	return f
}

func parseLoad(args []string, stdout io.Writer) (loadConfig, error) {
	var c loadConfig
	if err := parse(c.flags(), args, stdout); err != nil {
		return loadConfig{}, err
	}
	if err := c.validate(); err != nil {
		return loadConfig{}, usageError{err}
	}
	return c, nil
}

// validate returns the first thing that is wrong, and what to do about it.
func (c *loadConfig) validate() error {
	if len(c.urls) == 0 {
		return errors.New("say where the replicas are, with --url http://127.0.0.1:8081,http://127.0.0.1:8082")
	}
	for i, text := range c.urls {
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
			return fmt.Errorf("--url is %q; it must be such as http://127.0.0.1:8081", c.urls[i])
		}
		c.urls[i] = text
	}
	for _, number := range []struct {
		flag              string
		is, least, atMost int
	}{
		{"rate", c.Rate, 1, maxRate},
		{"clients", c.Clients, 1, maxClients},
		{"reads", c.ReadPercent, 0, 100},
		{"keys", c.Keys, 1, maxKeys},
		{"value-size", c.ValueSize, loadgen.MinValueSize, mebibyte},
	} {
		if number.is < number.least || number.is > number.atMost {
			return fmt.Errorf("--%s is %d; it may be %d to %d", number.flag, number.is, number.least, number.atMost)
		}
	}
	if c.Keys < c.Clients {
		return fmt.Errorf("--keys is %d; it must be at least as many as --clients (%d): each client writes to a key of its own", c.Keys, c.Clients)
	}
	if c.Length < time.Second || c.Length > maxLoadLength {
		return fmt.Errorf("--duration is %s; it may be 1s to 24h", c.Length)
	}
	if c.Timeout < time.Second || c.Timeout > maxLoadTimeout {
		return fmt.Errorf("--timeout is %s; it may be 1s to 1m", c.Timeout)
	}
	return nil
}

// runLoad loads a cluster that runs somewhere, until the end of its time or until ctx is done, and says what came of it. The
// error is one of a load that lost a write, or of one of which nothing succeeded.
func runLoad(ctx context.Context, cfg loadConfig, stdout io.Writer) error {
	connections := client.NewHTTP(cfg.Clients)
	defer connections.CloseIdleConnections()
	l := loadgen.New(cfg.Config, client.New(connections, cfg.urls...))
	s := loadScreen{newScreen(stdout)}
	s.begin(cfg, l.Prefix())
	if err := l.Fill(ctx); err != nil {
		return fmt.Errorf("there was no load: %w", err)
	}
	defer context.AfterFunc(ctx, l.Stop)()
	hard, cancel := untilTwice(ctx)
	defer cancel()
	showSeconds(s, cfg, l, func() { l.Run(hard) })
	s.checking(cfg)
	l.Check(hard)
	r := l.Result()
	s.report(r, l.Prefix())
	return verdict(r)
}

// untilTwice makes a context that is done when a second signal comes after the one that ends ctx.
func untilTwice(ctx context.Context) (context.Context, context.CancelFunc) {
	twice, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		again, stop := signal.NotifyContext(twice, os.Interrupt, syscall.SIGTERM)
		defer stop()
		<-again.Done()
		cancel()
	})
	return twice, cancel
}

// showSeconds shows what came about in each second, until run returns.
func showSeconds(s loadScreen, cfg loadConfig, l *loadgen.Load, run func()) {
	s.head()
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-tick.C:
				s.second(n, l.Second(), cfg)
			case <-done:
				if last := l.Second(); last.Writes+last.Reads+last.Failed > 0 {
					s.second(n, last, cfg)
				}
				return
			}
		}
	})
	run()
	close(done)
	showing.Wait()
}

// verdict is an error if something was lost, if that is not known, or if nothing succeeded.
func verdict(r loadgen.Result) error {
	switch {
	case r.Losses > 0:
		return fmt.Errorf("acknowledged writes must not be lost, but %d of them were", r.Losses)
	case r.Writes.Done+r.Reads.Done == 0:
		return errors.New("no operation succeeded")
	case r.NotChecked > 0:
		return fmt.Errorf("%d keys could not be read back, so nobody knows whether their writes are lost", r.NotChecked)
	}
	return nil
}
