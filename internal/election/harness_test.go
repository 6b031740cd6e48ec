package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// poll is how often conditions are looked at; inside a bubble it costs no time.
const poll = 10 * time.Millisecond

// eventually waits until f returns nil, and fails with why it does not yet after a generous time.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	within(t, time.Minute, f)
}

// within is eventually with a limit that is part of what is promised.
func within(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(poll) {
		err := f()
		if err == nil {
			return
		}
		if time.Since(start) >= limit {
			t.Fatalf("not after %s: %v", limit, err)
		}
	}
}

// always fails if f returns an error at any time before limit has passed.
func always(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	for start := time.Now(); time.Since(start) < limit; time.Sleep(poll) {
		if err := f(); err != nil {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
	}
}

// --- faults ---

// call is one request to a server, before it is sent.
type call struct {
	op     string // of the lock: get, create, update; of the store: read, claim, resign
	holder string // what a write of the lock would make the holder
}

// script decides what becomes of a call: do is what the server would do.
type script func(ctx context.Context, c call, do func() error) error

// faults are a client's script; none means that every call goes through.
type faults struct {
	mu     sync.Mutex
	script script
}

func (f *faults) set(s script) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = s
}

func (f *faults) call(ctx context.Context, c call, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	s := f.script
	f.mu.Unlock()
	if s == nil {
		return do()
	}
	return s(ctx, c, do)
}

var errInjected = errors.New("injected")

// only has s decide calls of one kind alone.
func only(op string, s script) script {
	return func(ctx context.Context, c call, do func() error) error {
		if c.op != op {
			return do()
		}
		return s(ctx, c, do)
	}
}

func failing(context.Context, call, func() error) error { return errInjected }

// hanging never answers, and the server never hears of the call.
func hanging(ctx context.Context, _ call, _ func() error) error {
	<-ctx.Done()
	return ctx.Err()
}

// lost applies the call and loses the answer.
func lost(_ context.Context, _ call, do func() error) error {
	_ = do()
	return errInjected
}

// late applies the call at once and answers after d.
func late(d time.Duration) script {
	return func(ctx context.Context, _ call, do func() error) error {
		err := do()
		select {
		case <-time.After(d):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// landing never answers, and has the first such call land when released, whether or not anybody still waits.
func landing(release <-chan struct{}) script {
	var once sync.Once
	return func(ctx context.Context, _ call, do func() error) error {
		once.Do(func() {
			go func() {
				<-release
				_ = do()
			}()
		})
		<-ctx.Done()
		return ctx.Err()
	}
}

// frozen holds every call back until thaw is closed, as a process that stands still does.
func frozen(thaw <-chan struct{}) script {
	return func(ctx context.Context, _ call, do func() error) error {
		select {
		case <-thaw:
			return do()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// --- the lock ---

// lockServer is an API server with one lock: compare-and-swap by version, and watches.
type lockServer struct {
	mu      sync.Mutex
	version int64
	record  *lockRecord
	writes  []lockWrite
	changed chan struct{}
}

// lockWrite is one change of the lock. An empty pod stands for somebody outside.
type lockWrite struct {
	at           time.Time
	pod, boot    string
	before       string // the holder, with its boot ID
	holder, next string // the holder by name, and with its boot ID
}

func newLockServer() *lockServer { return &lockServer{changed: make(chan struct{})} }

func nameOf(r *lockRecord) string {
	if r == nil || r.HolderIdentity == "" {
		return ""
	}
	return r.HolderIdentity + "/" + r.BootID
}

func (s *lockServer) get() (lockRecord, int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record == nil {
		return lockRecord{}, 0, false
	}
	return *s.record, s.version, true
}

// swap writes record if the lock is at version; 0 means that there is none.
func (s *lockServer) swap(pod, boot string, version int64, record lockRecord) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.version
	if s.record == nil {
		at = 0
	}
	if at != version {
		return 0, apierrors.NewConflict(lockResource, "lock", fmt.Errorf("at %d, not %d", at, version))
	}
	return s.put(pod, boot, &record), nil
}

func (s *lockServer) put(pod, boot string, record *lockRecord) int64 {
	write := lockWrite{at: time.Now(), pod: pod, boot: boot, before: nameOf(s.record), next: nameOf(record)}
	if record != nil {
		write.holder = record.HolderIdentity
	}
	s.version++
	s.record = record
	s.writes = append(s.writes, write)
	close(s.changed)
	s.changed = make(chan struct{})
	return s.version
}

// overwrite changes the lock from outside; nil deletes it.
func (s *lockServer) overwrite(record *lockRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put("", "", record)
}

func (s *lockServer) history() []lockWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]lockWrite(nil), s.writes...)
}

// holder is who holds the lock: pod/boot.
func (s *lockServer) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nameOf(s.record)
}

// since returns the writes from number n on, and a channel that is closed when there are more.
func (s *lockServer) since(n int) ([]lockWrite, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]lockWrite(nil), s.writes[n:]...), s.changed
}

