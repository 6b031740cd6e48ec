package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/leasetest"
	"github.com/leasehold/leasehold/test/lab"
	"github.com/leasehold/leasehold/test/report"
)

const (
	// restartPause is how long a replica that has ended stays so, while the cluster is to recover.
	restartPause = time.Second
	pollEvery    = 100 * time.Millisecond
	healthyFor   = 500 * time.Millisecond
)

// arena is what faults act on.
type arena struct {
	dir     string
	site    lab.Site
	api     *lab.APIServer
	leases  coordinationclient.LeaseInterface
	cluster *lab.Cluster
	disks   []*disk // by the ordinal of the replica
	trap    *trap
	client  *http.Client // without connections that are kept
}

// newArena makes everything and starts the replicas. What it has made is removed by close, also where it fails.
func newArena(ctx context.Context, server, dir string, s lab.Site) (a *arena, err error) {
	a = &arena{dir: dir, site: s, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if a.api, err = lab.StartAPIServer(s, dir); err != nil {
		return a, err
	}
	if a.leases, err = leasesOf(a.api); err != nil {
		return a, err
	}
	if a.trap, err = setTrap(ctx); err != nil {
		return a, err
	}
	a.cluster = lab.NewCluster(lab.ClusterConfig{
		Server: server, Site: s, Dir: dir, Kubeconfig: a.api.Kubeconfig, Namespace: lab.Namespace, Lease: lab.Lease, Etcd: true,
	})
	for _, r := range a.cluster.Replicas {
		d, err := makeDisk(ctx, filepath.Join(dir, r.Name+".disk"), r.Data)
		if err != nil {
			return a, err
		}
		a.disks = append(a.disks, d)
	}
	return a, a.cluster.Start()
}

func leasesOf(api *lab.APIServer) (coordinationclient.LeaseInterface, error) {
	config := rest.CopyConfig(api.Config())
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return clients.CoordinationV1().Leases(lab.Namespace), nil
}

// close ends and removes everything but the logs.
func (a *arena) close() error {
	var errs []error
	for _, d := range a.disks {
		errs = append(errs, d.unfreeze()) // or what waits for it never ends
	}
	if a.cluster != nil {
		a.cluster.Destroy()
	}
	for _, d := range a.disks {
		errs = append(errs, d.remove(), os.Remove(d.path))
	}
	if a.trap != nil {
		a.trap.close()
	}
	if a.api != nil {
		a.api.Close()
	}
	return errors.Join(errs...)
}

// mend undoes whatever has been done to the arena, but for processes that have ended.
func (a *arena) mend(ctx context.Context) error {
	errs := []error{a.api.Set(leasetest.Up), a.site.Heal(ctx)}
	for _, d := range a.disks {
		errs = append(errs, d.unfreeze(), d.clear())
	}
	for _, r := range a.cluster.Replicas {
		if r.Running() {
			if err := r.Do(lab.Thaw); err != nil && !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// recovery is how the cluster became healthy, or did not.
type recovery struct {
	view     lab.View
	restarts int      // of replicas that had ended
	obstacle obstacle // what was in the way for longest
}

// recovered waits until the cluster has been healthy for a while, with the Lease naming its leader. Meanwhile replicas that
// have ended are started again, as Kubernetes would.
func (a *arena) recovered(ctx context.Context, limit time.Duration) (r recovery, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var keeper sync.WaitGroup
	keeper.Go(func() { r.restarts = a.keepRunning(ctx) })
	defer keeper.Wait()
	defer cancel()
	since := time.Now()
	for {
		r.view, err = a.cluster.Healthy(ctx)
		if err == nil {
			err = a.leaseNames(ctx, r.view)
		}
		switch {
		case err != nil:
			r.obstacle.note(err)
			since = time.Now()
		case time.Since(since) > healthyFor:
			return r, nil
		}
		if !lab.Pause(ctx, pollEvery) {
			return r, fmt.Errorf("%w; what was in the way for longest, for %s: %s", ctx.Err(), report.Duration(r.obstacle.took), r.obstacle.text)
		}
	}
}

// obstacle is the error that has been there for longest.
type obstacle struct {
	text  string
	took  time.Duration
	now   string
	since time.Time
}

func (o *obstacle) note(err error) {
	if err.Error() != o.now {
		o.now, o.since = err.Error(), time.Now()
	}
	if took := time.Since(o.since); took > o.took || o.text == "" {
		o.text, o.took = o.now, took
	}
}

// keepRunning starts replicas that have ended until ctx is done, and returns how often it has.
func (a *arena) keepRunning(ctx context.Context) (restarts int) {
	for {
		for _, r := range a.cluster.Replicas {
			if !r.Running() && r.Start() == nil { // one that cannot be started keeps the cluster from being healthy
				restarts++
			}
		}
		if !lab.Pause(ctx, restartPause) {
			return restarts
		}
	}
}

// leaseNames is nil if the Lease names the leader, and its process.
func (a *arena) leaseNames(ctx context.Context, v lab.View) error {
	lease, err := a.lease(ctx)
	if err != nil {
		return err
	}
	holder, boot := deref(lease.Spec.HolderIdentity), election.BootOf(lease)
	if holder != v.Leader || boot != v.Boots()[v.Leader] {
		return fmt.Errorf("%s (%s) leads, but the Lease names %q (%s)", v.Leader, v.Boots()[v.Leader], holder, boot)
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
