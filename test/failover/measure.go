package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

// bench is what the cases share.
type bench struct {
	cfg     config
	site    lab.Site
	cluster *lab.Cluster
	api     apiServer
	client  *http.Client
	screen  *screen
}

// result is what a case came to.
type result struct {
	scenario
	skipped string // why there are no rounds; "" if there are
	rounds  []round
	lost    []string
}

// gaps are those of all rounds, in their order.
func (r result) gaps() (gaps []time.Duration) {
	for _, round := range r.rounds {
		gaps = append(gaps, round.gap)
	}
	return gaps
}

func (r result) failed() (failed []string) {
	for _, round := range r.rounds {
		failed = append(failed, round.failed...)
	}
	return failed
}

func (r result) wrong() (wrong []string) {
	for _, round := range r.rounds {
		wrong = append(wrong, round.wrong...)
	}
	return wrong
}

func (r result) retried() (n int) {
	for _, round := range r.rounds {
		n += round.retried
	}
	return n
}

// ok tells whether the case is as it should be; one that was skipped is.
func (r result) ok() bool {
	return r.skipped != "" || r.bar.met(r.gaps()) && len(r.wrong()) == 0
}

// measure runs the cases and reports. Whatever it has started has ended when it returns.
func measure(ctx context.Context, cfg config, s lab.Site, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "leasehold-failover-")
	if err != nil {
		return err
	}
	b := &bench{cfg: cfg, site: s, client: newLoadClient(), screen: &screen{out}}
	defer func() {
		keepLogs := err != nil && ctx.Err() == nil
		removeData(dir, keepLogs)
		if keepLogs {
			fmt.Fprintf(out, "The logs are kept in %s.\n", dir)
		}
	}()
	if b.api, err = newAPIServer(cfg, s, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.api.close()) }()
	b.cluster = lab.NewCluster(lab.ClusterConfig{
		Server: cfg.server, Site: s, Dir: dir, Kubeconfig: b.api.kubeconfig(), Namespace: cfg.namespace, Lease: b.api.lease(),
	})
	defer b.cluster.Destroy()
	if err := b.cluster.Start(); err != nil {
		return err
	}
	run, err := describe(ctx, b)
	if err != nil {
		return err
	}
	b.screen.begin(run)
	results, hard, err := b.runAll(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	b.screen.table(results)
	if err == nil {
		err = cfg.write(run, results, hard)
	}
	return errors.Join(err, verdict(results, hard, cfg.bars))
}

// removeData removes a temporary folder, or all in it but the logs.
func removeData(dir string, keepLogs bool) {
	if !keepLogs {
		_ = os.RemoveAll(dir) // it is a temporary one
		return
	}
	for i := range lab.ReplicaCount {
		_ = os.RemoveAll(filepath.Join(dir, lab.ReplicaName(i)))
	}
}

// runAll returns what it has come to also where it fails.
func (b *bench) runAll(ctx context.Context) (results []result, hard *hardship, err error) {
	for _, s := range scenarios() {
		if !slices.Contains(b.cfg.cases, s.name) {
			continue
		}
		r, err := b.runCase(ctx, s)
		results = append(results, r)
		if err != nil {
			return results, nil, fmt.Errorf("%s: %w", s.name, err)
		}
		b.screen.caseDone(r)
	}
	if slices.Contains(b.cfg.cases, lossyCase) {
		if hard, err = b.runLossy(ctx); err != nil {
			return results, nil, fmt.Errorf("%s: %w", lossyCase, err)
		}
	}
	return results, hard, nil
}

func (b *bench) runCase(ctx context.Context, s scenario) (result, error) {
	r := result{scenario: s, skipped: s.impossible(b.cfg, b.site)}
	if r.skipped != "" {
		return r, nil
	}
	rng := random(b.cfg.seed, s.name)
	var loads []*load
	for range b.cfg.rounds {
		t, err := b.runRound(ctx, s, rng)
		if errors.Is(err, errNotAvailable) {
			r.skipped = err.Error()
			return r, nil
		}
		if err != nil {
			return r, err
		}
		loads = append(loads, t.load)
		r.rounds = append(r.rounds, t.round)
		b.screen.round(s.name, len(r.rounds), b.cfg.rounds, t.round)
	}
	var err error
	r.lost, err = b.verify(ctx, loads)
	return r, err
}

// random makes the source of chance of a case, which does not depend on what other cases there are.
func random(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails (hash)
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func (b *bench) runRound(ctx context.Context, s scenario, rng *rand.Rand) (*trial, error) {
	t, err := newTrial(ctx, b.site, b.cluster, b.api, b.client, rng)
	if err != nil {
		return nil, err
	}
	defer t.load.stop()
	if err := s.run(ctx, t); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	t.count()
	v, err := b.cluster.AwaitHealthy(ctx, healthyLimit)
	if err != nil {
		return nil, err
	}
	t.round.new, t.round.oldEpoch, t.round.epoch = v.Leader, t.before.Epoch, v.Epoch
	if s.check != nil {
		s.check(t, v)
	}
	return t, nil
}

// verify reads back what the loads have written.
func (b *bench) verify(ctx context.Context, loads []*load) (lost []string, err error) {
	for _, l := range loads {
		gone, err := l.verify(ctx, lab.URLs(b.cluster.Replicas))
		if err != nil {
			return nil, err
		}
		lost = append(lost, gone...)
	}
	return lost, nil
}

// verdict is nil if all is as it should be.
func verdict(results []result, hard *hardship, bars bool) error {
	var errs []error
	for _, r := range results {
		if len(r.lost) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d acknowledged writes are lost, such as %s", r.name, len(r.lost), r.lost[0]))
		}
		if bars && !r.ok() {
			errs = append(errs, fmt.Errorf("%s misses its bar: %s", r.name, r.bar))
		}
	}
	if hard != nil && len(hard.lost) > 0 {
		errs = append(errs, fmt.Errorf("%s: %d acknowledged writes are lost, such as %s", lossyCase, len(hard.lost), hard.lost[0]))
	}
	return errors.Join(errs...)
}
