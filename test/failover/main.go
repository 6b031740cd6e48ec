// Command failover measures how long clients go without an acknowledged write when leadership changes.
//
// It runs three replicas as processes of this machine, with the Lease election and its default timings, against a
// stand-in for the Kubernetes API server. As root on Linux each replica is on a network of its own, which the command
// makes and takes down again; else all of them are on loopback, and the case "cut" is left out. Clients write all the
// while, and at the end of each case every acknowledged write is read back.
//
//	go run ./test/failover -rounds 2 -cases sigterm,kill
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/leasehold/leasehold/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode()) // it has said why
	default:
		fmt.Fprintln(os.Stderr, "failover:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// run measures here, or has the same program do it on a network of its own.
func run(ctx context.Context, args []string, out io.Writer) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	if s, ok := lab.NetworkSite(); ok {
		return measure(ctx, cfg, s, out)
	}
	if cfg.server, err = lab.Server(ctx, cfg.server); err != nil {
		return err
	}
	if cfg.real {
		return measureOnLoopback(ctx, cfg, out)
	}
	n, err := lab.MakeNetworks(ctx, "failover")
	if err != nil {
		fmt.Fprintf(out, "There are no networks for the replicas here (%v): all of them are on loopback.\n", err)
		return measureOnLoopback(ctx, cfg, out)
	}
	defer n.Remove()
	return n.Run(ctx, append(args, "-server", cfg.server))
}

func measureOnLoopback(ctx context.Context, cfg config, out io.Writer) error {
	s, err := lab.LoopbackSite(lab.ReplicaCount)
	if err != nil {
		return err
	}
	defer s.Release()
	return measure(ctx, cfg, s, out)
}
