package member

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// Limits of a transaction, as etcd counts and encodes it. A batch of writes must stay below both, with some room for the encoding.
const (
	MaxTxnOps   = 4096
	MaxTxnBytes = 4 << 20
)

const (
	// Every member checks the number of learners when it applies an addition, so it must never differ between them: it is not
	// an option. It is large enough that a learner that never starts is in nobody's way.
	maxLearners = MaxReplicas

	snapshotCount = 10_000

	// Slow disks are seen in metrics; a line for each slow write would only slow them further.
	slowApply   = time.Second
	slowRequest = 3 * time.Second

	watchProgress = 5 * time.Second
)

// embedded returns etcd's configuration, but for how it comes into its cluster.
func embedded(cfg Config, ordinal int) (*embed.Config, error) {
	e := embed.NewConfig()
	e.Name = cfg.Name
	e.Dir = filepath.Join(cfg.Dir, dataDir)
	e.TickMs = uint(cfg.Heartbeat.Milliseconds())
	e.ElectionMs = uint(cfg.Election.Milliseconds())
	e.QuotaBackendBytes = cfg.etcdQuota()
	e.MaxTxnOps = MaxTxnOps
	e.MaxRequestBytes = MaxTxnBytes
	e.MaxLearners = maxLearners
	e.SnapshotCount = snapshotCount
	e.UnsafeNoFsync = sabotage.Fsync
	e.PreVote = true
	e.StrictReconfigCheck = true
	e.AutoCompactionRetention = "0" // a job of the leader compacts
	e.EnableGRPCGateway = false
	e.WatchProgressNotifyInterval = watchProgress
	e.WarningApplyDuration = slowApply
	e.WarningUnaryRequestDuration = slowRequest
	return e, listeners(e, cfg, ordinal)
}

// etcdLogger passes on warnings and what is worse: etcd's information is about etcd, not about this service. Once the member is
// being stopped, what breaks because of that is no news: from then on only panics are.
func (m *Member) etcdLogger() *zap.Logger {
	return m.cfg.Log.Named("etcd").WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return etcdCore{Core: core, stopping: &m.stopping}
	}))
}

// etcdCore drops what is not worth a line, by its level.
type etcdCore struct {
	zapcore.Core
	stopping *atomic.Bool
}

func (c etcdCore) Enabled(level zapcore.Level) bool {
	least := zapcore.WarnLevel
	if c.stopping.Load() {
		least = zapcore.PanicLevel
	}
	return level >= least && c.Core.Enabled(level)
}

func (c etcdCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return checked
	}
	return c.Core.Check(entry, checked)
}

func (c etcdCore) With(fields []zapcore.Field) zapcore.Core {
	return etcdCore{Core: c.Core.With(fields), stopping: c.stopping}
}

func listeners(e *embed.Config, cfg Config, ordinal int) error {
	listen, err := bindURL(cfg.ListenPeer)
	if err != nil {
		return fmt.Errorf("the address for etcd's peers: %w", err)
	}
	advertised, err := url.Parse(cfg.Peers.PeerURL(ordinal))
	if err != nil {
		return fmt.Errorf("the peer URL of %s: %w", cfg.Name, err)
	}
	e.ListenPeerUrls = []url.URL{listen}
	e.AdvertisePeerUrls = []url.URL{*advertised}
	// etcd refuses to start a member anew that its peers know with a client URL: a last guard behind the roll call. So one is
	// advertised even if nobody listens there (embed's default); it is loopback in any case, of use to nobody but a person.
	e.ListenClientUrls = nil
	if cfg.ListenClient == "" {
		return nil
	}
	client, err := bindURL(cfg.ListenClient)
	if err != nil {
		return fmt.Errorf("the address for etcd's clients: %w", err)
	}
	if host := client.Hostname(); host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("the address for etcd's clients, %q, must be a loopback address: what is written there goes around the leader",
			cfg.ListenClient)
	}
	e.ListenClientUrls = []url.URL{client}
	e.AdvertiseClientUrls = []url.URL{client}
	return nil
}

// bindURL makes a URL of host:port, as etcd wants to be told where to listen: an IP address, or localhost.
func bindURL(address string) (url.URL, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return url.URL{}, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if host != "localhost" && net.ParseIP(host) == nil {
		return url.URL{}, fmt.Errorf("%q is not an IP address", host)
	}
	if _, err := parsePort(port); err != nil {
		return url.URL{}, err
	}
	return url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}, nil
}

// bootstrap says how etcd comes into its cluster. It counts only as long as there is no data.
type bootstrap struct {
	state   string            // embed.ClusterStateFlagNew or -Existing
	members map[string]string // pod name to peer URL
	token   string
}

func (b bootstrap) apply(e *embed.Config) {
	entries := make([]string, 0, len(b.members))
	for name, peerURL := range b.members {
		entries = append(entries, name+"="+peerURL)
	}
	e.ClusterState = b.state
	e.InitialCluster = strings.Join(entries, ",")
	if b.token != "" {
		e.InitialClusterToken = b.token
	}
}

// launch starts etcd. Starting cannot be broken off: when ctx ends first, what comes of it is stopped in the background, for which
// Close waits.
func (m *Member) launch(ctx context.Context, cfg *embed.Config) (*embed.Etcd, error) {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		etcd, err := embed.StartEtcd(cfg)
		started <- result{etcd, err}
	}()
	select {
	case r := <-started:
		if r.err != nil {
			return nil, fmt.Errorf("etcd does not start: %w", r.err)
		}
		return r.etcd, nil
	case <-ctx.Done():
		m.running.Go(func() {
			if r := <-started; r.err == nil {
				kill(r.etcd)
			}
		})
		return nil, ctx.Err()
	}
}

// kill stops etcd without handing leadership over.
func kill(e *embed.Etcd) {
	e.Server.HardStop()
	e.Close()
}
