// Package workload has clients write to and read from a cluster, through any of its replicas, and records what they did
// and what became of it.
//
// Its one invariant: a history says no more than its clients know. What was sent and has no certain outcome is
// unknown, whatever is likely; and no two writes write the same value, so that whatever is found tells who wrote it.
package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// Config is what a Workload needs.
type Config struct {
	// URLs are the replicas'.
	URLs []string
	// Client is what requests are made with. Default: NewClient.
	Client *http.Client
	// Seed decides everything that is left to chance.
	Seed uint64
	// Rate is how many steps a second the clients take in all; a step is one or two operations. Default: 240.
	Rate int
	// Name is what all keys begin with, followed by a slash, and all idempotency keys. No two workloads on one cluster have the
	// same. Default: chaos.
	Name string
	// Attempt is how long a client waits for an answer. Default: 3 s.
	Attempt time.Duration
	// Limit is how long an operation is tried. The outcome of a write is remembered for two minutes: a replica that stands
	// still with a request in hand for longer than what is left of them may apply it once more. Default: 45 s.
	Limit time.Duration
	// Etcd are clients of the replicas' own members, one each, for the log of the store. They stay the caller's. Without them
	// there is no log, which check.Check finds fault with.
	Etcd []*clientv3.Client
	// Silence is after which time without news the log is continued at another replica. Default: 3 s.
	Silence time.Duration
}

func (c *Config) setDefaults() {
	if c.Client == nil {
		c.Client = NewClient()
	}
	if c.Rate == 0 {
		c.Rate = 240
	}
	if c.Name == "" {
		c.Name = "chaos"
	}
	if c.Attempt == 0 {
		c.Attempt = 3 * time.Second
	}
	if c.Limit == 0 {
		c.Limit = 45 * time.Second
	}
	if c.Silence == 0 {
		c.Silence = 3 * time.Second
	}
}

// NewClient makes a client that has a connection for each of the workload's at every replica.
func NewClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     time.Minute,
	}}
}

// crew is how many clients a workload has, and their share of the rate.
type crew struct {
	workload check.Workload
	clients  int
	share    float64
	// step returns its last operation. That of last succeeds as soon as the cluster is well.
	step, last func(c *client, ctx context.Context) check.Op
}

// crews are all workloads. Few clients share the registers, which keeps the search for an order short; most writes are
// those to the set.
var crews = []crew{
	{check.Register, 6, 0.2, (*client).stepRegister, (*client).putRegister},
	{check.Set, 16, 0.5, (*client).createElement, (*client).createElement},
	{check.Counter, 3, 0.08, (*client).increment, (*client).increment},
	{check.LostKey, 3, 0.07, (*client).increment, (*client).increment},
	{check.Session, 4, 0.15, (*client).readOwnWrite, (*client).readOwnWrite},
}

// Workload is clients at work.
type Workload struct {
	cfg      Config
	start    time.Time
	cancel   context.CancelFunc
	stopping chan struct{}
	stop     sync.Once
	clients  sync.WaitGroup
	recorder *recorder

	mu        sync.Mutex
	tag       string // of the cluster, as its revisions give it
	ops       []check.Op
	unsettled []string // clients whose last operation did not succeed
}

// Start has the clients begin. They go on until Stop, or until ctx is done.
func Start(ctx context.Context, cfg Config) *Workload {
	cfg.setDefaults()
	ctx, cancel := context.WithCancel(ctx)
	w := &Workload{cfg: cfg, start: time.Now(), cancel: cancel, stopping: make(chan struct{})}
	if len(cfg.Etcd) > 0 {
		w.recorder = startRecorder(context.WithoutCancel(ctx), cfg.Etcd, cfg.Silence)
	}
	for _, crew := range crews {
		pace := time.Duration(float64(crew.clients) / (crew.share * float64(cfg.Rate)) * float64(time.Second))
		for i := range crew.clients {
			name := fmt.Sprintf("%s-%d", crew.workload, i)
			c := &client{
				w: w, crew: crew, name: name, place: i, seen: map[string]check.Condition{},
				random: rand.New(rand.NewPCG(cfg.Seed, seedOf(name))),
			}
			w.clients.Go(func() { c.run(ctx, pace) })
		}
	}
	return w
}

// Stop has each client end what it is about and then make one operation more, again and again until it succeeds, and
// returns when all of them have. The error names those whose last operation had not succeeded when ctx was done.
func (w *Workload) Stop(ctx context.Context) error {
	w.stop.Do(func() { close(w.stopping) })
	defer context.AfterFunc(ctx, w.cancel)()
	w.clients.Wait()
	w.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.unsettled) > 0 {
		slices.Sort(w.unsettled)
		return fmt.Errorf("the last operation of %v did not succeed", w.unsettled)
	}
	return nil
}

// Final reads what the replicas hold, and has the log go as far. It comes after Stop and ends the recording, whatever it
// returns.
func (w *Workload) Final(ctx context.Context) (check.Final, error) {
	if w.recorder != nil {
		defer w.recorder.stop()
	}
	f, err := Read(ctx, w.cfg.Client, w.cfg.URLs)
	if err != nil || w.recorder == nil {
		return f, err
	}
	if err := w.recorder.await(ctx, f.Revision); err != nil {
		return f, err
	}
	f.Hashes, err = hash(ctx, w.cfg.Etcd, w.recorder.reached)
	return f, err
}

// History is what has been recorded so far. It is a copy.
func (w *Workload) History() check.History {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := check.History{Seed: w.cfg.Seed, Start: w.start, Prefix: w.cfg.Name + "/", Ops: slices.Clone(w.ops)}
	for _, crew := range crews {
		h.Workloads = append(h.Workloads, crew.workload)
	}
	if w.recorder != nil {
		h.Log = w.recorder.snapshot()
	}
	return h
}

// Measure measures the operations that ended within [from, until].
func (w *Workload) Measure(from, until time.Time) check.Measures {
	return check.Measure(w.since(from.Sub(w.start)), from.Sub(w.start), until.Sub(w.start))
}

// outOfTurn is more than an operation is recorded after its end.
const outOfTurn = 5 * time.Second

// since is the operations that ended after from, and some more. It looks at no others: clients wait for it.
func (w *Workload) since(from time.Duration) []check.Op {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := len(w.ops)
	for first > 0 && w.ops[first-1].End >= from-outOfTurn {
		first--
	}
	return slices.Clone(w.ops[first:])
}

func (w *Workload) record(o check.Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops = append(w.ops, o)
}

func (w *Workload) unsettle(client string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettled = append(w.unsettled, client)
}

var errForeign = errors.New("a revision of another cluster")

// revision is the number in a token. All tokens are of the cluster of the first.
func (w *Workload) revision(token string) (int64, error) {
	number, tag, err := parseToken(token)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tag == "" {
		w.tag = tag
	}
	if w.tag != tag {
		return 0, fmt.Errorf("%w: %q", errForeign, token)
	}
	return number, nil
}

// token is a revision as the API takes it.
func (w *Workload) token(revision int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d-%s", revision, w.tag)
}
