package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/localports"
	"github.com/leasehold/leasehold/test/lab"
)

const nameEtcd = "etcd"

func newEtcd(ctx context.Context, cfg config) (system, error) {
	server, err := exec.LookPath(cfg.etcd)
	if err != nil {
		return system{}, fmt.Errorf("etcd is missing (%w): build it with (cd test/bench && go build -o ../../bin/ ./etcd), or name it with -etcd", err)
	}
	version, err := exec.CommandContext(ctx, server, "--version").Output()
	if err != nil {
		return system{}, fmt.Errorf("%s --version: %w", server, err)
	}
	first, _, _ := strings.Cut(string(version), "\n")
	return system{
		name: nameEtcd, title: "etcd", version: strings.TrimPrefix(first, "etcd Version: "),
		durability: "on the disks of a majority (fsync) before it is acknowledged; another member leads by itself",
		about: fmt.Sprintf("three members with etcd's own settings. gRPC, etcd's Go client; %d clients share a connection, "+
			"which serves etcd best of what was tried", cfg.etcdShare),
		start: func(ctx context.Context, dir string) (cluster, error) {
			return startEtcd(ctx, server, dir, cfg.etcdShare)
		},
	}, nil
}

// etcdCluster is three members.
type etcdCluster struct {
	ports     *localports.Reservation
	members   []*lab.Replica
	endpoints []string
	share     int // how many clients share a connection
	admin     []*clientv3.Client
}

func startEtcd(ctx context.Context, server, dir string, share int) (cluster, error) {
	ports, err := localports.Block(2 * nodes)
	if err != nil {
		return nil, err
	}
	c := &etcdCluster{ports: ports, share: share}
	var peers []string
	for i := range nodes {
		c.endpoints = append(c.endpoints, fmt.Sprintf("http://127.0.0.1:%d", ports.Ports()[2*i]))
		peers = append(peers, fmt.Sprintf("etcd-%d=http://127.0.0.1:%d", i, ports.Ports()[2*i+1]))
	}
	for i := range nodes {
		name, peer, _ := strings.Cut(peers[i], "=")
		data := filepath.Join(dir, name)
		c.members = append(c.members, lab.NewReplica(name, data+".log", server, "--name", name, "--data-dir", data,
			"--listen-client-urls", c.endpoints[i], "--advertise-client-urls", c.endpoints[i],
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-token", filepath.Base(dir),
			"--quota-backend-bytes", "8589934592", "--log-level", "warn"))
	}
	if err := c.begin(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *etcdCluster) begin(ctx context.Context) error {
	if err := start(c.members); err != nil {
		return err
	}
	for _, e := range c.endpoints {
		admin, err := newEtcdConnection(e)
		if err != nil {
			return err
		}
		c.admin = append(c.admin, admin)
	}
	_, err := awaitLeader(ctx, c)
	return err
}

func newEtcdConnection(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: requestLimit, Logger: zap.NewNop(), MaxUnaryRetries: 1})
}

func (c *etcdCluster) processes() []*lab.Replica { return c.members }

func (c *etcdCluster) close() {
	for _, a := range c.admin {
		_ = a.Close() // nothing is under way
	}
	destroy(c.members)
	c.ports.Release()
}

func (c *etcdCluster) leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	leader, members := -1, map[uint64]bool{}
	for i, e := range c.endpoints {
		status, err := c.admin[i].Status(ctx, e)
		if err != nil {
			return 0, err
		}
		members[status.Leader] = true
		if status.Leader == status.Header.MemberId {
			leader = i
		}
	}
	if leader < 0 || len(members) != 1 {
		return 0, errors.New("the members do not agree who leads")
	}
	return leader, nil
}

// connect spreads the clients over connections, of which each goes to one member, and each member that is asked has one.
func (c *etcdCluster) connect(_ context.Context, n int, at func(int) int) (clients []client, err error) {
	shared := map[int][]*clientv3.Client{} // by member
	for i := range n {
		member, e := at(i), &etcdClient{revisions: map[string]int64{}}
		if i*c.share < n || len(shared[member]) == 0 {
			if e.conn, err = newEtcdConnection(c.endpoints[member]); err != nil {
				closeAll(clients)
				return nil, err
			}
			e.closer = e.conn
			shared[member] = append(shared[member], e.conn)
		} else {
			e.conn = shared[member][i%len(shared[member])]
		}
		clients = append(clients, e)
	}
	return clients, nil
}

// etcdClient is one client on a connection that may be shared.
type etcdClient struct {
	conn      *clientv3.Client
	closer    io.Closer        // of the connection, with the client that made it
	revisions map[string]int64 // of what swap has written
}

func (c *etcdClient) close() {
	if c.closer != nil {
		_ = c.closer.Close() // nothing is under way
	}
}

func (c *etcdClient) write(ctx context.Context, key string, value []byte) error {
	_, err := c.conn.Put(ctx, key, string(value))
	return err
}

func (c *etcdClient) read(ctx context.Context, key string, linearizable bool) ([]byte, error) {
	var options []clientv3.OpOption
	if !linearizable {
		options = append(options, clientv3.WithSerializable())
	}
	resp, err := c.conn.Get(ctx, key, options...)
	if err != nil {
		return nil, err
	}
	if len(resp.Kvs) == 0 {
		return nil, fmt.Errorf("there is no %s", key)
	}
	return resp.Kvs[0].Value, nil
}

// swap relies on the revision of a key that does not exist being 0.
func (c *etcdClient) swap(ctx context.Context, key string, value []byte) error {
	resp, err := c.conn.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", c.revisions[key])).
		Then(clientv3.OpPut(key, string(value))).Commit()
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return errConflict
	}
	c.revisions[key] = resp.Header.Revision
	return nil
}

func (c *etcdClient) list(ctx context.Context, after string) (int, error) {
	resp, err := c.conn.Get(ctx, after+"\x00", clientv3.WithRange(clientv3.GetPrefixRangeEnd(keyPrefix)),
		clientv3.WithLimit(listLimit), clientv3.WithSerializable())
	if err != nil {
		return 0, err
	}
	return len(resp.Kvs), nil
}
