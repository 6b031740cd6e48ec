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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/member"
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
	elections []*elected                 // that of the data is the first
	published atomic.Pointer[[]*elected] // the same once they are complete: the member is started before them, and asks who leads
	leaving   atomic.Bool                // all elections are being given up, for good
	api       *api.Server
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
		Leader: func() string { return r.leaderOf(store.Writes) }, Leading: func() bool { return r.leads(store.Writes) }, Log: log,
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
	defer r.closeElections()
	if err := r.open(ctx); err != nil {
		return notJustEnded(ctx, err)
	}
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

// open opens the elections, that of the data among them, and makes the API that stands on them.
func (r *replica) open(ctx context.Context) error {
	if err := r.openElections(ctx); err != nil {
		return err
	}
	var elections []api.Election
	var schedulers jobs.Several
	for _, e := range r.elections {
		elections = append(elections, e.api())
		schedulers = append(schedulers, e.scheduler)
	}
	r.api = api.New(api.Config{
		Pod: r.cfg.name, BootID: r.bootID, Store: r.writes().store, Elections: elections, Jobs: schedulers,
		InternalURL: r.peers.InternalURL, LeaderReads: r.cfg.leaderReads, PublicURL: r.cfg.publicURL(r.peers.InternalURL), Members: r.members,
		WriteWait: r.cfg.writeWait, Limits: api.DefaultLimits, Connections: r.public.connections.Load,
		Log: r.log.Named("api"), Registry: r.registry,
		Gatherer: prometheus.Gatherers{r.registry, prometheus.DefaultGatherer}, // etcd, Go and process metrics are in the latter
	})
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
	for _, e := range r.elections {
		campaign.Go(func() { r.campaign(campaigning, e) })
		e.work(working, &running)
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
	r.step("hand over", handoverLimit, r.handOver)
	stopCampaigning()
	campaign.Wait()
	r.step("drain", drainLimit, r.public.shutdown)
	r.step("leave", leaveLimit, r.member.Leave)
	r.step("drain the internal listener", peersLimit, r.internal.shutdown)
	r.api.EndLinks()
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

// jobs are all that there are, whichever election's leader runs them.
func (r *replica) jobs() []jobs.Job {
	data := r.writes().store
	all := []jobs.Job{
		jobs.Heartbeat(data.GetState),
		jobs.Expire(),
		jobs.JournalPrune(store.Writes),
		jobs.Compact(jobs.CompactConfig{
			Retention: r.cfg.historyRetention, Revision: data.Revision, Compact: data.Compact, HalfFull: r.halfFull,
		}),
		jobs.Members(r.member.Promote, r.member.RemoveGone),
	}
	for _, name := range r.cfg.electionNames()[1:] {
		all = append(all, jobs.JournalPrune(name))
	}
	return all
}
