// Command bench measures Leasehold beside etcd and Redis: three nodes of each on this machine, one system at a time, under
// the same closed loop of clients.
//
// It needs Linux, for the figures of the processes. What it starts has ended when it returns, also where it is
// interrupted or fails.
//
//	make bench BENCH_ARGS='-runs 1 -for 1s -clients 64'
//
// With growth as its first argument it measures how Leasehold's cost grows instead, and with reads what it brings to keep reads off
// the leader.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(exitCode(err, os.Stderr))
}

// exitCode says what is wrong, in one sentence, and is 2 for a mistake on the command line.
func exitCode(err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(stderr, "bench:", err)
	if errors.Is(err, errUsage) {
		return 2
	}
	return 1
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == nullCommand {
		return serveNull(ctx, args[1], args[2])
	}
	if len(args) > 0 && args[0] == growthCommand {
		return runGrowth(ctx, args[1:], out)
	}
	if len(args) > 0 && args[0] == readsCommand {
		return runReads(ctx, args[1:], out)
	}
	cfg, err := parse(args, out)
	if err != nil {
		return err
	}
	return measure(ctx, cfg, out)
}
