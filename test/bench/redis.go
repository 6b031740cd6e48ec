package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/leasehold/leasehold/internal/localports"
	"github.com/leasehold/leasehold/test/lab"
)

const nameRedis = "redis"

// replicaWait is how long Redis waits for a replica to have a write.
const replicaWait = 5 * time.Second

const (
	noFollowerWrites = "replicas take no writes"
	notLinearizable  = "there are no linearizable reads"
)

// errNotInstalled says that Redis is not there.
var errNotInstalled = errors.New("redis-server is not installed, so Redis is left out; on Debian: apt-get install redis-server, or name it with -redis")

func newRedis(ctx context.Context, cfg config) (system, error) {
	server, err := exec.LookPath(cfg.redis)
	if err != nil {
		return system{}, errNotInstalled
	}
	version, err := exec.CommandContext(ctx, server, "--version").Output()
	if err != nil {
		return system{}, fmt.Errorf("%s --version: %w", server, err)
	}
	return system{
		name: nameRedis, title: "Redis", version: redisVersion(string(version)),
		durability: "on the primary's disk (fsync) and received by one replica before it is acknowledged. Nobody takes over by itself, and what does " +
			"(Sentinel, Redis Cluster) may choose a replica without it: an acknowledged write can be lost in a failover",
		about: "one primary and two replicas, appendfsync always on all, no snapshots. RESP, one connection a client (go-redis), which sends each write " +
			"and its WAIT 1 together; a write counts when one replica has it. A conditional write is a script that compares the value",
		lacks: map[string]string{
			opWriteFollower: noFollowerWrites, opLinearizable: notLinearizable, opLinearizableFollow: notLinearizable,
			opList: "keys have no order to list them in",
		},
		start: func(ctx context.Context, dir string) (cluster, error) {
			return startRedis(ctx, server, dir)
		},
	}, nil
}

// redisVersion is the number in what redis-server --version says.
func redisVersion(text string) string {
	_, rest, found := strings.Cut(text, "v=")
	version, _, _ := strings.Cut(rest, " ")
	if !found || version == "" {
		return "unknown"
	}
	return version
}

// redisCluster is a primary, which is node 0, and its replicas.
type redisCluster struct {
	ports     *localports.Reservation
	servers   []*lab.Replica
	addresses []string
	pools     []*redis.Client // one a server
}

func startRedis(ctx context.Context, server, dir string) (cluster, error) {
	ports, err := localports.Block(nodes)
	if err != nil {
		return nil, err
	}
	c := &redisCluster{ports: ports}
	for i, port := range ports.Ports() {
		name := fmt.Sprintf("redis-%d", i)
		data := filepath.Join(dir, name)
		if err := makeFolder(data); err != nil {
			c.close()
			return nil, err
		}
		c.addresses = append(c.addresses, fmt.Sprintf("127.0.0.1:%d", port))
		c.pools = append(c.pools, newRedisPool(c.addresses[i]))
		args := []string{
			server, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", data, "--loglevel", "warning",
			"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", "",
			"--repl-diskless-sync-delay", "0",
		}
		if i > 0 {
			args = append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(ports.Ports()[0]))
		}
		c.servers = append(c.servers, lab.NewReplica(name, data+".log", args...))
	}
	if err := c.begin(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *redisCluster) begin(ctx context.Context) error {
	if err := start(c.servers); err != nil {
		return err
	}
	_, err := awaitLeader(ctx, c)
	return err
}

func newRedisPool(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 2 * maxClients,
		DialTimeout: requestLimit, ReadTimeout: requestLimit, WriteTimeout: requestLimit,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func (c *redisCluster) processes() []*lab.Replica { return c.servers }

func (c *redisCluster) close() {
	for _, p := range c.pools {
		_ = p.Close() // nothing is under way
	}
	destroy(c.servers)
	c.ports.Release()
}

// leader is the primary, if each replica follows it.
func (c *redisCluster) leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for i, p := range c.pools {
		want := "role:master\r\nconnected_slaves:2\r\n"
		if i > 0 {
			want = "master_link_status:up\r\n"
		}
		info, err := p.Info(ctx, "replication").Result()
		if err != nil {
			return 0, err
		}
		if !strings.Contains(info, want) || strings.Contains(info, "state=wait_bgsave") || strings.Contains(info, "state=send_bulk") {
			return 0, fmt.Errorf("%s does not replicate", c.servers[i].Name)
		}
	}
	return 0, nil
}

func (c *redisCluster) connect(ctx context.Context, n int, at func(int) int) (clients []client, err error) {
	for i := range n {
		r := &redisClient{here: c.pools[at(i)].Conn(), values: map[string]string{}}
		r.primary = r.here
		if at(i) != 0 {
			r.primary = c.pools[0].Conn()
		}
		clients = append(clients, r)
		if err := r.load(ctx); err != nil {
			closeAll(clients)
			return nil, err
		}
	}
	return clients, nil
}

// redisClient is a connection to a server, and one to the primary, which may be the same.
type redisClient struct {
	here, primary *redis.Conn
	values        map[string]string // what swap has written
}

func (c *redisClient) close() {
	_ = c.here.Close() // nothing is under way
	if c.primary != c.here {
		_ = c.primary.Close()
	}
}

// swapScript sets a key to ARGV[2] if it is ARGV[1], which is "" where there is to be none.
const swapScript = `if (redis.call("GET", KEYS[1]) or "") == ARGV[1] then redis.call("SET", KEYS[1], ARGV[2]) return 1 end return 0`

var swapping = redis.NewScript(swapScript)

// load has both connections made, and the script on the primary.
func (c *redisClient) load(ctx context.Context) error {
	return errors.Join(c.here.Ping(ctx).Err(), swapping.Load(ctx, c.primary).Err())
}

// replicated sends a command and waits until a replica has what it wrote, in one round trip.
func (c *redisClient) replicated(ctx context.Context, queue func(redis.Pipeliner)) error {
	p := c.primary.Pipeline()
	queue(p)
	wait := p.Do(ctx, "WAIT", 1, replicaWait.Milliseconds())
	if _, err := p.Exec(ctx); err != nil {
		return err
	}
	replicas, err := wait.Int()
	if err == nil && replicas < 1 {
		err = fmt.Errorf("no replica had a write within %s", replicaWait)
	}
	return err
}

func (c *redisClient) write(ctx context.Context, key string, value []byte) error {
	return c.replicated(ctx, func(p redis.Pipeliner) { p.Set(ctx, key, value, 0) })
}

func (c *redisClient) read(ctx context.Context, key string, linearizable bool) ([]byte, error) {
	if linearizable {
		return nil, errLacking
	}
	return c.here.Get(ctx, key).Bytes()
}

func (c *redisClient) swap(ctx context.Context, key string, value []byte) error {
	var swapped *redis.Cmd
	if err := c.replicated(ctx, func(p redis.Pipeliner) {
		swapped = p.EvalSha(ctx, swapping.Hash(), []string{key}, c.values[key], value)
	}); err != nil {
		return err
	}
	n, err := swapped.Int()
	if err != nil {
		return err
	}
	if n != 1 {
		return errConflict
	}
	c.values[key] = string(value)
	return nil
}

func (c *redisClient) list(context.Context, string) (int, error) { return 0, errLacking }
