package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/role"
	"github.com/leasehold/leasehold/internal/store"
)

// How long the steps of a shutdown may take. Together they stay below the pod's terminationGracePeriodSeconds.
const (
	handoverLimit = 3 * time.Second // and then up to a renew deadline for the release of the lock
	drainLimit    = 10 * time.Second
	leaveLimit    = 8 * time.Second
	peersLimit    = 5 * time.Second
)

// errRemoved is the end of a replica whose member the cluster no longer has.
var errRemoved = errors.New("this replica's member was removed from the cluster: another process with its name has joined, or the set was scaled down; it stops")

// serve runs one replica until ctx is done.
func serve(ctx context.Context, cfg serveConfig) error {
	log, err := newLogger(cfg.logLevel, cfg.logFormat)
	if err != nil {
		return usageError{err}
	}
	defer func() { _ = log.Sync() }() // standard error may not support it
	adoptGlobalLoggers(log)
	kube, err := connectKubernetes(cfg)
	if err != nil {
		return err
	}
	defer kube.close()
	r, err := newReplica(cfg, kube, log.Named(cfg.name))
	if err != nil {
		return err
	}
	if cfg.peers == "" {
		r.adoptResolver()
	}
	return r.run(ctx)
}

// replica is one process's parts, in the order in which they are started.
type replica struct {
	cfg      serveConfig
	kube     *kubernetesClients // nil outside Kubernetes
	log      *zap.Logger
	bootID   string
	peers    member.Peers
	registry *prometheus.Registry

	internal  *listener
	public    *listener
	member    *member.Member
	store     *store.Store
	election  *election.Election
	scheduler *jobs.Scheduler
	recorder  *history.Recorder
	roles     *role.Labeler // nil where there are no pods to label
	api       *api.Server
	parts     later
}

func newReplica(cfg serveConfig, kube *kubernetesClients, log *zap.Logger) (*replica, error) {
	peers, err := cfg.where()
	if err != nil {
		return nil, usageError{err}
	}
	r := &replica{
		cfg: cfg, kube: kube, log: log, bootID: newBootID(), peers: peers,
		registry: newRegistry(),
	}
	r.member, err = member.New(member.Config{
		Name: cfg.name, BootID: r.bootID, Dir: cfg.dataDir, Peers: peers, Replicas: r.replicas,
		ListenPeer: cfg.listenPeer, ListenClient: cfg.listenClient,
		Heartbeat: cfg.heartbeat, Election: cfg.electionTimeout, QuotaBytes: cfg.quota,
		Leader: r.leader, Leading: r.leading, Log: log,
	})
	return r, err
}

// run starts the parts in order, waits for the end, and stops them in reverse. The listeners are open first:
// other replicas ask before a member starts, and probes must not wait for a quorum.
func (r *replica) run(ctx context.Context) error {
	failed := make(chan error, 2)
	var err error
	if r.internal, err = listen(r.cfg.listenInternal, r.startingInternal(), internalServer, failed); err != nil {
		return err
	}
	defer r.internal.close()
	if r.public, err = listen(r.cfg.listen, startingPublic(), publicServer, failed); err != nil {
		return err
	}
	defer r.public.close()
	r.log.Info("starting", zap.String("version", version), zap.String("boot_id", r.bootID), zap.String("api", r.public.address()))

	if err := r.member.Start(ctx); err != nil {
		return errors.Join(notJustEnded(ctx, err), r.member.Close())
	}
	defer func() { _ = r.member.Close() }() // the member has logged what went wrong
	if err := r.open(ctx); err != nil {
		return notJustEnded(ctx, err)
	}
	defer r.store.Close()
	return r.lead(ctx, failed)
}

