package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	healthyFor  = 500 * time.Millisecond
	pollEvery   = 50 * time.Millisecond
	pollTimeout = 2 * time.Second
)

// Cluster is the replicas.
type Cluster struct {
	Replicas []*Replica // in the order of their ordinals
	client   *http.Client
}

// ClusterConfig says what a cluster is made of.
type ClusterConfig struct {
	Server string // path of the program
	Site   Site
	// Dir is where each replica has its data, in a folder that is called as it is, and its log.
	Dir string
	// Kubeconfig is a file that says where the API server is. The Lease is there. With "" the election is held in the
	// store, and there is no API server.
	Kubeconfig, Namespace, Lease string
	// Etcd opens the replicas' etcd to Site.Etcd. They are on networks of their own, then.
	Etcd bool
	// Flags are further flags of "server serve".
	Flags []string
}

// NewCluster makes a cluster, and starts nothing.
func NewCluster(cfg ClusterConfig) *Cluster {
	c := &Cluster{client: &http.Client{Timeout: pollTimeout, Transport: &http.Transport{
		DisableKeepAlives: true, // a cut would leave dead ones
		DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
	}}}
	client := ""
	if cfg.Etcd {
		client = etcdAddress
	}
	lock := "leases"
	if cfg.Kubeconfig == "" {
		lock = "store"
	}
	var peers []string
	for i, a := range cfg.Site.addresses {
		peers = append(peers, fmt.Sprintf("%s=%s:%d:%d", ReplicaName(i), a.host, a.internal, a.peer))
	}
	for i, a := range cfg.Site.addresses {
		name := ReplicaName(i)
		data := filepath.Join(cfg.Dir, name)
		c.Replicas = append(c.Replicas, &Replica{
			Ordinal: i, Name: name, URL: a.url(), Data: data, Log: data + ".log",
			// Without the second a pod that this program runs in would be taken for the replica's.
			env: append(os.Environ(), "KUBECONFIG="+cfg.Kubeconfig, "KUBERNETES_SERVICE_HOST="),
			command: cfg.Site.Command(i, append([]string{
				cfg.Server, "serve", "--name", name, "--data-dir", data,
				"--peers", strings.Join(peers, ","), "--listen", a.at(a.public), "--listen-internal", a.at(a.internal),
				"--listen-peer", a.at(a.peer), "--listen-client", client, "--leader-elect-resource-lock", lock,
				"--leader-elect-resource-name", cfg.Lease, "--leader-elect-resource-namespace", cfg.Namespace,
			}, cfg.Flags...)...),
		})
	}
	return c
}

// Start starts all replicas.
func (c *Cluster) Start() error {
	for _, r := range c.Replicas {
		if err := r.Start(); err != nil {
			return fmt.Errorf("start %s: %w", r.Name, err)
		}
	}
	return nil
}

// Destroy ends all replicas, and returns when they have ended.
func (c *Cluster) Destroy() {
	for _, r := range c.Replicas {
		r.Destroy()
	}
}

// Leader is the replica that leads, by a view.
func (c *Cluster) Leader(v View) (*Replica, error) {
	for _, r := range c.Replicas {
		if r.Name == v.Leader {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%q leads, which is none of the replicas", v.Leader)
}

// Others are all replicas but one.
func (c *Cluster) Others(than *Replica) (others []*Replica) {
	for _, r := range c.Replicas {
		if r != than {
			others = append(others, r)
		}
	}
	return others
}

// URLs are those of replicas.
func URLs(replicas []*Replica) (urls []string) {
	for _, r := range replicas {
		urls = append(urls, r.URL)
	}
	return urls
}

// AwaitHealthy waits until every replica has said for a while that all are ready voters and that one, the same, leads,
// and each has answered a linearizable read. The error says what is amiss at the limit.
func (c *Cluster) AwaitHealthy(ctx context.Context, limit time.Duration) (View, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	since := time.Now()
	for {
		v, err := c.Healthy(ctx)
		if err != nil {
			since = time.Now()
		} else if time.Since(since) > healthyFor {
			return v, nil
		}
		if !Pause(ctx, pollEvery) {
			return View{}, fmt.Errorf("the cluster does not become healthy (%w): %w", ctx.Err(), err)
		}
	}
}

// Healthy tells whether the cluster is healthy at the moment, as AwaitHealthy means it; the error says what is amiss.
func (c *Cluster) Healthy(ctx context.Context) (v View, err error) {
	leaders := 0
	for i, r := range c.Replicas {
		seen, err := c.viewOf(ctx, r)
		if err != nil {
			return View{}, fmt.Errorf("%s: %w", r.Name, err)
		}
		if i > 0 && (seen.Leader != v.Leader || seen.Epoch != v.Epoch) {
			return View{}, fmt.Errorf("%s says that %s leads under %d, %s says %s under %d",
				c.Replicas[0].Name, v.Leader, v.Epoch, r.Name, seen.Leader, seen.Epoch)
		}
		v = seen
		if a, err := c.get(ctx, r.URL+"/leaderz"); err == nil && a.Status == http.StatusOK {
			leaders++
		}
	}
	if leaders != 1 {
		return View{}, fmt.Errorf("%d replicas believe that they lead", leaders)
	}
	return v, nil
}

// viewOf is the view of a replica that finds everything healthy, and is ready itself.
func (c *Cluster) viewOf(ctx context.Context, r *Replica) (v View, err error) {
	if err := c.getJSON(ctx, r.URL+"/v1/cluster", &v); err != nil {
		return View{}, err
	}
	if err := v.Fault(len(c.Replicas)); err != nil {
		return View{}, err
	}
	for _, path := range []string{"/readyz", "/v1/kv?limit=1&consistency=linearizable"} {
		a, err := c.get(ctx, r.URL+path)
		if err != nil {
			return View{}, err
		}
		if a.Status != http.StatusOK {
			return View{}, fmt.Errorf("%s: %s", path, a)
		}
	}
	return v, nil
}

func (c *Cluster) get(ctx context.Context, address string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	a, err := Send(c.client, req)
	var failed *url.Error
	if errors.As(err, &failed) && failed.Timeout() {
		return a, fmt.Errorf("no answer within %s to %s", pollTimeout, req.URL.RequestURI())
	}
	return a, err
}

func (c *Cluster) getJSON(ctx context.Context, address string, into any) error {
	a, err := c.get(ctx, address)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK {
		return fmt.Errorf("%s: %s", address, a)
	}
	return json.Unmarshal(a.Body, into)
}