// wiped is the first release of a lock that its writer did not hold.
func wiped(history []lockWrite) error {
	for _, w := range history {
		if w.pod != "" && w.next == "" && w.before != "" && w.before != w.pod+"/"+w.boot {
			return fmt.Errorf("%s/%s wiped the lock of %s", w.pod, w.boot, w.before)
		}
	}
	return nil
}

// lockClient is one replica's.
type lockClient struct {
	faults
	server     *lockServer
	pod, boot  string
	version    int64
	holderBoot string
	watchGate  faults // decides when an event of the watch is delivered

	announcedMu sync.Mutex
	announced   []Change
}

func (c *lockClient) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	var (
		found   lockRecord
		version int64
	)
	err := c.call(ctx, call{op: "get"}, func() error {
		var ok bool
		if found, version, ok = c.server.get(); !ok {
			return apierrors.NewNotFound(lockResource, "lock")
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	c.version, c.holderBoot = version, found.BootID
	raw, err := json.Marshal(found)
	return &found.LeaderElectionRecord, raw, err
}

func (c *lockClient) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(ctx, "create", 0, r)
}

func (c *lockClient) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(ctx, "update", c.version, r)
}

func (c *lockClient) write(ctx context.Context, op string, version int64, r resourcelock.LeaderElectionRecord) error {
	var written int64
	err := c.call(ctx, call{op, r.HolderIdentity}, func() (err error) {
		written, err = c.server.swap(c.pod, c.boot, version, lockRecord{r, c.boot})
		return err
	})
	if err == nil {
		c.version = written
	}
	return err
}

func (c *lockClient) HolderBoot() string { return c.holderBoot }

