// Command chaos tries to break Leasehold.
//
// It runs three replicas as processes of this machine, each on a network and a disk of its own, with the Lease election
// and its default timings, against a stand-in for the Kubernetes API server. Clients read and write all the while and
// write down what they are told, and one fault follows another: processes are killed and frozen, links are cut, the API
// server goes away, the Lease is poisoned, disks fill up, hang and lose what they held. Between faults the cluster has to
// recover. At the end the history of the clients, and what the replicas hold, are checked against the promises of the
// service. It needs Linux and root, and leaves nothing behind.
//
//	go run ./test/chaos -seed 7 -for 3m
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
		fmt.Fprintln(os.Stderr, "chaos:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// run breaks things here, or has the same program do it on a network of its own.
func run(ctx context.Context, args []string, out io.Writer) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	if cfg.list {
		return list(out)
	}
	if s, ok := lab.NetworkSite(); ok {
		return rampage(ctx, cfg, s, out)
	}
	if cfg.server, err = lab.Server(ctx, cfg.server); err != nil {
		return err
	}
	n, err := lab.MakeNetworks(ctx, "chaos")
	if err != nil {
		return fmt.Errorf("there are no networks for the replicas here: %w", err)
	}
	defer n.Remove()
	return n.Run(ctx, append(args, "-server", cfg.server, "-seed", fmt.Sprint(cfg.seed)))
}
