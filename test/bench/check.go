package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	// startUp is about what a system takes to start, with its first writes and the checks.
	startUp = 8 * time.Second
	// startLimit bounds every wait for a system that has few data.
	startLimit = time.Minute
	pollEvery  = 20 * time.Millisecond

	fillers = 64
)

// await waits until done returns no error, for startLimit at most.
func await(ctx context.Context, what string, done func(context.Context) error) error {
	return awaitWithin(ctx, startLimit, what, done)
}

// awaitWithin waits until done returns no error. The error says why not yet.
func awaitWithin(ctx context.Context, limit time.Duration, what string, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := done(ctx)
		if err == nil {
			return nil
		}
		if !lab.Pause(ctx, pollEvery) {
			return fmt.Errorf("%s is not ready (%w): %w", what, ctx.Err(), err)
		}
	}
}

// awaitLeader waits until the nodes are as they should be, and one leads.
func awaitLeader(ctx context.Context, c cluster) (leader int, err error) {
	err = await(ctx, "the cluster", func(ctx context.Context) (err error) {
		leader, err = c.leader(ctx)
		return err
	})
	return leader, err
}

func makeFolder(path string) error { return os.MkdirAll(path, 0o700) }

// fill writes every key once.
func fill(ctx context.Context, c cluster) error {
	leader, err := awaitLeader(ctx, c)
	if err != nil {
		return err
	}
	clients, err := c.connect(ctx, fillers, func(int) int { return leader })
	if err != nil {
		return err
	}
	defer closeAll(clients)
	errs := make(chan error, len(clients))
	for i, cl := range clients {
		go func() { errs <- fillShare(ctx, newWorker(cl, "check", i), i) }()
	}
	for range clients {
		err = errors.Join(err, <-errs)
	}
	return err
}

// fillShare writes every key whose number has that remainder.
func fillShare(ctx context.Context, w *worker, remainder int) error {
	for i := remainder; i < keyCount && ctx.Err() == nil; i += fillers {
		if err := w.client.write(ctx, keys[i], w.valueOf(keys[i])); err != nil {
			return fmt.Errorf("write %s: %w", keys[i], err)
		}
	}
	return ctx.Err()
}

// check finds out whether a system does what is going to be measured: what is written through one node is read at every
// node, a condition that does not hold refuses the write, and a list has its entries.
func check(ctx context.Context, s system, c cluster) error {
	leader, err := awaitLeader(ctx, c)
	if err != nil {
		return err
	}
	clients, err := c.connect(ctx, 2*nodes, func(i int) int { return (leader + i) % nodes })
	if err != nil {
		return err
	}
	defer closeAll(clients)
	var workers []*worker
	for i, cl := range clients {
		workers = append(workers, newWorker(cl, "check", i))
	}
	writers := workers[:nodes]
	if s.lacks[opWriteFollower] != "" {
		writers = workers[:1]
	}
	for i, w := range writers {
		if err := checkWrite(ctx, s, w, workers[:nodes]); err != nil {
			return fmt.Errorf("a write through node %d: %w", (leader+i)%nodes, err)
		}
	}
	if err := checkSwap(ctx, workers[0], workers[nodes]); err != nil {
		return fmt.Errorf("a conditional write: %w", err)
	}
	return checkLists(ctx, s, workers)
}

// checkWrite has one worker write and all of them read: linearizably at once, locally within a time.
func checkWrite(ctx context.Context, s system, writer *worker, readers []*worker) error {
	key := keys[0]
	want := bytes.Clone(writer.valueOf(key))
	if err := writer.client.write(ctx, key, want); err != nil {
		return err
	}
	for _, r := range readers {
		if s.lacks[opLinearizable] == "" {
			if err := expect(ctx, r, key, want, true); err != nil {
				return err
			}
		}
		if err := await(ctx, "what was written", func(ctx context.Context) error {
			return expect(ctx, r, key, want, false)
		}); err != nil {
			return err
		}
	}
	return nil
}

func expect(ctx context.Context, r *worker, key string, want []byte, linearizable bool) error {
	got, err := r.client.read(ctx, key, linearizable)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is %q, not %q", key, got, want)
	}
	return nil
}

// checkSwap has two clients of one node swap the same key: the one that has not seen the other's value is refused.
func checkSwap(ctx context.Context, one, other *worker) error {
	const key = keyPrefix + "checked"
	for range 2 {
		if err := one.client.swap(ctx, key, one.valueOf(key)); err != nil {
			return err
		}
	}
	if err := other.client.swap(ctx, key, other.valueOf(key)); !errors.Is(err, errConflict) {
		return fmt.Errorf("creates what exists (%w)", err)
	}
	if err := other.client.write(ctx, key, other.valueOf(key)); err != nil {
		return err
	}
	if err := one.client.swap(ctx, key, one.valueOf(key)); !errors.Is(err, errConflict) {
		return fmt.Errorf("replaces a value that has changed (%w)", err)
	}
	return nil
}

func checkLists(ctx context.Context, s system, workers []*worker) error {
	if s.lacks[opList] != "" {
		return nil
	}
	for _, w := range workers {
		if err := await(ctx, "a list", func(ctx context.Context) error { return list(ctx, w) }); err != nil {
			return err
		}
	}
	return nil
}