func (c *lockClient) Watch(ctx context.Context) <-chan string {
	holders := make(chan string)
	go func() {
		defer close(holders)
		n := len(c.server.history())
		for ctx.Err() == nil {
			writes, changed := c.server.since(n)
			n += len(writes)
			for _, w := range writes {
				_ = c.watchGate.call(ctx, call{op: "watch", holder: w.holder}, func() error {
					sendHolder(ctx, holders, w.holder)
					return nil
				})
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	return holders
}

// errAway stands for a lock server that cannot be reached.
var errAway = errors.New("the lock server is away")

func away(context.Context, call, func() error) error { return errAway }

func (c *lockClient) Away(err error) bool { return errors.Is(err, errAway) }

func (c *lockClient) Identity() string   { return c.pod }
func (c *lockClient) Describe() string   { return "lock" }
func (c *lockClient) RecordEvent(string) {}

func (c *lockClient) Announce(change Change) {
	c.announcedMu.Lock()
	defer c.announcedMu.Unlock()
	c.announced = append(c.announced, change)
}

// told returns what r has announced.
func (r *replica) told() []Change {
	r.lock.announcedMu.Lock()
	defer r.lock.announcedMu.Unlock()
	return append([]Change(nil), r.lock.announced...)
}

// --- the store ---

// storeServer keeps the leader record by the rules of the real store: conditional claims, and resignations
// that only mark the record.
type storeServer struct {
	mu      sync.Mutex
	record  Record
	clients []*storeClient
	trace   []string // claims and resignations in the order in which they landed
}

var (
	errClaimSuperseded = errors.New("another replica has claimed leadership")
	errTermEnded       = errors.New("ended")
)

func (s *storeServer) read() Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// claim is one transaction: it returns the record that is then the newest, and whether it was written.
func (s *storeServer) claim(seen, next Record) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Revision != seen.Revision {
		return s.record, false
	}
	s.put("claim", next)
	return s.record, true
}

func (s *storeServer) resign(l Record, reason, successor string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.record.Revision != l.Revision {
		return false
	}
	l.Resigned, l.Reason, l.Successor = true, reason, successor
	s.put("resign", l)
	return true
}

func (s *storeServer) put(what string, r Record) {
	r.Revision = s.record.Revision + 1
	s.record = r
	s.trace = append(s.trace, what+" "+r.ClaimID)
	for _, c := range s.clients {
		if !c.cut {
			c.see(r)
		}
	}
}

// overwrite claims for somebody outside.
func (s *storeServer) overwrite(r Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Epoch = s.record.Epoch + 1
	s.put("claim", r)
}

func (s *storeServer) landed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.trace...)
}

// claims is how many claims have landed.
func (s *storeServer) claims() (n int) {
	for _, what := range s.landed() {
		if strings.HasPrefix(what, "claim ") {
			n++
		}
	}
	return n
}

func (s *storeServer) client(pod, boot string) *storeClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &storeClient{server: s, pod: pod, boot: boot, view: s.record, changed: make(chan struct{})}
	s.clients = append(s.clients, c)
	return c
}

// storeClient is one replica's.
type storeClient struct {
	faults
	server    *storeServer
	pod, boot string
	cut       bool // sees no new record; guarded by server.mu

	viewMu  sync.Mutex
	view    Record
	changed chan struct{}
	term    *fakeTerm // the last

	onClaimed func() // after a claim that succeeded, before Claim returns
	onPause   func()
	onEnd     func(context.Context) // before a Resign
}

func (c *storeClient) see(r Record) {
	c.viewMu.Lock()
	defer c.viewMu.Unlock()
	c.view = r
	close(c.changed)
	c.changed = make(chan struct{})
}

// setCut has the client see no new record until it is connected again.
func (c *storeClient) setCut(cut bool) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.cut = cut
	if !cut {
		c.see(c.server.record)
	}
}

func (c *storeClient) Record() (Record, <-chan struct{}) {
	c.viewMu.Lock()
	defer c.viewMu.Unlock()
	return c.view, c.changed
}

func (c *storeClient) ReadRecord(ctx context.Context) (Record, error) {
	var r Record
	err := c.call(ctx, call{op: "read"}, func() error {
		r = c.server.read()
		return nil
	})
	return r, err
}

func (c *storeClient) Claim(ctx context.Context, seen Record, claimID string) (Term, error) {
	for {
		found, err := c.claimOnce(ctx, seen, claimID)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			time.Sleep(poll) // the same again: who claims does not know whether it has landed
			continue
		case found.ClaimID == seen.ClaimID && found.ClaimID != claimID:
			seen = found // the leader that was seen has resigned meanwhile
			continue
		case found.ClaimID != claimID:
			return nil, errClaimSuperseded
		}
		t := &fakeTerm{store: c, epoch: found.Epoch, claimID: claimID, ended: make(chan struct{})}
		c.viewMu.Lock()
		c.term = t
		c.viewMu.Unlock()
		if c.onClaimed != nil {
			c.onClaimed()
		}
		return t, nil
	}
}

