package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/inprocess"
)

// The tests run one etcd member and several replicas of the store over it. What the network, a slow disk or
// a change of etcd's leader do to a transaction, a script on the replica's wire does to it here.

// cluster is a single etcd member.
type cluster struct {
	t      testing.TB
	server *etcdserver.EtcdServer
	client *clientv3.Client
}

func newCluster(tb testing.TB, options ...func(*embed.Config)) *cluster {
	tb.Helper()
	c := &cluster{t: tb, server: etcdtest.Start(tb, options...).Server}
	c.client = c.connect()
	return c
}

func (c *cluster) connect() *clientv3.Client {
	client := inprocess.New(c.server)
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// compact drops the history before revision.
func (c *cluster) compact(revision int64) {
	c.t.Helper()
	if _, err := c.client.Compact(context.Background(), revision); err != nil {
		c.t.Fatal(err)
	}
}

// get reads an etcd key behind the store's back; nil if it is not there.
func (c *cluster) get(key string) []byte {
	c.t.Helper()
	resp, err := c.client.Get(context.Background(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0].Value
}

// writes tells how often an entry has been written since it was absent.
func (c *cluster) writes(key string) int64 {
	c.t.Helper()
	resp, err := c.client.Get(context.Background(), entryPrefix+key)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return 0
	}
	return resp.Kvs[0].Version
}

// count tells how many etcd keys begin with prefix.
func (c *cluster) count(prefix string) int64 {
	c.t.Helper()
	resp, err := c.client.Get(context.Background(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Count
}

// replica is a Store and the wire between it and etcd.
type replica struct {
	*Store
	t    testing.TB
	name string
	wire *wire

	mu     sync.Mutex
	claims int
	terms  []*Term
}

// replica opens a store of the given name.
func (c *cluster) replica(name string, options ...func(*Config)) *replica {
	c.t.Helper()
	client := c.connect()
	r := &replica{t: c.t, name: name, wire: &wire{KV: client}}
	cfg := Config{
		KV: r.wire, Watcher: client, ClusterID: uint64(c.server.Cluster().ID()),
		Log: zaptest.NewLogger(c.t, zaptest.Level(zapcore.InfoLevel)).Named(name),
	}
	for _, o := range options {
		o(&cfg)
	}
	s, err := Open(testContext(c.t), cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Store = s
	c.t.Cleanup(r.shutDown)
	return r
}

// trio opens three replicas, none of which leads.
func (c *cluster) trio(options ...func(*Config)) (a, b, d *replica) {
	c.t.Helper()
	return c.replica("leasehold-0", options...), c.replica("leasehold-1", options...), c.replica("leasehold-2", options...)
}

// shutDown closes the store and waits for the committers: nothing is logged after the test.
func (r *replica) shutDown() {
	r.wire.heal()
	r.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, term := range r.terms {
		term.End()
		<-term.committer.done
	}
}

// who makes a claimant of a new round.
func (r *replica) who() Claimant {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.claims++
	return Claimant{Pod: r.name, BootID: "boot-of-" + r.name, ID: fmt.Sprintf("%s/%d", r.name, r.claims)}
}

// record reads the leader record linearizably.
func (r *replica) record() Leader {
	r.t.Helper()
	l, err := r.ReadLeader(testContext(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// lead claims leadership on what the leader record says now.
func (r *replica) lead() *Term {
	r.t.Helper()
	term, err := r.claimOn(r.record(), r.who())
	if err != nil {
		r.t.Fatalf("%s claims: %v", r.name, err)
	}
	return term
}

func (r *replica) claimOn(seen Leader, who Claimant) (*Term, error) {
	term, err := r.Claim(testContext(r.t), seen, who)
	if err == nil {
		r.mu.Lock()
		r.terms = append(r.terms, term)
		r.mu.Unlock()
	}
	return term, err
}

// apply has w written and expects it to be applied.
func (r *replica) apply(w *Write) Outcome {
	r.t.Helper()
	o := r.decide(w)
	if !o.Applied {
		r.t.Fatalf("%s: the condition of %s does not hold", r.name, describe(w))
	}
	return o
}

// decide has w written and expects an outcome, applied or not.
func (r *replica) decide(w *Write) Outcome {
	r.t.Helper()
	o, err := r.Write(testContext(r.t), w)
	if err != nil {
		r.t.Fatalf("%s: %s: %v", r.name, describe(w), err)
	}
	return o
}

// refuse has w written and expects the error.
func (r *replica) refuse(w *Write, want error) {
	r.t.Helper()
	o, err := r.Write(testContext(r.t), w)
	if !errors.Is(err, want) {
		r.t.Fatalf("%s: %s: %+v, %v; want %v", r.name, describe(w), o, err, want)
	}
}

// call is a write under way.
type call struct {
	t    testing.TB
	w    *Write
	done chan answer
}

// start sends w and returns once it waits for the committer, or has been answered.
func (r *replica) start(w *Write) *call {
	r.t.Helper()
	term := r.term.Load()
	if term == nil {
		r.t.Fatalf("%s does not lead", r.name)
	}
	before := len(term.committer.queue)
	c := r.startAnytime(testContext(r.t), w)
	eventually(r.t, func() error {
		if len(term.committer.queue) == before && len(c.done) == 0 {
			return errors.New("the write does not reach the committer")
		}
		return nil
	})
	return c
}

func (r *replica) startAnytime(ctx context.Context, w *Write) *call {
	c := &call{t: r.t, w: w, done: make(chan answer, 1)}
	go func() {
		o, err := r.Write(ctx, w)
		c.done <- answer{o, err}
	}()
	return c
}

// wait returns what came of the write.
func (c *call) wait() (Outcome, error) {
	c.t.Helper()
	select {
	case a := <-c.done:
		return a.outcome, a.err
	case <-time.After(30 * time.Second):
		c.t.Fatalf("no answer to %s", describe(c.w))
		return Outcome{}, nil
	}
}

func (c *call) applied() Outcome {
	c.t.Helper()
	o, err := c.wait()
	if err != nil || !o.Applied {
		c.t.Fatalf("%s: %+v, %v; want it applied", describe(c.w), o, err)
	}
	return o
}

func (c *call) fails(want error) {
	c.t.Helper()
	if o, err := c.wait(); !errors.Is(err, want) {
		c.t.Fatalf("%s: %+v, %v; want %v", describe(c.w), o, err, want)
	}
}

// together has writes wait until all of them have arrived, in this order, and then lets the committer go on.
// What fate says happens to the transactions that follow.
func (r *replica) together(fate []fault, ws ...*Write) []*call {
	r.t.Helper()
	plug := newGate(r.t)
	r.wire.next(plug.hold)
	r.wire.next(fate...)
	first := r.startAnytime(testContext(r.t), request(put("plug", "")))
	plug.reached(r.t)
	calls := make([]*call, 0, len(ws))
	for _, w := range ws {
		calls = append(calls, r.start(w))
	}
	plug.open()
	first.applied()
	return calls
}

// holds expects key to have value by a linearizable read; "" means that it is absent.
func (r *replica) holds(key, value string) Entry {
	r.t.Helper()
	e, _, err := r.Get(testContext(r.t), key, ReadOptions{Linearizable: true})
	if value == "" && errors.Is(err, ErrNotFound) {
		return e
	}
	if err != nil || string(e.Value) != value {
		r.t.Fatalf("%s holds %q, %v; want %q", key, e.Value, err, value)
	}
	return e
}

// request makes a write under an ID of its own.
func request(parts ...func(*Write)) *Write {
	w := &Write{ID: NewID()}
	for _, p := range parts {
		p(w)
	}
	w.Hash = Hash(describe(w))
	return w
}

// again is the same request, sent once more.
func again(w *Write) *Write {
	c := *w
	return &c
}

func put(key, value string) func(*Write) {
	return func(w *Write) { w.Put(Entry{Key: key, Value: []byte(value)}) }
}

func putUntil(key, value string, expires time.Time) func(*Write) {
	return func(w *Write) { w.Put(Entry{Key: key, Value: []byte(value), Expires: expires}) }
}

func del(key string) func(*Write) { return func(w *Write) { w.Delete(key) } }

func when(key string, revision int64) func(*Write) {
	return func(w *Write) { w.Require(Condition{Key: key, Revision: revision}) }
}

func describe(w *Write) string {
	s := "write"
	for _, c := range w.conditions {
		s += fmt.Sprintf(" if %s@%d", c.key, c.revision)
	}
	for _, o := range w.ops {
		s += fmt.Sprintf(" %s=%.20q(delete %t)", o.key, o.value, o.delete)
	}
	return s
}

// wire is the way of a replica's transactions to etcd. Each transaction takes the next fault of the script;
// when there is none left it is sent and answered as it should be.
type wire struct {
	clientv3.KV
	mu     sync.Mutex
	script []fault
	always fault // for every transaction that finds the script at its end
	behind int64 // local reads see the state of this revision; 0: the newest
	sent   int   // attempts, lost ones too
	// afterRead is called, once, between the next linearizable read and its answer.
	afterRead func()
}

// fault is what happens to one transaction. send has etcd apply it.
type fault func(ctx context.Context, send sender) (*clientv3.TxnResponse, error)

type sender func(ctx context.Context) (*clientv3.TxnResponse, error)

// next appends faults to the script.
func (w *wire) next(faults ...fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.script = append(w.script, faults...)
}

// from now on every transaction suffers f.
func (w *wire) cut(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.always = f
}

func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.script, w.always, w.behind = nil, nil, 0
}

// lag has local reads see the state as it was at revision.
func (w *wire) lag(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behind = revision
}

func (w *wire) between(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.afterRead = f
}

func (w *wire) attempts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (w *wire) take() fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent++
	if len(w.script) > 0 {
		f := w.script[0]
		w.script = w.script[1:]
		return f
	}
	return w.always
}

func (w *wire) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	if !op.IsSerializable() {
		resp, err := w.KV.Get(ctx, key, opts...)
		w.mu.Lock()
		f := w.afterRead
		w.afterRead = nil
		w.mu.Unlock()
		if f != nil {
			f()
		}
		return resp, err
	}
	w.mu.Lock()
	behind := w.behind
	w.mu.Unlock()
	if behind == 0 || op.Rev() != 0 {
		return w.KV.Get(ctx, key, opts...)
	}
	resp, err := w.KV.Get(ctx, key, append(opts, clientv3.WithRev(behind))...)
	if err == nil {
		resp.Header.Revision = behind
	}
	return resp, err
}

func (w *wire) Txn(ctx context.Context) clientv3.Txn { return &wiredTxn{ctx: ctx, wire: w} }

type wiredTxn struct {
	ctx             context.Context
	wire            *wire
	conditions      []clientv3.Cmp
	then, otherwise []clientv3.Op
}

func (t *wiredTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.conditions = cs; return t }
func (t *wiredTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.then = ops; return t }
func (t *wiredTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.otherwise = ops; return t }

func (t *wiredTxn) Commit() (*clientv3.TxnResponse, error) {
	send := func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return t.wire.KV.Txn(ctx).If(t.conditions...).Then(t.then...).Else(t.otherwise...).Commit()
	}
	if f := t.wire.take(); f != nil {
		return f(t.ctx, send)
	}
	return send(t.ctx)
}

// loseAnswer: applied, but the answer does not come back.
func loseAnswer(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
	_, _ = send(ctx)
	return nil, context.DeadlineExceeded
}

// loseRequest: never sent.
func loseRequest(context.Context, sender) (*clientv3.TxnResponse, error) {
	return nil, rpctypes.ErrTimeout
}

// pass: nothing happens to it.
func pass(ctx context.Context, send sender) (*clientv3.TxnResponse, error) { return send(ctx) }

// sendTwice: the copy is applied, or not, before the answer to the first comes back.
func sendTwice(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
	resp, err := send(ctx)
	_, _ = send(ctx)
	return resp, err
}

// answerTheCopy: sent twice, and the answer is the one to the second.
func answerTheCopy(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
	_, _ = send(ctx)
	return send(ctx)
}

// outOfSpace: applied, and answered with "no space" all the same.
func outOfSpace(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
	_, _ = send(ctx)
	return nil, rpctypes.ErrNoSpace
}

// silence: nothing comes back until the attempt is given up; nothing is sent.
func silence(ctx context.Context, _ sender) (*clientv3.TxnResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// latecomer is a copy of a transaction that is on its way for as long as the test likes.
type latecomer struct{ copies chan sender }

func newLatecomer() *latecomer { return &latecomer{copies: make(chan sender, 1)} }

// delay: it is on its way, and the sender hears nothing of it.
func (l *latecomer) delay(_ context.Context, send sender) (*clientv3.TxnResponse, error) {
	l.copies <- send
	return nil, rpctypes.ErrTimeout
}

// copied: it is applied and answered, but a copy is still on its way.
func (l *latecomer) copied(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
	l.copies <- send
	return send(ctx)
}

// arrive delivers it, and tells whether it changed anything.
func (l *latecomer) arrive(tb testing.TB) bool {
	tb.Helper()
	select {
	case send := <-l.copies:
		resp, err := send(testContext(tb))
		if err != nil {
			tb.Fatal(err)
		}
		return resp.Succeeded
	case <-time.After(10 * time.Second):
		tb.Fatal("no transaction was delayed")
		return false
	}
}

// gate holds a transaction before it is sent, until it is opened or the test is over.
type gate struct {
	arrived, opened chan struct{}
	once            sync.Once
}

func newGate(tb testing.TB) *gate {
	tb.Helper()
	g := &gate{arrived: make(chan struct{}), opened: make(chan struct{})}
	tb.Cleanup(g.open)
	return g
}

func (g *gate) hold(_ context.Context, send sender) (*clientv3.TxnResponse, error) {
	close(g.arrived)
	<-g.opened
	return send(context.Background()) // however long it was held
}

func (g *gate) reached(tb testing.TB) {
	tb.Helper()
	select {
	case <-g.arrived:
	case <-time.After(10 * time.Second):
		tb.Fatal("no transaction came")
	}
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// eventually polls until f returns nil, and prints why not yet when time is up.
func eventually(tb testing.TB, f func() error) {
	tb.Helper()
	err := f()
	for deadline := time.Now().Add(20 * time.Second); err != nil; err = f() {
		if time.Now().After(deadline) {
			tb.Fatalf("still not so: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// testContext ends with the test, or after 30 s.
func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func ended(tb testing.TB, term *Term) error {
	tb.Helper()
	select {
	case <-term.Ended():
	case <-time.After(10 * time.Second):
		tb.Fatal("the term does not end")
	}
	return term.Err()
}
