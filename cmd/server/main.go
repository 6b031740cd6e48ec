// Command server is one replica of Leasehold; as "server demo", three of them on this machine; as "server load", a load on a
// cluster that runs; as "server elect", leader election alone, beside another program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set when a release is built.
var version = "dev"

const usage = `Leasehold: a replicated key-value service with an elected leader.

Usage:
  server serve [flags]   run one replica
  server demo [flags]    run three replicas on this machine and show a failover
  server load [flags]    load a cluster that runs, and say what its clients saw
  server elect [flags]   elect a leader beside another program, on a Lease alone
  server install PATH    copy this program to PATH, for a container of another image
  server version         print the version

"server COMMAND --help" lists the flags of serve, demo, load and elect.
`

// usageError is a mistake on the command line: one sentence, exit code 2.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(exitCode(err, os.Stderr))
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "serve":
		cfg, err := parseServe(args, stdout)
		if err != nil {
			return err
		}
		return serve(ctx, cfg)
	case "demo":
		cfg, err := parseDemo(args, stdout)
		if err != nil {
			return err
		}
		return runDemo(ctx, cfg, stdout)
	case "load":
		cfg, err := parseLoad(args, stdout)
		if err != nil {
			return err
		}
		return runLoad(ctx, cfg, stdout)
	case "elect":
		cfg, err := parseElect(args, stdout)
		if err != nil {
			return err
		}
		return elect(ctx, cfg)
	case "install":
		return install(args)
	case "version", "--version":
		fmt.Fprintln(stdout, version)
		return nil
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return nil
	case "":
		return usageError{errors.New(`name a command: "server serve", "server demo", "server load", "server elect" or "server version"`)}
	}
	return usageError{fmt.Errorf(`there is no command %q; "server help" lists them`, command)}
}

// exitCode says what went wrong, in one sentence, and returns 0, 1, or 2 for a mistake on the command line.
func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "server: %v\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "server: %v\n", err)
	return 1
}
