package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// The keys are written by transactions of a few puts: fast, and such that a batch of the leader's has about as many as one under the load has.
// What the replicas hold of the last 5,000 batches is in their memory then as it is where clients write.
const (
	growthFillers = 8
	putsAtOnce    = 8
)

// keysPoint is what n keys came to.
type keysPoint struct {
	point
	fill time.Duration

	memory, own int64 // the largest of the replicas, resident; and without the mapped file
	disk        int64 // the largest of the replicas

	follower, all, joined time.Duration // start-ups
}

func (g *grower) measureKeys(ctx context.Context) error {
	for _, n := range g.cfg.keys {
		g.screen.point(several(n, "key"))
		err := g.with(ctx, fmt.Sprintf("keys-%d", n), lab.ReplicaCount, func(c leasehold) error {
			p, err := g.measureKeyCount(ctx, c, n)
			g.keys = append(g.keys, p)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureKeyCount starts replicas before it loads them: what the load leaves behind is the same with any number of keys.
func (g *grower) measureKeyCount(ctx context.Context, c leasehold, n int) (p keysPoint, err error) {
	p.n = n
	begin := time.Now()
	if err := fillKeys(ctx, c, n); err != nil {
		return p, err
	}
	p.fill = time.Since(begin)
	if err := p.weigh(c); err != nil {
		return p, err
	}
	g.screen.say("written in %.1f s, %d MiB of memory, %d MiB on disk", p.fill.Seconds(), p.memory>>20, p.disk>>20)
	for _, part := range []struct {
		what  string
		start func(context.Context, leasehold, int) (time.Duration, error)
		into  *time.Duration
	}{
		{"a follower", startFollower, &p.follower}, {"all", startAll, &p.all}, {"an empty disk", startEmpty, &p.joined},
	} {
		*part.into, err = g.median(func() (time.Duration, error) { return part.start(ctx, c, n) })
		if err != nil {
			return p, fmt.Errorf("start %s: %w", part.what, err)
		}
		g.screen.say("%s up in %.2f s", part.what, part.into.Seconds())
	}
	if _, err := c.AwaitHealthy(ctx, upLimit); err != nil {
		return p, err
	}
	if p.write, err = g.repeat(ctx, c, writeAmong(n, valueBytes), keyClients); err == nil {
		g.screen.writes(p.write)
	}
	return p, err
}

// weigh takes the largest of all replicas.
func (p *keysPoint) weigh(c leasehold) error {
	for _, r := range c.Replicas {
		err := r.Do(func(process *os.Process) error {
			memory, own, err := memoryOf(process.Pid)
			p.memory, p.own = max(p.memory, memory), max(p.own, own)
			return err
		})
		disk, errDisk := occupied(r.Data)
		p.disk = max(p.disk, disk)
		if err := errors.Join(err, errDisk); err != nil {
			return err
		}
	}
	return nil
}

// fillKeys writes n keys, each once.
func fillKeys(ctx context.Context, c leasehold, n int) error {
	leader, err := c.leader(ctx)
	if err != nil {
		return err
	}
	address := c.Replicas[leader].URL + "/v1/kv"
	client := &http.Client{Timeout: requestLimit, Transport: &http.Transport{MaxIdleConnsPerHost: growthFillers}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var filling sync.WaitGroup
	for i := range growthFillers {
		filling.Go(func() {
			if err := fillKeyShare(ctx, client, address, i, n); err != nil {
				cancel(err) // and the others need not go on
			}
		})
	}
	filling.Wait()
	return context.Cause(ctx)
}

// fillKeyShare writes every growthFillers-th portion of the keys.
func fillKeyShare(ctx context.Context, client *http.Client, address string, filler, n int) error {
	w := newWorker(nil, "fill", filler)
	for from := filler * putsAtOnce; from < n; from += growthFillers * putsAtOnce {
		text, err := json.Marshal(putsOf(w, from, min(from+putsAtOnce, n)))
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(string(text)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		a, err := lab.Send(client, req)
		if err == nil && a.Status != http.StatusOK {
			err = errors.New(a.String())
		}
		if err != nil {
			return fmt.Errorf("write %s and the next: %w", growthKey(from), err)
		}
	}
	return nil
}

// put is one put of a transaction.
type put struct {
	Put struct {
		Key         string `json:"key"`
		Value       string `json:"value"`
		ContentType string `json:"content_type"`
	} `json:"put"`
}

// transaction is what the keys' transactions are.
type transaction struct {
	Then []put `json:"then"`
}

func putsOf(w *worker, from, to int) (t transaction) {
	for i := from; i < to; i++ {
		var p put
		p.Put.Key, p.Put.Value, p.Put.ContentType = growthKey(i), string(w.sized(valueBytes)), "text/plain"
		t.Then = append(t.Then, p)
	}
	return t
}
