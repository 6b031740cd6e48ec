// Package election decides which replica should lead, by client-go's leader election over a Lease or over a
// lock in the store, and turns the answer into a term: a claim in the store, an atomic flag, a context.
//
// A Lease is not a fence: a paused leader goes on believing in it. So the flag is a hint for work that
// tolerates a mistake, and the claim is what keeps a replaced leader from writing. The invariant here: the
// flag is on only inside a round that has won the lock, claimed, and whose lock is still valid by this
// replica's clock; whatever clears the flag ends the round.
package election

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// Record is the store's word on who leads.
type Record struct {
	Pod, BootID, ClaimID string
	Epoch                uint64
	// Resigned says that the pod has given leadership up: for that Reason, and to Successor, if it named one.
	Resigned          bool
	Reason, Successor string
	// Revision orders records: a newer one is greater.
	Revision int64
}

// Term is one stretch of leading as the store gives it.
type Term interface {
	Epoch() uint64
	// Ended is closed when the term takes no more writes; Err then says why.
	Ended() <-chan struct{}
	Err() error
	// End takes no more writes. It does not block.
	End()
	// Pause runs f while no write is under way; if that does not come before ctx is done, f does not run.
	Pause(ctx context.Context, f func()) error
	// Resign ends the term, lets the write under way finish, and gives the record up, with why and to whom ("" for
	// whoever comes).
	Resign(ctx context.Context, reason, successor string) error
}

// Store is what the election needs of the store.
type Store interface {
	// ReadRecord reads the record linearizably: that it returns proves that a majority answers.
	ReadRecord(ctx context.Context) (Record, error)
	// Record returns the newest record known, and a channel that is closed when a newer one is.
	Record() (Record, <-chan struct{})
	// Claim makes this replica the leader if seen is still the newest record.
	Claim(ctx context.Context, seen Record, claimID string) (Term, error)
	// ResignClaim gives up the claim if it is the newest record.
	ResignClaim(ctx context.Context, claimID, reason string) error
}

// Lock is where the election is held. Its methods are called by one goroutine at a time, except Watch and
// Announce.
type Lock interface {
	resourcelock.Interface
	// HolderBoot is the boot ID under which the holder wrote the record that the last Get returned.
	HolderBoot() string
	// Watch sends the holder's name whenever the lock changes ("" when it is free), until ctx is done.
	Watch(ctx context.Context) <-chan string
	// Announce tells people of a change, where the lock has a place for that. It does not block.
	Announce(c Change)
	// Away tells whether the error says that the lock could not be reached, and nothing of the lock itself.
	Away(err error) bool
}

// Config is what an Election needs.
type Config struct {
	Pod, BootID string
	Lock        Lock
	Store       Store
	Timing      Timing
	// Voter tells whether this replica's member votes: a learner does not campaign.
	Voter func() bool
	// First tells whether this replica goes first when the lock is released and no successor was named; the others hold back.
	// Where one was named it is not asked.
	First func() bool
	// TakesOver tells whether the store's own leadership is on this replica: a majority follows it. So it is the one that takes
	// over from a leader that is gone.
	TakesOver func() bool
	// Probe asks another pod whether it leads. An error means that it does not answer.
	Probe func(ctx context.Context, pod string) (Vitals, error)
	// Others are the pods of the store's other voters, as far as this replica knows them.
	Others func() []string
	// PrepareMove chooses where the store's own leadership is to go: to that pod, or to the best one where to is "".
	// It returns which pod that is, and what moves it there, in one try, and is called while no write is under way;
	// or why it cannot go there.
	PrepareMove func(ctx context.Context, to string) (successor string, move func(ctx context.Context) error, err error)
	// StoreElsewhere tells whether the store's own leadership is known to be on another replica; FetchStore moves it here,
	// in one try, and is called while no write is under way. It is nil where that is never elsewhere.
	StoreElsewhere func() bool
	FetchStore     func(ctx context.Context) error
	// Storeless says that no store is behind the election: Store only tells who held the lock before, in words. Then nothing
	// keeps the lock from being taken but the lock itself, and nobody goes first. Claims are what the lock makes them.
	Storeless bool
	Log       *zap.Logger
	Metrics   prometheus.Registerer
}

const (
	// holdBack is how long the others let the one that goes first go first.
	holdBack = 300 * time.Millisecond
	// claimLimit is how long a claim may take before the lock is given up again.
	claimLimit = 3 * time.Second
	// moveLimit bounds the moving of the store's own leadership, and resignLimit how long the lock is kept for the
	// record to be resigned.
	moveLimit   = time.Second
	resignLimit = 3 * time.Second
)

