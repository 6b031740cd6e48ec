package sidecar

import (
	"context"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// leases is the way of every request about the Lease: what comes back is noted, a release waits until nobody here believes
// in the Lease any more, and the Lease is not taken by who must not.
type leases struct {
	coordinationclient.LeasesGetter
	tenure *tenure
}

// Leases implements coordinationclient.LeasesGetter.
func (l leases) Leases(namespace string) coordinationclient.LeaseInterface {
	return leaseClient{l.LeasesGetter.Leases(namespace), l.tenure}
}

type leaseClient struct {
	coordinationclient.LeaseInterface
	tenure *tenure
}

func (c leaseClient) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := c.LeaseInterface.Get(ctx, name, o)
	switch {
	case err == nil:
		c.tenure.note(lease)
	case apierrors.IsNotFound(err):
		c.tenure.gone("")
	}
	return lease, err
}

func (c leaseClient) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return c.write(func() (*coordinationv1.Lease, error) { return c.LeaseInterface.Create(ctx, lease, o) })
}

func (c leaseClient) Update(ctx context.Context, lease *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	update := func() (*coordinationv1.Lease, error) { return c.LeaseInterface.Update(ctx, lease, o) }
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		return c.write(update)
	}
	if err := c.tenure.quiet(ctx); err != nil {
		return nil, fmt.Errorf("the Lease is kept until it runs out: %w", err)
	}
	released, err := update()
	if err == nil {
		c.tenure.note(released)
	}
	return released, err
}

// write acquires or renews the Lease.
func (c leaseClient) write(do func() (*coordinationv1.Lease, error)) (*coordinationv1.Lease, error) {
	if err := c.tenure.takes(); err != nil {
		return nil, err
	}
	start := time.Now()
	written, err := do()
	if err == nil {
		c.tenure.wrote(written, start)
	}
	return written, err
}

func (c leaseClient) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := c.LeaseInterface.Watch(ctx, o)
	if err != nil {
		return nil, err
	}
	n := &notedWatch{Interface: w, tenure: c.tenure, events: make(chan watch.Event), stopped: make(chan struct{})}
	go n.run()
	return n, nil
}

// notedWatch is a watch whose events are noted on their way.
type notedWatch struct {
	watch.Interface
	tenure  *tenure
	events  chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

func (n *notedWatch) run() {
	defer close(n.events)
	for e := range n.Interface.ResultChan() {
		lease, ok := e.Object.(*coordinationv1.Lease)
		switch {
		case ok && e.Type == watch.Deleted:
			n.tenure.gone(lease.ResourceVersion)
		case ok:
			n.tenure.note(lease)
		}
		select {
		case n.events <- e:
		case <-n.stopped:
			return
		}
	}
}

// ResultChan implements watch.Interface.
func (n *notedWatch) ResultChan() <-chan watch.Event { return n.events }

// Stop implements watch.Interface.
func (n *notedWatch) Stop() {
	n.once.Do(func() { close(n.stopped) })
	n.Interface.Stop()
}
