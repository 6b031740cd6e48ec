package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/test/lab"
)

func leaseFaults() []fault {
	return []fault{
		{"lease-evil", "the Lease names a host outside of the set as its holder: no request goes there, and its lease is waited out", evil},
		{"lease-long", "the Lease says that it lasts for 68 years", poisoned(func(_ *strike, l *coordinationv1.Lease) {
			long := int32(math.MaxInt32)
			l.Spec.LeaseDurationSeconds = &long
		})},
		{"lease-boot", "the Lease names the leader, but another process of it", poisoned(func(_ *strike, l *coordinationv1.Lease) {
			election.SetBoot(l, "0000000000000000")
		})},
		{"lease-deleted", "the Lease is deleted", deleted},
	}
}

func (a *arena) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseLimit)
	defer cancel()
	return a.leases.Get(ctx, lab.Lease, metav1.GetOptions{})
}

const (
	leaseLimit = 10 * time.Second
	// poisonTries is how often the Lease is written in case the holder is quicker.
	poisonTries = 20
)

// poisoned changes the Lease, and leaves it so for a while.
func poisoned(change func(*strike, *coordinationv1.Lease)) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		s.target = "Lease"
		if err := s.poison(ctx, change); err != nil {
			return err
		}
		s.hold(ctx, 2*time.Second, 6*time.Second)
		return nil
	}
}

func (s *strike) poison(ctx context.Context, change func(*strike, *coordinationv1.Lease)) (err error) {
	for range poisonTries {
		lease, e := s.lease(ctx)
		if e != nil {
			return e
		}
		change(s, lease)
		if _, err = s.leases.Update(ctx, lease, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

func evil(ctx context.Context, s *strike) error {
	holders := []string{
		lab.Clients.Address(), lab.Clients.Address() + ":8080", "http://" + lab.Clients.Address() + "/", "leasehold-0@" + lab.Clients.Address(), "../" + lab.Clients.Address(),
	}
	holder := holders[s.rng.IntN(len(holders))]
	err := poisoned(func(_ *strike, l *coordinationv1.Lease) { l.Spec.HolderIdentity = &holder })(ctx, s)
	s.remark("%s", holder)
	return err
}

func deleted(ctx context.Context, s *strike) error {
	s.target = "Lease"
	ctx, cancel := context.WithTimeout(ctx, leaseLimit)
	defer cancel()
	if err := s.leases.Delete(ctx, lab.Lease, metav1.DeleteOptions{}); err != nil {
		return err
	}
	s.hold(ctx, time.Second, 4*time.Second)
	return nil
}

// leaseWatch is who held the Lease, one after another.
type leaseWatch struct {
	stop    func()
	reading sync.WaitGroup
	mu      sync.Mutex
	holders []string
}

// watchLease begins with who holds the Lease now.
func (s *strike) watchLease(ctx context.Context) (*leaseWatch, error) {
	events, err := s.leases.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + lab.Lease})
	if err != nil {
		return nil, err
	}
	w := &leaseWatch{stop: events.Stop}
	w.reading.Go(func() {
		for e := range events.ResultChan() {
			w.note(e)
		}
	})
	return w, nil
}

func (w *leaseWatch) note(e watch.Event) {
	lease, ok := e.Object.(*coordinationv1.Lease)
	if !ok {
		return
	}
	holder := ""
	if e.Type != watch.Deleted {
		holder = deref(lease.Spec.HolderIdentity)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holders = append(w.holders, holder)
}

// end returns an error if nothing was seen.
func (w *leaseWatch) end() error {
	w.stop()
	w.reading.Wait()
	if len(w.holders) == 0 {
		return fmt.Errorf("nothing was seen of the Lease")
	}
	return nil
}

// takenBack says how the Lease was emptied, or taken by the old holder, after somebody else had it; "" if it was not.
func (w *leaseWatch) takenBack(old string) string {
	successor := ""
	for _, holder := range w.holders {
		switch {
		case holder != "" && holder != old:
			successor = holder
		case successor != "":
			return fmt.Sprintf("after %s had the Lease from %s, it named %q", successor, old, holder)
		}
	}
	if successor == "" {
		return "nobody took the Lease from " + old
	}
	return ""
}