func (c *storeClient) claimOnce(ctx context.Context, seen Record, claimID string) (Record, error) {
	next := Record{Pod: c.pod, BootID: c.boot, ClaimID: claimID, Epoch: seen.Epoch + 1}
	var found Record
	err := c.call(ctx, call{op: "claim"}, func() error {
		found, _ = c.server.claim(seen, next)
		return nil
	})
	if err != nil {
		return Record{}, err
	}
	return found, nil
}

func (c *storeClient) ResignClaim(ctx context.Context, claimID, reason string) error {
	return c.resign(ctx, claimID, reason, "")
}

func (c *storeClient) resign(ctx context.Context, claimID, reason, successor string) error {
	for {
		done := false
		err := c.call(ctx, call{op: "resign"}, func() error {
			l := c.server.read()
			done = l.ClaimID != claimID || l.Resigned || c.server.resign(l, reason, successor)
			return nil
		})
		if done && err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(poll)
	}
}

func (c *storeClient) lastTerm() *fakeTerm {
	c.viewMu.Lock()
	defer c.viewMu.Unlock()
	return c.term
}

type fakeTerm struct {
	store   *storeClient
	epoch   uint64
	claimID string
	once    sync.Once
	ended   chan struct{}
	cause   error
}

func (t *fakeTerm) Epoch() uint64          { return t.epoch }
func (t *fakeTerm) Ended() <-chan struct{} { return t.ended }
func (t *fakeTerm) End()                   { t.end(errTermEnded) }

func (t *fakeTerm) Err() error {
	select {
	case <-t.ended:
		return t.cause
	default:
		return nil
	}
}

func (t *fakeTerm) end(cause error) {
	t.once.Do(func() {
		t.cause = cause
		close(t.ended)
	})
}

func (t *fakeTerm) Pause(_ context.Context, f func()) error {
	if t.store.onPause != nil {
		t.store.onPause()
	}
	f()
	return nil
}

func (t *fakeTerm) Resign(ctx context.Context, reason, successor string) error {
	t.End()
	if t.store.onEnd != nil {
		t.store.onEnd(ctx)
	}
	return t.store.resign(ctx, t.claimID, reason, successor)
}

// --- the cluster ---

// cluster is replicas that share a lock and a store, and a monitor that watches over what must never be.
type cluster struct {
	t        *testing.T
	timing   Timing
	locks    *lockServer
	store    *storeServer
	replicas []*replica
	stop     chan struct{} // ends the monitor
	monitor  sync.WaitGroup

	mu        sync.Mutex // guards replicas and strangers
	strangers map[string]Vitals
}

// meet has a pod that is no replica of the test answer probes.
func (c *cluster) meet(pod string, v Vitals) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strangers[pod] = v
}

type replica struct {
	c         *cluster
	pod, boot string
	lock      *lockClient
	store     *storeClient
	election  *Election
	voter     atomic.Bool
	first     atomic.Bool // the store's own leadership is here, and the replica goes first unless the next says something else
	apart     atomic.Pointer[bool]
	answers   faults       // decides what becomes of a probe of this replica
	asks      faults       // decides what becomes of a probe by this replica
	undecided atomic.Int64 // a duration
	prepare   func(to string) (successor string, err error)
	moveStore func(context.Context) error
	elsewhere atomic.Bool // the store's own leadership
	fetch     func(context.Context) error
	cancel    context.CancelFunc
	done      chan struct{}
	gone      atomic.Bool // does nothing, whatever its flag says
	back      atomic.Bool
	idleSince time.Time // the monitor's: holds the lock but does not lead since then
}

// bubble runs f in virtual time with a cluster of n replicas, none of which has started.
func bubble(t *testing.T, n int, f func(c *cluster)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		for i := range n {
			c.add(fmt.Sprintf("pod-%d", i), fmt.Sprintf("boot-%d", i))
		}
		f(c)
	})
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, timing: DefaultTiming, locks: newLockServer(), store: &storeServer{}, stop: make(chan struct{}), strangers: map[string]Vitals{}}
	c.monitor.Go(c.watchOver)
	t.Cleanup(c.tearDown)
	return c
}

