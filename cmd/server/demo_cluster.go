package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/client"
)

// demoCluster is the three replicas, and what they say about who leads.
type demoCluster struct {
	members []*supervised
	client  *http.Client
	leading leadership

	ends             []context.CancelFunc // of the watching first
	watching, living sync.WaitGroup
}

func newDemoCluster(p *place, s *screen) (*demoCluster, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's file, to start the replicas from it: %w", err)
	}
	c := &demoCluster{client: client.NewHTTP(2 * writers), leading: leadership{changed: s.changed}}
	for ordinal := range demoReplicas {
		c.members = append(c.members, newSupervised(p, ordinal, executable, c.client, s))
	}
	return c, nil
}

// start starts the processes. They go on until stop, whatever becomes of the demo's own context.
func (c *demoCluster) start() {
	watch, endWatching := context.WithCancel(context.Background())
	live, endLiving := context.WithCancel(context.Background())
	c.ends = []context.CancelFunc{endWatching, endLiving}
	for _, r := range c.members {
		c.living.Go(func() { r.run(live) })
		c.watching.Go(func() { c.watch(watch, r) })
	}
}

// stop stops the processes in good order and returns when they have ended. How they hand over on the way is
// not shown.
func (c *demoCluster) stop() {
	c.ends[0]()
	c.watching.Wait()
	c.ends[1]()
	c.living.Wait()
	c.client.CloseIdleConnections()
}

// awaitReady waits until every replica has come up and one of them leads.
func (c *demoCluster) awaitReady(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, comeUpLimit)
	defer cancel()
	for {
		missing, err := c.missing()
		switch {
		case err != nil:
			return err
		case missing == nil && c.leader().pod != "":
			return nil
		case pause(limit, pollEvery):
			continue
		case ctx.Err() != nil:
			return errInterrupted
		case missing != nil:
			return missing.late()
		}
		return fmt.Errorf("no replica came to lead within %s; %s", comeUpLimit, c.members[0].lastWords())
	}
}

// missing returns a replica that has not come up yet, nil if there is none. That one has ended before is an error.
func (c *demoCluster) missing() (missing *supervised, err error) {
	for _, r := range c.members {
		switch st := r.status(); {
		case st.ended != "":
			return r, fmt.Errorf("%s ended (%s) before the cluster had come up; %s", r.name, st.ended, r.lastWords())
		case !st.ready:
			missing = r
		}
	}
	return missing, nil
}

// awaitReplica waits until a replica that was killed is back.
func (c *demoCluster) awaitReplica(ctx context.Context, name string) error {
	limit, cancel := context.WithTimeout(ctx, comeUpLimit)
	defer cancel()
	r := c.member(name)
	for !r.status().ready {
		if pause(limit, pollEvery) {
			continue
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		return r.late()
	}
	return nil
}

func (c *demoCluster) member(name string) *supervised {
	for _, r := range c.members {
		if r.name == name {
			return r
		}
	}
	panic("no replica is called " + name) // names come from the members themselves
}

func (c *demoCluster) kill(name string) (pid int) { return c.member(name).kill() }

func (c *demoCluster) urlsWithout(name string) (urls []string) {
	for _, r := range c.members {
		if r.name != name {
			urls = append(urls, r.url)
		}
	}
	return urls
}

func (c *demoCluster) leader() leader { return c.leading.get() }

func (c *demoCluster) status() []replicaStatus {
	l := c.leader()
	statuses := make([]replicaStatus, 0, len(c.members))
	for _, r := range c.members {
		st := r.status()
		if r.name == l.pod {
			st.epoch = l.epoch
		}
		statuses = append(statuses, st)
	}
	return statuses
}

// watch asks a replica again and again whether it leads.
func (c *demoCluster) watch(ctx context.Context, r *supervised) {
	for pause(ctx, pollEvery) {
		asked := time.Now()
		if l, ok := c.leads(ctx, r); ok {
			c.leading.seen(l, asked)
		}
	}
}

// leads asks for the leader record, which is enough where it names another replica. One that it names may know
// nothing of it: the record can be that of an earlier process.
func (c *demoCluster) leads(ctx context.Context, r *supervised) (leader, bool) {
	resp, err := get(ctx, c.client, r.url+"/v1/leader")
	if err != nil || resp.Status != http.StatusOK {
		return leader{}, false
	}
	var record struct {
		Leader string    `json:"leader"`
		Epoch  uint64    `json:"epoch"`
		Since  time.Time `json:"since"`
	}
	if err := json.Unmarshal(resp.Body, &record); err != nil || record.Leader != r.name {
		return leader{}, false
	}
	return leader{r.name, record.Epoch, record.Since}, succeeds(ctx, c.client, r.url+"/leaderz")
}

// leader is a replica that leads.
type leader struct {
	pod   string // "" while none has been seen
	epoch uint64
	since time.Time
}

// leadership is the newest leader that was seen leading.
type leadership struct {
	changed func(old, now leader, gap time.Duration) // called for every leader but the first

	mu      sync.Mutex
	current leader
	last    time.Time // when it was last seen
}

func (l *leadership) get() leader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// seen notes that a replica was leading. The gap is from when the one before it was last seen to its claim.
func (l *leadership) seen(now leader, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.epoch < l.current.epoch {
		return
	}
	if now.epoch > l.current.epoch && l.current.pod != "" {
		l.changed(l.current, now, max(0, now.since.Sub(l.last)))
	}
	l.current, l.last = now, at
}

// get makes a short request: about whether and how a replica lives.
func get(ctx context.Context, connections *http.Client, url string) (client.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return client.Answer{}, err
	}
	return client.Send(connections, req)
}
