package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"k8s.io/klog/v2"

	"github.com/leasehold/leasehold/internal/localports"
	"github.com/leasehold/leasehold/internal/store"
)

const patience = time.Minute

// client-go's elector logs by klog, which knows nothing of tests.
func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// cluster is replicas in this process, each with ports and a folder of its own that it keeps over restarts.
type cluster struct {
	t     *testing.T
	nodes []*node
	http  *http.Client
}

type node struct {
	cluster *cluster
	cfg     serveConfig
	ports   nodePorts

	mu      sync.Mutex
	replica *replica
	stop    context.CancelFunc
	done    chan error
}

type nodePorts struct{ api, internal, peer int }

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// startCluster starts n replicas and waits until all are ready and one leads.
func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	return startClusterWith(t, n)
}

// startClusterWith is startCluster with further flags.
func startClusterWith(t *testing.T, n int, flags ...string) *cluster {
	t.Helper()
	block, err := localports.Block(3 * n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(block.Release)
	c := &cluster{t: t, http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.http.CloseIdleConnections)
	free := block.Ports()
	var peers []string
	for i := range n {
		p := nodePorts{api: free[3*i], internal: free[3*i+1], peer: free[3*i+2]}
		c.nodes = append(c.nodes, &node{cluster: c, ports: p})
		peers = append(peers, fmt.Sprintf("leasehold-%d=127.0.0.1:%d:%d", i, p.internal, p.peer))
	}
	for i, nd := range c.nodes {
		nd.cfg = testConfig(t, fmt.Sprintf("leasehold-%d", i), strings.Join(peers, ","), nd.ports, flags...)
	}
	t.Cleanup(c.stopAll)
	for _, nd := range c.nodes {
		nd.start()
	}
	c.waitReady()
	c.leader()
	return c
}

func testConfig(t *testing.T, name, peers string, p nodePorts, flags ...string) serveConfig {
	t.Helper()
	cfg, err := parseServe(append([]string{
		"--name", name, "--peers", peers, "--data-dir", filepath.Join(t.TempDir(), name),
		"--listen", local(p.api), "--listen-internal", local(p.internal), "--listen-peer", local(p.peer), "--listen-client", "",
		"--leader-elect-lease-duration", "4s", "--leader-elect-renew-deadline", "2s", "--leader-elect-retry-period", "500ms",
	}, flags...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs the replica, from whatever is in its folder.
func (n *node) start() {
	n.cluster.t.Helper()
	level := zapcore.WarnLevel
	if os.Getenv("LEASEHOLD_TEST_LOG") != "" {
		level = zapcore.InfoLevel
	}
	log := zaptest.NewLogger(quiet{n.cluster.t}, zaptest.Level(level)).Named(n.cfg.name)
	r, err := newReplica(n.cfg, nil, log)
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	n.mu.Lock()
	n.replica, n.stop, n.done = r, stop, done
	n.mu.Unlock()
	go func() { done <- r.run(ctx) }()
}

// quiet drops what is logged after the test, when nobody may log to it any more.
type quiet struct{ *testing.T }

func (q quiet) Logf(format string, args ...any) {
	if q.Context().Err() == nil {
		q.T.Logf(format, args...)
	}
}

// shutdown is SIGTERM: the replica stops in good order.
func (n *node) shutdown() {
	n.cluster.t.Helper()
	n.mu.Lock()
	stop, done := n.stop, n.done
	n.replica = nil
	n.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			n.cluster.t.Errorf("%s stopped with: %v", n.cfg.name, err)
		}
	case <-time.After(patience):
		n.cluster.t.Fatalf("%s does not stop", n.cfg.name)
	}
	n.mu.Lock()
	n.stop = nil
	n.mu.Unlock()
}

// crash is kill -9, as far as one process can play it: the member and the listeners are gone at once, and
// nothing that the rest still does reaches anybody.
func (n *node) crash() {
	n.mu.Lock()
	r := n.replica
	n.mu.Unlock()
	r.public.close()
	r.internal.close()
	r.member.Kill()
}

// wipe removes the replica's disk. It must not be running.
func (n *node) wipe() {
	if err := os.RemoveAll(n.cfg.dataDir); err != nil {
		n.cluster.t.Fatal(err)
	}
}

func (c *cluster) stopAll() {
	var stopping sync.WaitGroup
	for _, n := range c.nodes {
		stopping.Go(n.shutdown)
	}
	stopping.Wait()
}

func (n *node) url(path string) string { return "http://" + local(n.ports.api) + path }

func (n *node) running() *replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.replica
}

// reply is what came back, read to the end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (n *node) do(method, path, body string, headers ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.url(path), strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.cluster.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(bytes.TrimSpace(b))}, err
}

