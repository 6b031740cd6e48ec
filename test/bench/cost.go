package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/leasehold/leasehold/internal/localports"
	"github.com/leasehold/leasehold/test/lab"
)

// costClients is how many clients the cost is measured with.
const costClients = 64

// cost is what a system's clients need, and what they can do, when the server does nothing.
type cost struct {
	system      string
	write, read figures
}

// generatorCosts measures each system's clients against a server that does nothing.
func generatorCosts(ctx context.Context, cfg config, systems []system, dir string) (costs []cost, err error) {
	for _, s := range systems {
		c, err := generatorCost(ctx, cfg, s, dir)
		if err != nil {
			return nil, fmt.Errorf("the clients of %s, against a server that does nothing: %w", s.title, err)
		}
		costs = append(costs, c)
	}
	return costs, nil
}

func generatorCost(ctx context.Context, cfg config, s system, dir string) (c cost, err error) {
	null, err := startNull(ctx, s.name, cfg, filepath.Join(dir, "null-"+s.name+".log"))
	if err != nil {
		return cost{}, err
	}
	defer null.close()
	c.system = s.title
	for _, part := range []struct {
		op   string
		into *figures
	}{{opWrite, &c.write}, {opRead, &c.read}} {
		o := operations[slices.Index(operationNames(), part.op)]
		o.at = func(int, int) int { return 0 }
		if *part.into, err = load(ctx, null, o, costClients, cfg.warmUp(), cfg.cell/2); err != nil {
			return cost{}, err
		}
		if len(part.into.errors) > 0 {
			return cost{}, errors.New(part.into.errors[0])
		}
	}
	return c, nil
}

// nullCluster is one process that does nothing but answer.
type nullCluster struct {
	connector
	process *lab.Replica
	release func()
}

type connector interface {
	connect(ctx context.Context, n int, at func(i int) int) ([]client, error)
}

func startNull(ctx context.Context, name string, cfg config, log string) (cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := localports.Block(1)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports.Ports()[0])
	c := nullCluster{connectorTo(name, address, cfg), lab.NewReplica("null", log, self, nullCommand, name, address), ports.Release}
	if err := c.process.Start(); err != nil {
		ports.Release()
		return nil, err
	}
	if err := await(ctx, "the server", func(ctx context.Context) error { return answers(ctx, address) }); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func answers(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// connectorTo makes the clients of the system of that name.
func connectorTo(name, address string, cfg config) connector {
	switch name {
	case nameEtcd:
		return &etcdCluster{endpoints: []string{"http://" + address}, share: cfg.etcdShare}
	case nameRedis:
		return &redisCluster{pools: []*redis.Client{newRedisPool(address)}}
	}
	return leasehold{Cluster: &lab.Cluster{Replicas: []*lab.Replica{{URL: "http://" + address}}}}
}

func (nullCluster) leader(context.Context) (int, error) { return 0, nil }

func (c nullCluster) processes() []*lab.Replica { return []*lab.Replica{c.process} }

func (c nullCluster) close() {
	c.process.Destroy()
	c.release()
}