func (c *cluster) tearDown() {
	for _, r := range c.all() {
		r.lock.set(nil)
		r.store.set(nil)
		r.lock.watchGate.set(nil)
		r.stop()
	}
	close(c.stop)
	c.monitor.Wait()
	if err := wiped(c.locks.history()); err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) add(pod, boot string) *replica {
	c.t.Helper()
	r := &replica{
		c: c, pod: pod, boot: boot,
		lock:      &lockClient{server: c.locks, pod: pod, boot: boot},
		store:     c.store.client(pod, boot),
		prepare:   func(to string) (string, error) { return to, nil },
		moveStore: func(context.Context) error { return nil },
		fetch:     func(context.Context) error { return nil },
	}
	r.voter.Store(true)
	election, err := New(Config{
		Pod: pod, BootID: boot, Lock: r.lock, Store: r.store, Timing: c.timing,
		Voter: r.voter.Load, First: r.goesFirst, TakesOver: r.first.Load, Probe: r.probe, Others: r.others,
		PrepareMove: func(_ context.Context, to string) (string, func(context.Context) error, error) {
			successor, err := r.prepare(to)
			return successor, func(ctx context.Context) error { return r.moveStore(ctx) }, err
		},
		StoreElsewhere: r.elsewhere.Load, FetchStore: func(ctx context.Context) error { return r.fetch(ctx) },
		Log: zaptest.NewLogger(c.t).Named(pod + "/" + boot), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r.election = election
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replicas = append(c.replicas, r)
	return r
}

// goesFirst is for elections in which that is not who takes over.
func (r *replica) goesFirst() bool {
	if apart := r.apart.Load(); apart != nil {
		return *apart
	}
	return r.first.Load()
}

func (c *cluster) all() []*replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*replica(nil), c.replicas...)
}

// start has every replica campaign that does not yet.
func (c *cluster) start() {
	for _, r := range c.all() {
		r.start()
	}
}

func (r *replica) start() {
	if r.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.election.Run(ctx)
	}()
}

// others are the pods of the other replicas.
func (r *replica) others() (pods []string) {
	for _, other := range r.c.all() {
		if other.pod != r.pod && !slices.Contains(pods, other.pod) {
			pods = append(pods, other.pod)
		}
	}
	return pods
}

// probe asks another one.
func (r *replica) probe(ctx context.Context, pod string) (v Vitals, err error) {
	err = r.asks.call(ctx, call{op: "probe"}, func() error {
		v, err = r.c.probe(ctx, pod)
		return err
	})
	return v, err
}

// probe asks the last replica of that name.
func (c *cluster) probe(ctx context.Context, pod string) (v Vitals, err error) {
	c.mu.Lock()
	stranger, known := c.strangers[pod]
	c.mu.Unlock()
	if known {
		return stranger, nil
	}
	for _, r := range slices.Backward(c.all()) {
		if r.pod != pod {
			continue
		}
		err = r.answers.call(ctx, call{op: "probe"}, func() error {
			v.BootID = r.boot
			v.Epoch, v.Claiming, v.Parting = r.election.Vitals()
			v.Undecided = time.Duration(r.undecided.Load())
			return nil
		})
		return v, err
	}
	return v, syscall.ECONNREFUSED
}

// refusing is a process that has ended.
func refusing(context.Context, call, func() error) error { return syscall.ECONNREFUSED }

// stop ends the replica's Run and waits for it.
func (r *replica) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	<-r.done
}

// vanish cuts everything off that the replica's process does: it neither acts nor hears any more.
func (r *replica) vanish() {
	r.gone.Store(true)
	r.lock.set(hanging)
	r.store.set(hanging)
	r.store.setCut(true)
	r.lock.watchGate.set(hanging)
	r.answers.set(hanging)
}