// Election campaigns for as long as the process lives, in rounds: client-go's elector runs once, and each
// round is a new one.
type Election struct {
	cfg      Config
	log      *zap.Logger
	metrics  *metrics
	takeover *takeover

	leading atomic.Bool // the flag; written under mu
	mu      sync.Mutex
	round   *round // the one that runs, nil between rounds
	leader  *Leadership
	changed chan struct{} // closed and replaced when leader is
	resting bool          // the last round gave the lock up
	since   int64         // the revision of the leader record that was the newest known then
	drained bool          // never to campaign again
	parting parting       // how a record is being given up in good order
	named   named

	handing chan struct{} // held by who gives leadership up, or moves the store's
}

// Leadership is handed to the work that only the leader does. Context ends with the term; Began is how it came about.
type Leadership struct {
	Context context.Context
	Term    Term
	Began   Change
	round   *round
	cancel  context.CancelCauseFunc
}

// New checks the timing and makes an Election that does not campaign yet.
func New(cfg Config) (*Election, error) {
	if err := cfg.Timing.Validate(); err != nil {
		return nil, err
	}
	m := newMetrics(cfg.Metrics, cfg.FetchStore != nil)
	cfg.Lock = countedLock{cfg.Lock, m.requests}
	e := &Election{cfg: cfg, log: cfg.Log, metrics: m, changed: make(chan struct{}), handing: make(chan struct{}, 1)}
	e.takeover = &takeover{e: e}
	return e, nil
}

// Leading returns the flag.
func (e *Election) Leading() bool { return e.leading.Load() }

// Leadership returns the current term's, or nil while this replica does not lead.
func (e *Election) Leadership() *Leadership {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// Watch returns what Leadership does, and a channel that is closed when that is another.
func (e *Election) Watch() (*Leadership, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.changed
}

// Run campaigns, leads, and campaigns again until ctx is done. It returns when the lock is released.
func (e *Election) Run(ctx context.Context) {
	var helpers sync.WaitGroup
	defer helpers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	helpers.Go(func() { e.followLock(ctx) })
	helpers.Go(func() { e.resignGhosts(ctx) })
	helpers.Go(func() { e.takeover.run(ctx) })
	helpers.Go(func() { e.keepStore(ctx) })
	for n := 1; ctx.Err() == nil; n++ {
		if e.rest(ctx) {
			e.runRound(ctx, n)
		}
	}
}

var errReleased = errors.New("the lock was released")

// setLeading starts l unless its round is over already, or its lock not ours any more: the elector's callbacks
// run on goroutines of their own and may come late and in any order.
func (e *Election) setLeading(ctx context.Context, l *Leadership) bool {
	if sabotage.Flag {
		e.leading.Store(true)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil || e.round != l.round || e.drained || !time.Now().Before(l.round.guard.validity()) {
		return false
	}
	e.leading.Store(true)
	e.metrics.leading.Set(1)
	change := l.round.began(l.Term)
	l.Began = change
	level := zap.InfoLevel
	if change.Amiss() {
		level = zap.WarnLevel
	}
	e.log.Log(level, "leading", zap.Uint64("epoch", change.Epoch), zap.String("reason", change.Reason), zap.String("why", change.Why))
	e.change(l, change)
	return true
}

// clear ends the leadership of round r, if it leads: the flag first, then the term.
func (e *Election) clear(r *round, cause error) {
	e.mu.Lock()
	l := e.leader
	if l == nil || l.round != r {
		e.mu.Unlock()
		return
	}
	e.leading.Store(false)
	e.metrics.leading.Set(0)
	cause = r.explain(cause)
	e.change(nil, r.ended(l.Term, cause))
	e.mu.Unlock()
	l.cancel(cause)
	l.Term.End()
	e.log.Info("not leading any more", zap.Uint64("epoch", l.Term.Epoch()), zap.Error(cause))
}

// change makes leader the current leadership, and tells of it. It is called with mu held, so that changes are told
// of in their order.
func (e *Election) change(leader *Leadership, c Change) {
	e.leader = leader
	close(e.changed)
	e.changed = make(chan struct{})
	e.cfg.Lock.Announce(c)
}

// runRound is one elector, from its first attempt to the end of its callbacks. A replica that drains gets none.
func (e *Election) runRound(ctx context.Context, n int) {
	r := e.newRound(ctx, n)
	defer close(r.over)
	defer r.cancel(nil)
	if !e.enter(r) {
		return
	}
	defer e.leave()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name:            e.cfg.Pod,
		Lock:            r.guard,
		LeaseDuration:   e.cfg.Timing.LeaseDuration,
		RenewDeadline:   e.cfg.Timing.RenewDeadline,
		RetryPeriod:     e.cfg.Timing.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: r.started,
			OnStoppedLeading: r.stopped,
		},
	})
	if err != nil {
		panic(err) // the timing has been validated
	}
	e.metrics.rounds.Inc()
	elector.Run(r.ctx)
	if r.guard.hasWon() {
		<-r.finished // client-go does not wait for OnStartedLeading
	}
}

func (e *Election) enter(r *round) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.drained {
		return false
	}
	e.round = r
	return true
}

func (e *Election) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.round = nil
}
