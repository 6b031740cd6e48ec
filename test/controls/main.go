// Command controls shows that the tests notice when a protection is missing.
//
// The package sabotage lists the protections that the design rests on. For each of them there is one test that passes
// in a normal build and has to fail every time in a build without it, saying which promise was broken. This command
// runs both, and prints a line for each protection: caught, or NOT CAUGHT and why.
//
//	go run ./test/controls -count 10
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

var errUsage = errors.New("wrong usage")

// maxCount keeps the time of a run in bounds.
const maxCount = 1000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "controls:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "controls:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	count, err := parse(args, out)
	if err != nil {
		return err
	}
	missed := 0
	for _, c := range controls {
		err := c.verify(ctx, ".", count)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			missed++
		}
		c.print(out, err)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d not caught", missed, len(controls))
	}
	fmt.Fprintf(out, "%d of %d caught, in every one of %d runs\n", len(controls), len(controls), count)
	return nil
}

// parse returns how often each test is to be run.
func parse(args []string, out io.Writer) (count int, err error) {
	f := flag.NewFlagSet("controls", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&count, "count", 1, "how often to run each test, with the protection and without")
	switch err = f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(out)
		f.Usage()
		return 0, err
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("there are no arguments, only flags, but there is %q", f.Arg(0))
	case count < 1 || count > maxCount:
		err = fmt.Errorf("-count %d is not a number from 1 to %d", count, maxCount)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUsage, err)
	}
	return count, nil
}

// print prints the control's line, and below it why it does not hold, if so.
func (c control) print(out io.Writer, missed error) {
	verdict := "caught"
	if missed != nil {
		verdict = "NOT CAUGHT"
	}
	fmt.Fprintf(out, "%-10s  %-7s  %-50s  %s %s\n", verdict, c.name, c.promise, c.pkg, c.test)
	if missed != nil {
		fmt.Fprintf(out, "            %s\n", indent(missed.Error()))
	}
}
