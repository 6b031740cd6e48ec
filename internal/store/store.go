// Package store is the replicated key-value store: what is written, in which order, and by whom.
//
// Its one invariant is the chain. Every transaction that changes data is conditional on the revision
// that its author's last transaction gave to one key, the head, and a claim of leadership writes that
// key too. So whoever claims cuts off everybody else, a transaction that arrives late or twice cannot be
// applied out of turn, and a leader whose transactions succeed knows that nobody else has written in
// between: what its own member holds is the state that its next transaction will be applied to.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

var (
	// ErrNotFound says that the key has no value, or had none at the revision asked for.
	ErrNotFound = errors.New("no such key")
	// ErrNotLeading says that this replica does not lead, or no longer. The write was certainly not applied.
	ErrNotLeading = errors.New("this replica does not lead")
	// ErrUnknown says that the outcome of a write could not be learned: it may be applied already, or still
	// be applied until another replica claims leadership. The same write under the same ID gives certainty.
	ErrUnknown = errors.New("the outcome of the write is unknown")
	// ErrKeyReused says that an ID was used before for a different write.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
	// ErrFull says that the store has reached its quota and takes deletions only. The write was not applied.
	ErrFull = errors.New("the store is full")
	// ErrBusy says that more outcomes are remembered than the bound allows. The write was not applied.
	ErrBusy = errors.New("too many writes")
	// ErrInvalid says that a write cannot be carried out as it stands. It is wrapped with the reason.
	ErrInvalid = errors.New("invalid write")
	// ErrSuperseded says that another claim came first.
	ErrSuperseded = errors.New("another replica has claimed leadership")
	// ErrCompacted says that the history at the revision asked for is gone.
	ErrCompacted = errors.New("the revision has been compacted")
	// ErrFutureRevision says that the store has not reached the revision asked for.
	ErrFutureRevision = errors.New("the revision is in the future")
	// ErrBadRevision says that a revision token is malformed.
	ErrBadRevision = errors.New("not a revision of this store")
	// ErrForeignRevision says that a revision token was given by another cluster.
	ErrForeignRevision = errors.New("the revision is of another cluster")
)

// Config is what a Store needs. KV and Watcher reach the replica's own member. Serializable reads are to be answered by the member
// alone, from memory or disk: the committer waits for them.
type Config struct {
	// Election is whose record and chain the store is, Writes by default. KV and Watcher are to reach its Part of etcd. The
	// data are those of Writes: a store of another election keeps state only, and reads nothing else.
	Election  string
	KV        clientv3.KV
	Watcher   clientv3.Watcher
	ClusterID uint64
	// NewTerm returns a channel that is closed when etcd has committed the first entry under a new leader of
	// its own: the moment at which proposals may have been lost. Nil where that cannot be known.
	NewTerm func() <-chan struct{}
	// Full tells whether writes that grow the store are to be refused. Nil means never.
	Full func() bool
	// Window is how long the outcome of a write is remembered at least; ClientWindow the same for writes
	// under a client's own idempotency key. Defaults: 30 s and 2 min.
	Window, ClientWindow time.Duration
	// MaxRemembered bounds the outcomes kept in memory. Default: 1,000,000.
	MaxRemembered int
	Log           *zap.Logger
	Metrics       prometheus.Registerer

	undecided time.Duration // undecidedLimit, but for tests
}

func (c *Config) setDefaults() {
	if c.Election == "" {
		c.Election = Writes
	}
	if c.NewTerm == nil {
		c.NewTerm = func() <-chan struct{} { return nil }
	}
	if c.Full == nil {
		c.Full = func() bool { return false }
	}
	if c.Window == 0 {
		c.Window = 30 * time.Second
	}
	if c.ClientWindow == 0 {
		c.ClientWindow = 2 * time.Minute
	}
	if c.MaxRemembered == 0 {
		c.MaxRemembered = 1_000_000
	}
	if c.undecided == 0 {
		c.undecided = undecidedLimit
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
}

// Store is one replica's view of the data. Its methods may be called concurrently.
type Store struct {
	cfg     Config
	log     *zap.Logger
	metrics *metrics
	leader  *leaderView
	journal *journal
	served  served
	term    atomic.Pointer[Term]

	stop       context.CancelFunc
	tail       sync.WaitGroup // follows the chain
	committers sync.WaitGroup // of the terms, the ended ones too
}

// Open reads the leader record and the journal linearizably, begins to follow both, and returns. It blocks
// until a majority of members has answered, or ctx is done.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.setDefaults()
	j := newJournal()
	s := &Store{
		cfg:     cfg,
		log:     cfg.Log,
		metrics: newMetrics(cfg.Metrics, cfg.Election, j, cfg.MaxRemembered),
		leader:  newLeaderView(),
		journal: j,
	}
	rev, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	tailCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.tail.Go(func() { s.follow(tailCtx, rev) })
	return s, nil
}

// Close stops following. The member stays as it is.
func (s *Store) Close() {
	if t := s.term.Load(); t != nil {
		t.End()
	}
	s.stop()
	s.tail.Wait()
	s.committers.Wait()
}

// Write has w decided and committed if this replica leads. It blocks until the outcome is known, ctx is
// done, or the term ends. Errors: ErrNotLeading, ErrKeyReused, ErrFull, ErrBusy, ErrInvalid (all: not
// applied), ErrUnknown. When ctx is done before the outcome is known, the error is ErrUnknown too, or
// ErrNotLeading where w had not been taken up yet.
func (s *Store) Write(ctx context.Context, w *Write) (Outcome, error) {
	t := s.term.Load()
	if t == nil {
		return Outcome{}, ErrNotLeading
	}
	return t.Write(ctx, w)
}

// Leader returns the newest leader record that this replica knows, and a channel that is closed when a newer
// one is known.
func (s *Store) Leader() (Leader, <-chan struct{}) { return s.leader.get() }

// Remembered returns how many outcomes of writes are kept in memory.
func (s *Store) Remembered() int { return s.journal.size() }

// Reached is the newest revision of the chain that this replica has seen.
func (s *Store) Reached() int64 {
	reached, _ := s.journal.progress()
	return reached
}
