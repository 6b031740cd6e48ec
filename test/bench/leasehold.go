package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/leasehold/leasehold/test/lab"
)

const nameLeasehold = "leasehold"

// requestLimit is how long a client waits for an answer.
const requestLimit = 10 * time.Second

func newLeasehold(ctx context.Context, cfg config) (system, error) {
	server, err := exec.LookPath(cfg.server)
	if err != nil {
		return system{}, fmt.Errorf("the server of Leasehold is missing (%w): build it with make build, or name it with -server", err)
	}
	version, err := exec.CommandContext(ctx, server, "version").Output()
	if err != nil {
		return system{}, fmt.Errorf("%s version: %w", server, err)
	}
	return system{
		name: nameLeasehold, title: "Leasehold", version: strings.TrimSpace(string(version)),
		durability: "on the disks of a majority (fsync) before it is acknowledged; another replica leads by itself",
		about:      "three replicas, the election held in the store. HTTP/1.1, one connection a client (fasthttp)",
		start: func(ctx context.Context, dir string) (cluster, error) {
			return startLeasehold(ctx, server, dir, nodes)
		},
	}, nil
}

// leasehold is replicas that run.
type leasehold struct {
	site lab.Site
	*lab.Cluster
}

func startLeasehold(ctx context.Context, server, dir string, replicas int, flags ...string) (leasehold, error) {
	site, err := lab.LoopbackSite(replicas)
	if err != nil {
		return leasehold{}, err
	}
	c := leasehold{site, lab.NewCluster(lab.ClusterConfig{Server: server, Site: site, Dir: dir, Flags: flags})}
	if err := c.Start(); err != nil {
		c.close()
		return leasehold{}, err
	}
	if _, err := c.AwaitHealthy(ctx, startLimit); err != nil {
		c.close()
		return leasehold{}, err
	}
	return c, nil
}

func (c leasehold) processes() []*lab.Replica { return c.Replicas }

func (c leasehold) close() {
	c.Destroy()
	c.site.Release()
}

func (c leasehold) leader(ctx context.Context) (int, error) {
	v, err := c.Healthy(ctx)
	if err != nil {
		return 0, err
	}
	r, err := c.Leader(v)
	if err != nil {
		return 0, err
	}
	return r.Ordinal, nil
}

func (c leasehold) connect(_ context.Context, n int, at func(int) int) (clients []client, err error) {
	for i := range n {
		clients = append(clients, newHTTPClient(c.Replicas[at(i)].URL))
	}
	return clients, nil
}

// httpClient is a connection to a replica.
type httpClient struct {
	base     string // of the URLs
	host     *fasthttp.HostClient
	get, put fasthttp.Request // apart, because a request keeps the length of its last body
	response fasthttp.Response
	tags     map[string]string // ETags of what swap has written
}

func newHTTPClient(base string) *httpClient {
	c := &httpClient{base: base, tags: map[string]string{}, host: &fasthttp.HostClient{
		Addr: strings.TrimPrefix(base, "http://"), MaxConns: 1, MaxIdemponentCallAttempts: 1,
		ReadTimeout: requestLimit, WriteTimeout: requestLimit, NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
	}}
	c.put.Header.SetMethod(fasthttp.MethodPut)
	c.put.Header.SetContentType("text/plain")
	return c
}

func (c *httpClient) close() { c.host.CloseIdleConnections() }

// doGet and doPut make a request, of which the answer is in c.response.
func (c *httpClient) doGet(address string) error {
	c.get.SetRequestURI(address)
	return c.host.Do(&c.get, &c.response)
}

func (c *httpClient) doPut(key string, value []byte) error {
	c.put.SetRequestURI(c.base + "/v1/kv/" + key)
	c.put.SetBody(value)
	return c.host.Do(&c.put, &c.response)
}

// failure is what an answer that is not 200 says.
func (c *httpClient) failure() error {
	return fmt.Errorf("%d %s", c.response.StatusCode(), bytes.TrimSpace(c.response.Body()))
}

func (c *httpClient) write(_ context.Context, key string, value []byte) error {
	if err := c.doPut(key, value); err != nil {
		return err
	}
	if c.response.StatusCode() != fasthttp.StatusOK {
		return c.failure()
	}
	return nil
}

func (c *httpClient) read(_ context.Context, key string, linearizable bool) ([]byte, error) {
	address := c.base + "/v1/kv/" + key
	if linearizable {
		address += "?consistency=linearizable"
	}
	if err := c.doGet(address); err != nil {
		return nil, err
	}
	if c.response.StatusCode() != fasthttp.StatusOK {
		return nil, c.failure()
	}
	return c.response.Body(), nil
}

func (c *httpClient) swap(_ context.Context, key string, value []byte) error {
	if tag := c.tags[key]; tag != "" {
		c.put.Header.Set("If-Match", tag)
	} else {
		c.put.Header.Set("If-None-Match", "*")
	}
	err := c.doPut(key, value)
	c.put.Header.Del("If-Match")
	c.put.Header.Del("If-None-Match")
	switch status := c.response.StatusCode(); {
	case err != nil:
		return err
	case status == fasthttp.StatusPreconditionFailed:
		return errConflict
	case status != fasthttp.StatusOK:
		return c.failure()
	}
	tag := string(c.response.Header.Peek("ETag"))
	if tag == "" {
		return errors.New("a write was answered without an ETag")
	}
	c.tags[key] = tag
	return nil
}

var entryStart = []byte(`{"key":"` + keyPrefix)

func (c *httpClient) list(_ context.Context, after string) (int, error) {
	address := fmt.Sprintf("%s/v1/kv?prefix=%s&limit=%d&after=%s", c.base, keyPrefix, listLimit, url.QueryEscape(after))
	if err := c.doGet(address); err != nil {
		return 0, err
	}
	if c.response.StatusCode() != fasthttp.StatusOK {
		return 0, c.failure()
	}
	return bytes.Count(c.response.Body(), entryStart), nil
}