// notJustEnded hides the error of a start that was called off.
func notJustEnded(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// window is how long outcomes are remembered: a write may be held, be told that its outcome is unknown, be sent
// again within as much time, and be held again, by clocks that are apart in either direction.
func window(writeWait time.Duration) time.Duration { return 3*writeWait + 2*api.ClockTolerance }

// open makes the store and what stands on it.
func (r *replica) open(ctx context.Context) error {
	client := r.member.Client()
	st, err := store.Open(ctx, store.Config{
		KV: client, Watcher: client, ClusterID: r.member.ClusterID(), NewTerm: r.member.NewTerm, Full: r.member.Full,
		Window: window(r.cfg.writeWait), ClientWindow: max(2*time.Minute, window(r.cfg.writeWait)),
		Log: r.log.Named("store"), Metrics: r.registry,
	})
	if err != nil {
		return err
	}
	r.store = st
	elected, err := election.New(election.Config{
		Pod: r.cfg.name, BootID: r.bootID, Lock: r.newLock(client), Store: electionStore{st, r.cfg.name, r.bootID},
		Timing: r.cfg.timing, Voter: r.member.Voter, First: r.first, TakesOver: r.first, Probe: r.probe, Others: r.member.Others,
		PrepareMove: r.member.PrepareMove, StoreElsewhere: r.storeElsewhere, FetchStore: r.member.FetchLeader,
		Log: r.log.Named("election"), Metrics: r.registry,
	})
	if err != nil {
		return err
	}
	r.scheduler = jobs.New(jobs.Config{
		Jobs: r.jobs(), Leading: elected.Leading, Leadership: leadershipOf(elected, r.cfg.name), State: st.GetState,
		Log: r.log.Named("jobs"), Metrics: r.registry,
	})
	r.recorder = history.New(history.Config{Term: changeOf(elected), State: st.GetState, Log: r.log.Named("history")})
	r.roles = r.newRoles(elected)
	r.api = api.New(api.Config{
		Pod: r.cfg.name, BootID: r.bootID, Store: st, Jobs: r.scheduler, Leading: elected.Leading, Vitals: vitalsOf(elected, st),
		InternalURL: r.peers.InternalURL, LeaderReads: r.cfg.leaderReads, PublicURL: r.cfg.publicURL(r.peers.InternalURL), Members: r.members, StepDown: elected.StepDown, History: historyOf(st), WriteWait: r.cfg.writeWait, Limits: api.DefaultLimits, Connections: r.public.connections.Load,
		Log: r.log.Named("api"), Registry: r.registry,
		Gatherer: prometheus.Gatherers{r.registry, prometheus.DefaultGatherer}, // etcd, Go and process metrics are in the latter
	})
	r.publish(elected)
	return nil
}

// lead serves, campaigns, runs jobs, keeps the history and labels the pods until ctx is done or something fails, and then stops in good order:
// leadership is handed over while this replica goes on serving as a follower, and only then are the listeners
// closed.
func (r *replica) lead(ctx context.Context, failed <-chan error) error {
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	campaigning, stopCampaigning := context.WithCancel(context.WithoutCancel(ctx))
	var running, campaign sync.WaitGroup
	defer running.Wait()
	defer campaign.Wait()
	defer stopCampaigning()
	defer stopWorking()

	r.public.serve(r.api.Handler())
	r.internal.serve(r.internalHandler(r.api.Internal()))
	campaign.Go(func() { r.election.Run(campaigning) })
	running.Go(func() { r.scheduler.Run(working) })
	running.Go(func() { r.recorder.Run(working) })
	if r.roles != nil {
		running.Go(func() { r.roles.Run(working) })
	}

	var err error
	select {
	case <-ctx.Done():
		r.log.Info("shutting down")
	case err = <-failed:
	case <-r.member.Removed():
		err = errRemoved
	}
	r.api.Drain()
	stopWorking()
	r.step("hand over", handoverLimit, r.election.Handover)
	stopCampaigning()
	campaign.Wait()
	r.step("drain", drainLimit, r.public.shutdown)
	r.step("leave", leaveLimit, r.member.Leave)
	r.step("drain the internal listener", peersLimit, r.internal.shutdown)
	return err
}

// step is one step of the shutdown. One that fails is no reason to skip the others.
func (r *replica) step(what string, limit time.Duration, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := do(ctx); err != nil {
		r.log.Warn("shutdown: "+what, zap.Error(err))
	}
}

func newBootID() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func (r *replica) halfFull() bool {
	_, inUse := r.member.Size()
	return inUse >= r.cfg.quota/2
}

// first tells whether this replica goes first when the lock is released: the one that etcd's leader is on.
func (r *replica) first() bool { return r.member.RaftLeader() == r.cfg.name }

// storeElsewhere tells whether etcd's leader is known to be on another replica.
func (r *replica) storeElsewhere() bool {
	pod := r.member.RaftLeader()
	return pod != "" && pod != r.cfg.name
}

func (r *replica) members(ctx context.Context) ([]api.Member, error) {
	infos, err := r.member.Members(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the members: %w", err)
	}
	members := make([]api.Member, 0, len(infos))
	for _, m := range infos {
		members = append(members, api.Member{Pod: m.Name, Voter: m.Voter})
	}
	slices.SortFunc(members, func(a, b api.Member) int { return cmp.Compare(r.ordinal(a.Pod), r.ordinal(b.Pod)) })
	return members, nil
}

// ordinal is that of a pod's name; one that is none of ours sorts first.
func (r *replica) ordinal(pod string) int {
	n, err := r.peers.Ordinal(pod)
	if err != nil {
		return -1
	}
	return n
}

func (r *replica) jobs() []jobs.Job {
	return []jobs.Job{
		jobs.Heartbeat(r.store.GetState),
		jobs.Expire(),
		jobs.JournalPrune(),
		jobs.Compact(jobs.CompactConfig{
			Retention: r.cfg.historyRetention, Revision: r.store.Revision, Compact: r.store.Compact, HalfFull: r.halfFull,
		}),
		jobs.Members(r.member.Promote, r.member.RemoveGone),
	}
}