// must is do with an expected status.
func (n *node) must(status int, method, path, body string, headers ...string) reply {
	n.cluster.t.Helper()
	r, err := n.do(method, path, body, headers...)
	if err != nil {
		n.cluster.t.Fatalf("%s %s on %s: %v", method, path, n.cfg.name, err)
	}
	if r.status != status {
		n.cluster.t.Fatalf("%s %s on %s: %d %s, want %d", method, path, n.cfg.name, r.status, r.body, status)
	}
	return r
}

// leader waits until exactly one replica leads and all that run agree on it.
func (c *cluster) leader() *node {
	c.t.Helper()
	var leader *node
	eventually(c.t, func() error {
		leader = nil
		for _, n := range c.nodes {
			if r := n.running(); r != nil && r.leads(store.Writes) {
				if leader != nil {
					return fmt.Errorf("%s and %s lead", leader.cfg.name, n.cfg.name)
				}
				leader = n
			}
		}
		if leader == nil {
			return errors.New("nobody leads")
		}
		for _, n := range c.nodes {
			if r := n.running(); r != nil && r.leaderOf(store.Writes) != leader.cfg.name {
				return fmt.Errorf("%s thinks that %q leads, not %s", n.cfg.name, r.leaderOf(store.Writes), leader.cfg.name)
			}
		}
		return nil
	})
	return leader
}

// followers are the replicas that run and do not lead.
func (c *cluster) followers() []*node {
	c.t.Helper()
	leader := c.leader()
	var others []*node
	for _, n := range c.nodes {
		if n != leader && n.running() != nil {
			others = append(others, n)
		}
	}
	return others
}

// waitReady waits until every replica that runs is ready.
func (c *cluster) waitReady() {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.running() == nil {
			continue
		}
		eventually(c.t, func() error {
			r, err := n.do("GET", "/readyz", "")
			if err != nil {
				return err
			}
			if r.status != http.StatusOK {
				return fmt.Errorf("%s is not ready: %s", n.cfg.name, r.body)
			}
			return nil
		})
	}
}

// eventually polls until check returns nil; on time-out it says why not yet.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
		<-tick.C
	}
}

// load writes numbered keys through the given replicas until it is stopped, retrying as clients are told to.
type load struct {
	mu     sync.Mutex
	acked  map[string]string
	failed []string
	quit   chan struct{}
	done   sync.WaitGroup
}

func startLoad(name string, through ...*node) *load {
	l := &load{acked: map[string]string{}, quit: make(chan struct{})}
	for i := range 4 {
		l.done.Go(func() { l.write(fmt.Sprintf("%s-%d", name, i), through) })
	}
	return l
}

func (l *load) write(name string, through []*node) {
	for i := 0; ; i++ {
		select {
		case <-l.quit:
			return
		default:
		}
		key := fmt.Sprintf("%s-%d", name, i)
		r, err := through[i%len(through)].do("PUT", "/v1/kv/"+key, "value of "+key, "Idempotency-Key", key)
		l.mu.Lock()
		if err == nil && r.status == http.StatusOK {
			l.acked[key] = "value of " + key
		} else {
			l.failed = append(l.failed, fmt.Sprintf("%s: %v %d %s", key, err, r.status, r.body))
		}
		l.mu.Unlock()
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// waitMore waits until n more writes have been acknowledged.
func (l *load) waitMore(t *testing.T, n int) {
	t.Helper()
	target := l.count() + n
	eventually(t, func() error {
		if got := l.count(); got < target {
			return fmt.Errorf("%d of %d writes are acknowledged", got, target)
		}
		return nil
	})
}

// stop ends the load and checks that no write failed and that every acknowledged one can be read on n.
func (l *load) stop(t *testing.T, n *node) {
	t.Helper()
	close(l.quit)
	l.done.Wait()
	for _, f := range l.failed {
		t.Errorf("failed: %s", f)
	}
	for key, value := range l.acked {
		r := n.must(http.StatusOK, "GET", "/v1/kv/"+key+"?consistency=linearizable", "")
		if r.body != value {
			t.Errorf("%s is %q, want %q", key, r.body, value)
		}
	}
	t.Logf("%d writes acknowledged, %d failed", len(l.acked), len(l.failed))
}

func decodeInto(t *testing.T, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
}
