// Package member is the embedded etcd member: it forms a cluster with its peers, joins one, restarts in one, and leaves it.
//
// The one invariant: a disk takes part in one cluster, once, under one member ID. So an empty disk never votes as a member that
// has existed before, whatever its pod is called: it joins as a new one. The identity file on the disk, the roll call before each
// start, and the founder's list of accepted disks are there for that alone.
package member

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

var (
	// ErrForeignCluster says that this disk, or the pods of this set, are of more than one cluster. Nothing is started or joined.
	ErrForeignCluster = errors.New("two clusters in one set")
	// ErrNoIdentity says that there is etcd data in the directory, but nothing tells whose.
	ErrNoIdentity = errors.New("etcd data without an identity")
	// ErrNotStarted is returned by what needs a started member.
	ErrNotStarted = errors.New("the member has not started, or has stopped")
	// ErrNotLeading is returned by what only the leading replica does: all changes of membership go through one pod.
	ErrNotLeading = errors.New("this replica does not lead")
)

const dataDir = "etcd" // in Config.Dir; data of removed members lies beside it

// Config says who this member is and whom it asks. Name, BootID, Dir, Peers, Replicas and ListenPeer are required.
type Config struct {
	Name   string // the pod's
	BootID string // random, made when the process started
	Dir    string
	Peers  Peers
	// Replicas returns how many pods the StatefulSet has. An error and 0 mean that nobody joins or leaves because of it.
	Replicas func(context.Context) (int, error)

	ListenPeer   string // host:port
	ListenClient string // host:port on the loopback interface, for a person with etcdctl; "" for none

	Heartbeat  time.Duration // 100 ms if 0
	Election   time.Duration // 1 s if 0; at least five heartbeats
	QuotaBytes int64         // size of the store, 2 GiB if 0; the file may be twice as large

	// Leader returns the pod that leads, as this replica's store knows it; "" if none. Called from any goroutine, before Start too.
	Leader func() string
	// Leading says whether this replica leads. Called as Leader is.
	Leading func() bool

	Log *zap.Logger
}

// A Member is this replica's member of the etcd cluster. Its methods can be called from any goroutine, before Start as well.
type Member struct {
	cfg     Config
	ordinal int
	log     *zap.Logger
	http    *http.Client
	times   times

	life     context.Context // ends with Close or Kill
	end      context.CancelFunc
	stopping atomic.Bool    // from the first step of Close or Kill on
	running  sync.WaitGroup // Start, and what goes on in the background
	removed  chan struct{}
	closed   sync.Once
	awaited  string // for what Start waits; its goroutine's own

	mu      sync.Mutex
	id      identity
	hasData bool
	etcd    *embed.Etcd
	client  *clientv3.Client
	ready   bool // from etcd's being ready to its stopping

	changes   chan struct{} // held while the membership is changed; it guards what follows
	additions map[string]uint64
	learners  map[uint64]time.Time
	admitting atomic.Int32
}

// times are the intervals that tests shorten.
type times struct {
	poll   time.Duration // between the roll calls of a start
	grace  time.Duration // how long an added learner may take to start
	upkeep time.Duration
}

// New opens the directory and reads, or makes, the identity in it. It starts nothing.
func New(cfg Config) (*Member, error) {
	ordinal, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	m := &Member{
		cfg: cfg, ordinal: ordinal, log: cfg.Log.Named("member"), http: newHTTPClient(),
		times:     times{poll: 300 * time.Millisecond, grace: time.Minute, upkeep: 30 * time.Second},
		removed:   make(chan struct{}),
		changes:   make(chan struct{}, 1),
		additions: map[string]uint64{},
		learners:  map[uint64]time.Time{},
	}
	m.life, m.end = context.WithCancel(context.Background())
	if err := m.open(); err != nil {
		return nil, fmt.Errorf("member: %w", err)
	}
	return m, nil
}

// complete checks the configuration, fills in what may be left out, and returns the ordinal of the pod.
func (cfg *Config) complete() (int, error) {
	ordinal, err := cfg.Peers.Ordinal(cfg.Name)
	if err != nil {
		return 0, err
	}
	if cfg.BootID == "" || cfg.Dir == "" || cfg.Replicas == nil {
		return 0, errors.New("a boot ID, a directory and the number of replicas are required")
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 100 * time.Millisecond
	}
	if cfg.Election == 0 {
		cfg.Election = time.Second
	}
	if cfg.Heartbeat < time.Millisecond || cfg.Election < 5*cfg.Heartbeat {
		return 0, fmt.Errorf("the election timeout (%v) must be at least five heartbeats (%v)", cfg.Election, cfg.Heartbeat)
	}
	if cfg.QuotaBytes == 0 {
		cfg.QuotaBytes = defaultQuota
	}
	if cfg.Leader == nil {
		cfg.Leader = func() string { return "" }
	}
	if cfg.Leading == nil {
		cfg.Leading = func() bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	_, err = embedded(*cfg, ordinal)
	return ordinal, err
}

// open finds out what the disk holds.
func (m *Member) open() error {
	if err := os.MkdirAll(m.cfg.Dir, 0o700); err != nil {
		return err
	}
	id, err := readIdentity(m.cfg.Dir)
	if err != nil {
		return err
	}
	m.id, m.hasData = id, m.walExists()
	switch {
	case m.hasData && id.MemberID == 0:
		return fmt.Errorf("%w: %s has a log, but %s does not say of which cluster; move the directory away, and the pod will join as new",
			ErrNoIdentity, filepath.Join(m.cfg.Dir, dataDir), filepath.Join(m.cfg.Dir, identityFile))
	case !m.hasData && id.Started:
		m.log.Warn("etcd's data is gone from this disk; it counts as a new one, which joins", zap.Stringer("member", id.MemberID))
		m.id.renew()
	}
	return writeIdentity(m.cfg.Dir, m.id)
}

func (m *Member) walExists() bool {
	return wal.Exist(filepath.Join(m.cfg.Dir, dataDir, "member", "wal"))
}

// update changes the identity. What it returns nil for is on the disk.
func (m *Member) update(change func(*identity)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.updateLocked(change)
}

func (m *Member) updateLocked(change func(*identity)) error {
	id := m.id
	change(&id)
	if err := writeIdentity(m.cfg.Dir, id); err != nil {
		return fmt.Errorf("member: identity not written: %w", err)
	}
	m.id = id
	return nil
}

func (m *Member) identity() identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// server returns etcd's server while it is ready, else nil.
func (m *Member) server() *etcdserver.EtcdServer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready {
		return nil
	}
	return m.etcd.Server
}
