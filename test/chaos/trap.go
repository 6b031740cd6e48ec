package main

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/leasehold/leasehold/test/lab"
)

// trap listens where a poisoned Lease points to, at an address with which no replica has any business: the clients'.
type trap struct {
	listeners []net.Listener
	accepting sync.WaitGroup
	caught    atomic.Int64 // connections
}

func setTrap(ctx context.Context) (*trap, error) {
	t := &trap{}
	for _, port := range []int{80, 443, lab.PublicPort, lab.InternalPort, lab.PeerPort} {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(lab.Clients.Address(), strconv.Itoa(port)))
		if err != nil {
			t.close()
			return nil, err
		}
		t.listeners = append(t.listeners, l)
		t.accepting.Go(func() { t.accept(l) })
	}
	return t, nil
}

func (t *trap) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // it has been closed
		}
		t.caught.Add(1)
		_ = conn.Close() // it has nothing to say
	}
}

func (t *trap) close() {
	for _, l := range t.listeners {
		_ = l.Close() // it only listens
	}
	t.accepting.Wait()
}
