package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	healthyLimit = 3 * time.Minute
	healthyFor   = 500 * time.Millisecond
	pollEvery    = 50 * time.Millisecond
	pollTimeout  = 2 * time.Second
	maxAnswer    = 1 << 20
)

// cluster is the replicas.
type cluster struct {
	site     site
	replicas []*replica
	client   *http.Client
}

// newCluster makes a cluster whose data and logs are in dir.
func newCluster(cfg config, s site, dir, kubeconfig, lease string) *cluster {
	c := &cluster{site: s, client: &http.Client{Timeout: pollTimeout, Transport: &http.Transport{
		DisableKeepAlives: true, // a cut would leave dead ones
		DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
	}}}
	var peers []string
	for i, a := range s.addresses {
		peers = append(peers, fmt.Sprintf("%s=%s:%d:%d", replicaName(i), a.host, a.internal, a.peer))
	}
	for i, a := range s.addresses {
		name := replicaName(i)
		c.replicas = append(c.replicas, &replica{
			ordinal: i, name: name, url: a.url(), log: filepath.Join(dir, name+".log"),
			// Without the second a pod that this program runs in would be taken for the replica's.
			env: append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBERNETES_SERVICE_HOST="),
			command: s.command(i, cfg.server, "serve", "--name", name, "--data-dir", filepath.Join(dir, name),
				"--peers", strings.Join(peers, ","), "--listen", a.at(a.public), "--listen-internal", a.at(a.internal),
				"--listen-peer", a.at(a.peer), "--listen-client", "", "--leader-elect-resource-lock", "leases",
				"--leader-elect-resource-name", lease, "--leader-elect-resource-namespace", cfg.namespace),
		})
	}
	return c
}

func replicaName(ordinal int) string { return fmt.Sprintf("leasehold-%d", ordinal) }

func (c *cluster) start() error {
	for _, r := range c.replicas {
		if err := r.start(); err != nil {
			return fmt.Errorf("start %s: %w", r.name, err)
		}
	}
	return nil
}

func (c *cluster) destroy() {
	for _, r := range c.replicas {
		r.destroy()
	}
}

func (c *cluster) replica(name string) (*replica, error) {
	for _, r := range c.replicas {
		if r.name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%q leads, which is none of the replicas", name)
}

// others are all replicas but one.
func (c *cluster) others(than *replica) (others []*replica) {
	for _, r := range c.replicas {
		if r != than {
			others = append(others, r)
		}
	}
	return others
}

func urls(replicas []*replica) (urls []string) {
	for _, r := range replicas {
		urls = append(urls, r.url)
	}
	return urls
}

// view is what a replica says of the cluster.
type view struct {
	Leader   string
	Epoch    uint64
	Replicas []viewReplica
}

type viewReplica struct {
	Pod              string
	Voter            bool
	Reachable, Ready bool
	BootID           string `json:"boot_id"`
}

// boots are the boot IDs by replica.
func (v view) boots() map[string]string {
	boots := map[string]string{}
	for _, r := range v.Replicas {
		boots[r.Pod] = r.BootID
	}
	return boots
}

// fault is what is wrong with the cluster, by this view; nil if it is healthy.
func (v view) fault() error {
	if v.Leader == "" {
		return errors.New("nobody leads")
	}
	if len(v.Replicas) != replicaCount {
		return fmt.Errorf("there are %d members", len(v.Replicas))
	}
	for _, r := range v.Replicas {
		if !r.Voter || !r.Reachable || !r.Ready {
			return fmt.Errorf("%s: voter %t, reachable %t, ready %t", r.Pod, r.Voter, r.Reachable, r.Ready)
		}
	}
	return nil
}

// awaitHealthy waits until every replica has said for a while that all are ready voters and that one, the same,
// leads.
func (c *cluster) awaitHealthy(ctx context.Context) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, healthyLimit)
	defer cancel()
	since := time.Now()
	for {
		v, err := c.healthy(ctx)
		if err != nil {
			since = time.Now()
		} else if time.Since(since) > healthyFor {
			return v, nil
		}
		if !pause(ctx, pollEvery) {
			return view{}, fmt.Errorf("the cluster does not become healthy (%w): %w", ctx.Err(), err)
		}
	}
}

func (c *cluster) healthy(ctx context.Context) (v view, err error) {
	leaders := 0
	for i, r := range c.replicas {
		var seen view
		if err := c.getJSON(ctx, r.url+"/v1/cluster", &seen); err != nil {
			return view{}, err
		}
		if err := seen.fault(); err != nil {
			return view{}, fmt.Errorf("%s says: %w", r.name, err)
		}
		if i > 0 && (seen.Leader != v.Leader || seen.Epoch != v.Epoch) {
			return view{}, fmt.Errorf("%s says that %s leads under %d, %s says %s under %d",
				c.replicas[0].name, v.Leader, v.Epoch, r.name, seen.Leader, seen.Epoch)
		}
		v = seen
		if a, err := c.get(ctx, r.url+"/readyz"); err != nil || a.status != http.StatusOK {
			return view{}, fmt.Errorf("%s is not ready: %d %w", r.name, a.status, err)
		}
		if a, err := c.get(ctx, r.url+"/leaderz"); err == nil && a.status == http.StatusOK {
			leaders++
		}
	}
	if leaders != 1 {
		return view{}, fmt.Errorf("%d replicas believe that they lead", leaders)
	}
	return v, nil
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// String is the status and the problem's detail.
func (a answer) String() string {
	var problem struct{ Detail string }
	_ = json.Unmarshal(a.body, &problem) // without a detail the status has to do
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, problem.Detail))
}

func (c *cluster) get(ctx context.Context, url string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	return send(c.client, req)
}

func (c *cluster) getJSON(ctx context.Context, url string, into any) error {
	a, err := c.get(ctx, url)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %s", url, a)
	}
	return json.NewDecoder(bytes.NewReader(a.body)).Decode(into)
}

func send(client *http.Client, req *http.Request) (answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, resp.Header, body}, err
}

// pause returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
