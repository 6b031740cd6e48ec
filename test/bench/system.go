package main

import (
	"context"
	"errors"
	"os"

	"github.com/leasehold/leasehold/test/lab"
)

// nodes is how many nodes each system has.
const nodes = 3

var systemNames = []string{nameLeasehold, nameEtcd, nameRedis}

// system is something that is measured.
type system struct {
	name, title string
	version     string
	durability  string            // of an acknowledged write
	about       string            // how it runs and is driven
	lacks       map[string]string // the operations that it does not have, and why
	start       func(ctx context.Context, dir string) (cluster, error)
}

// cluster is a system's nodes, which run.
type cluster interface {
	// leader is the node that takes writes. The error says what is amiss with any of the nodes.
	leader(ctx context.Context) (int, error)
	// connect makes n clients, of which client i talks to node at(i).
	connect(ctx context.Context, n int, at func(i int) int) ([]client, error)
	// processes are those of the nodes.
	processes() []*lab.Replica
	// close ends the nodes, and returns when they have ended.
	close()
}

// client is one client of a system. Only one goroutine at a time may use it.
type client interface {
	write(ctx context.Context, key string, value []byte) error
	// read returns a value that is valid until the next call.
	read(ctx context.Context, key string, linearizable bool) ([]byte, error)
	// swap replaces a value if it is the one that this client's last swap of the key left; errConflict if it is not.
	// The first swap of a key creates it.
	swap(ctx context.Context, key string, value []byte) error
	// list returns how many entries it was given of the first listLimit whose keys follow after.
	list(ctx context.Context, after string) (int, error)
	close()
}

var (
	errConflict = errors.New("the value is another one")
	errLacking  = errors.New("the system does not have this operation")
)

// start starts processes, or none.
func start(processes []*lab.Replica) error {
	for _, p := range processes {
		if err := p.Start(); err != nil {
			destroy(processes)
			return err
		}
	}
	return nil
}

func destroy(processes []*lab.Replica) {
	for _, p := range processes {
		p.Destroy()
	}
}

func pids(processes []*lab.Replica) (pids []int, err error) {
	for _, p := range processes {
		if err := p.Do(func(p *os.Process) error { pids = append(pids, p.Pid); return nil }); err != nil {
			return nil, err
		}
	}
	return pids, nil
}

func closeAll(clients []client) {
	for _, c := range clients {
		c.close()
	}
}