// revive undoes vanish.
func (r *replica) revive() {
	r.back.Store(true)
	r.lock.set(nil)
	r.store.set(nil)
	r.store.setCut(false)
	r.lock.watchGate.set(nil)
	r.answers.set(nil)
}

func (r *replica) name() string { return r.pod + "/" + r.boot }

// leads returns why r does not lead in every respect, or nil.
func (r *replica) leads() error {
	l := r.election.Leadership()
	record := r.c.store.read()
	switch {
	case !r.election.Leading():
		return fmt.Errorf("the flag of %s is off; %q holds the lock, the record is %+v", r.name(), r.c.locks.holder(), record)
	case l == nil || l.Context.Err() != nil:
		return fmt.Errorf("%s has no leadership, or one that is over", r.name())
	case r.c.locks.holder() != r.name():
		return fmt.Errorf("%s leads, but %q holds the lock", r.name(), r.c.locks.holder())
	case record.Pod != r.pod || record.BootID != r.boot || record.Resigned || record.Epoch != l.Term.Epoch():
		return fmt.Errorf("%s leads, but the record is %+v", r.name(), record)
	}
	return nil
}

// idle returns an error if r's flag is on.
func (r *replica) idle() error {
	if r.election.Leading() {
		return fmt.Errorf("the flag of %s is on", r.name())
	}
	return nil
}

// leader waits until one of the replicas leads.
func (c *cluster) leader(among ...*replica) *replica {
	c.t.Helper()
	if len(among) == 0 {
		among = c.all()
	}
	var found *replica
	eventually(c.t, func() error {
		var err error
		for _, r := range among {
			if err = r.leads(); err == nil {
				found = r
				return nil
			}
		}
		return fmt.Errorf("nobody leads: %w", err)
	})
	return found
}

// leading returns the replica whose flag is on, nil if there is none.
func (c *cluster) leading() *replica {
	for _, r := range c.all() {
		if r.election.Leading() {
			return r
		}
	}
	return nil
}

// but returns all replicas except those.
func (c *cluster) but(those ...*replica) []*replica {
	var others []*replica
next:
	for _, r := range c.all() {
		for _, o := range those {
			if r == o {
				continue next
			}
		}
		others = append(others, r)
	}
	return others
}

// watchOver looks at the invariants all the time.
func (c *cluster) watchOver() {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
		}
		if err := c.check(); err != nil {
			c.t.Error(err)
			return
		}
	}
}

// renewing is for how long r has been renewing the lock without a rest since it does not lead.
func (c *cluster) renewing(r *replica) time.Duration {
	history := c.locks.history()
	last := history[len(history)-1].at
	first := last
	for _, w := range slices.Backward(history) {
		if w.next != r.name() || w.at.Before(r.idleSince) || first.Sub(w.at) > c.timing.RetryPeriod+poll {
			break
		}
		first = w.at
	}
	return last.Sub(first)
}

// check returns what is wrong: two flags, or a replica that goes on renewing a lock that it does not lead by.
func (c *cluster) check() error {
	var leading []string
	for _, r := range c.all() {
		on := r.election.Leading()
		if r.gone.Load() {
			if !r.back.Load() || on {
				continue // it stands still, or is about to find out that it did
			}
			r.gone.Store(false)
			r.back.Store(false)
		}
		if on {
			leading = append(leading, r.name())
		}
		if on || c.locks.holder() != r.name() {
			r.idleSince = time.Time{}
			continue
		}
		if r.idleSince.IsZero() {
			r.idleSince = time.Now()
		}
		if renewing := c.renewing(r); renewing > claimLimit+poll {
			return fmt.Errorf("%s renews the lock for %s but does not lead", r.name(), renewing)
		}
	}
	if len(leading) > 1 {
		return fmt.Errorf("two flags are on: %v", leading)
	}
	return nil
}
