package resolver

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// lookupLimit leaves time for DNS and a dial: a leader that is asked whether it leads has 300 ms to answer.
	lookupLimit = 150 * time.Millisecond
	// fresh is how long an answer is used again: a dead peer is dialed many times a second.
	fresh = time.Second
	// pause is how long a lookup that has failed is not repeated, so that an outage does not delay every dial.
	pause = 5 * time.Second
	// dnsMemory is how long DNS keeps an answer, as a rule.
	dnsMemory = 30 * time.Second
)

// directory is where the pods are, as lookup says. It is as large as the set.
type directory struct {
	lookup Lookup
	shared singleflight.Group

	mu    sync.Mutex
	known map[string]entry
}

// entry is what is known of one pod.
type entry struct {
	addrs []netip.Addr
	err   error
	asked time.Time // when addrs and err were true, at the latest
	next  time.Time // when the lookup is due again
}

func newDirectory(lookup Lookup) *directory {
	return &directory{lookup: lookup, known: map[string]entry{}}
}

// find returns the addresses of a pod, or ErrNoPod. Any other error means that they are not known. It blocks for lookupLimit at most.
func (d *directory) find(ctx context.Context, pod string) ([]netip.Addr, error) {
	d.mu.Lock()
	e, ok := d.known[pod]
	d.mu.Unlock()
	if ok && time.Now().Before(e.next) {
		return e.addrs, e.err
	}
	found := d.shared.DoChan(pod, func() (any, error) {
		e := d.ask(pod)
		return e.addrs, e.err
	})
	select {
	case r := <-found:
		addrs, _ := r.Val.([]netip.Addr)
		return addrs, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask looks a pod up, for all who want to know.
func (d *directory) ask(pod string) entry {
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	asked := time.Now()
	addrs, err := d.lookup(ctx, pod)
	now := time.Now()
	e := entry{addrs: addrs, err: err, asked: asked, next: now.Add(fresh)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && !errors.Is(err, ErrNoPod) {
		e.next = now.Add(pause)
		// An address that was learned within the time for which DNS remembers is no older than what DNS says. Later DNS is newer: only
		// this pod may be cut off from the API server, while others get new addresses.
		if last := d.known[pod]; len(last.addrs) > 0 && now.Sub(last.asked) < dnsMemory {
			e.addrs, e.err, e.asked = last.addrs, nil, last.asked
		}
	}
	d.known[pod] = e
	return e
}
