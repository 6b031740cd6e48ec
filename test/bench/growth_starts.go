package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	// upLimit bounds a start.
	upLimit = 5 * time.Minute
	// settled is for how long replicas are connected before one of them loses its disk: etcd takes in no new member while a connection
	// is younger than 5 s, which happens after a start of all and tells nothing about the one that joins.
	settled = 6 * time.Second
	// samples is how many keys are read of a replica that has started.
	samples = 100
)

// startFollower kills a follower, starts it again, and returns how long it takes to be ready and to have caught up.
func startFollower(ctx context.Context, c leasehold, keys int) (time.Duration, error) {
	r, err := c.follower(ctx)
	if err != nil {
		return 0, err
	}
	r.Destroy()
	return up(ctx, keys, isUp, r)
}

// startAll kills all replicas, starts them again, and returns how long it takes until each is ready and a write through it is acknowledged.
func startAll(ctx context.Context, c leasehold, keys int) (time.Duration, error) {
	if _, err := c.AwaitHealthy(ctx, upLimit); err != nil {
		return 0, err
	}
	c.Destroy()
	return up(ctx, keys, takesWrites, c.Replicas...)
}

// startEmpty kills a follower, deletes its data, starts it again, and returns how long it takes to be ready and to have caught up.
func startEmpty(ctx context.Context, c leasehold, keys int) (time.Duration, error) {
	if _, err := c.AwaitHealthy(ctx, upLimit); err != nil {
		return 0, err
	}
	if !lab.Pause(ctx, settled) {
		return 0, ctx.Err()
	}
	r, err := c.follower(ctx)
	if err != nil {
		return 0, err
	}
	r.Destroy()
	if err := os.RemoveAll(r.Data); err != nil {
		return 0, err
	}
	return up(ctx, keys, isUp, r)
}

// follower is a replica that does not lead, in a healthy cluster.
func (c leasehold) follower(ctx context.Context) (*lab.Replica, error) {
	v, err := c.AwaitHealthy(ctx, upLimit)
	if err != nil {
		return nil, err
	}
	leader, err := c.Leader(v)
	if err != nil {
		return nil, err
	}
	return c.Others(leader)[0], nil
}

// up starts replicas, and returns how long it takes until all are as they should be. Then it looks whether each has the keys.
func up(ctx context.Context, keys int, done func(*httpClient) error, replicas ...*lab.Replica) (time.Duration, error) {
	begin := time.Now()
	if err := start(replicas); err != nil {
		return 0, err
	}
	errs := make(chan error, len(replicas))
	for _, r := range replicas {
		go func() { errs <- awaitUp(ctx, r, done) }()
	}
	var err error
	for range replicas {
		err = errors.Join(err, <-errs)
	}
	took := time.Since(begin)
	for _, r := range replicas {
		if err == nil {
			err = hasKeys(ctx, r, keys)
		}
	}
	return took, err
}

func awaitUp(ctx context.Context, r *lab.Replica, done func(*httpClient) error) error {
	client := newHTTPClient(r.URL)
	defer client.close()
	return awaitWithin(ctx, upLimit, r.Name, func(context.Context) error { return done(client) })
}

// isUp tells whether a replica is ready, and answers a read that is not behind.
func isUp(client *httpClient) error {
	if err := client.doGet(client.base + "/readyz"); err != nil {
		return err
	}
	if client.response.StatusCode() != fasthttp.StatusOK {
		return client.failure()
	}
	_, err := client.read(context.Background(), growthKey(0), true)
	return err
}

func takesWrites(client *httpClient) error {
	if err := isUp(client); err != nil {
		return err
	}
	return client.write(context.Background(), keyPrefix+"started", []byte("x"))
}

// hasKeys looks for some of the keys, over the whole range.
func hasKeys(ctx context.Context, r *lab.Replica, keys int) error {
	client := newHTTPClient(r.URL)
	defer client.close()
	for i := range min(samples, keys) {
		key := growthKey(i * keys / min(samples, keys))
		value, err := client.read(ctx, key, false)
		if err == nil && len(value) != valueBytes {
			err = fmt.Errorf("it has %d bytes", len(value))
		}
		if err != nil {
			return fmt.Errorf("%s has started, without the right %s: %w", r.Name, key, err)
		}
	}
	return nil
}
