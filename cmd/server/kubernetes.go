package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/role"
	"github.com/leasehold/leasehold/internal/store"
)

// kubernetesClients are two: requests have deadlines well below the renew deadline, a watch has none.
type kubernetesClients struct {
	requests kubernetes.Interface
	watches  kubernetes.Interface
	events   *events

	// The same for the metadata of any object, and what creates one.
	objects       metadata.Interface
	objectWatches metadata.Interface
	creator       dynamic.Interface
}

// connectKubernetes makes the clients where they are needed: for the lock, and for how many replicas the
// StatefulSet has. It is nil where neither is.
func connectKubernetes(cfg serveConfig) (*kubernetesClients, error) {
	if !cfg.lockedByAPI() && cfg.peers != "" {
		return nil, nil //nolint:nilnil // no Kubernetes is a way to run
	}
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		config, err = clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	}
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes API: %w; run in a cluster or set $KUBECONFIG (server serve can do without, with --leader-elect-resource-lock=store and --peers)", err)
	}
	config.UserAgent = "leasehold/" + version
	k := &kubernetesClients{}
	if err := k.connect(config, cfg.timing.RenewDeadline/3); err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	k.events = newEvents(&typedcorev1.EventSinkImpl{Interface: k.requests.CoreV1().Events(cfg.leaseNamespace)}, cfg.name)
	return k, nil
}

// connect makes the clients; each request but a watch has the timeout.
func (k *kubernetesClients) connect(config *rest.Config, timeout time.Duration) error {
	short := rest.CopyConfig(config)
	short.Timeout = timeout
	short.QPS = -1 // client-go's limit of five a second would have renewals, labels and the resolver wait for each other; what is sent is little
	var failed [5]error
	k.watches, failed[0] = kubernetes.NewForConfig(config)
	k.requests, failed[1] = kubernetes.NewForConfig(short)
	k.objectWatches, failed[2] = metadata.NewForConfig(config)
	k.objects, failed[3] = metadata.NewForConfig(short)
	k.creator, failed[4] = dynamic.NewForConfig(short)
	return errors.Join(failed[:]...)
}

// close gives the last Events a moment to go out.
func (k *kubernetesClients) close() {
	if k == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastEventLimit)
	defer cancel()
	k.events.close(ctx)
}

// newLock is the lock of an election, of the kind that the flags name.
func (r *replica) newLock(name string) election.Lock {
	kinds := r.cfg.locks()
	lock := r.newLockOf(kinds[0], name)
	if len(kinds) > 1 {
		lock = election.NewPairLock(lock, r.newLockOf(kinds[1], name), r.bootID)
	}
	if !r.cfg.storesWord {
		lock = election.NewStrictLock(lock)
	}
	return lock
}

func (r *replica) newLockOf(kind, name string) election.Lock {
	switch kind {
	case lockStore:
		kv, watcher := store.Part(r.member.Client(), r.member.Client(), name)
		return election.NewStoreLock(election.StoreLockConfig{
			KV: kv, Watcher: watcher, Key: store.LockKey, Pod: r.cfg.name, BootID: r.bootID,
		})
	case lockConfigMaps:
		return r.newObjectLock(election.ConfigMaps(), name)
	case lockSecrets:
		return r.newObjectLock(election.Secrets(), name)
	default:
		return election.NewLeaseLock(election.LeaseLockConfig{
			Namespace: r.cfg.leaseNamespace, Name: r.cfg.lockName(name), Pod: r.cfg.name, BootID: r.bootID,
			Leases: r.kube.requests.CoordinationV1(), Watches: r.kube.watches.CoordinationV1(), Events: r.kube.events,
		})
	}
}

func (r *replica) newObjectLock(kind election.ObjectKind, name string) election.Lock {
	return election.NewObjectLock(election.ObjectLockConfig{
		Kind: kind, Namespace: r.cfg.leaseNamespace, Name: r.cfg.lockName(name), Pod: r.cfg.name, BootID: r.bootID,
		Objects: r.kube.objects, Watches: r.kube.objectWatches, Creator: r.kube.creator, Events: r.kube.events,
	})
}

// newRoles makes what labels the pods with their roles in an election; it is nil where the replicas are no pods, or the election is not Kubernetes'.
func (r *replica) newRoles(e *elected) *role.Labeler {
	if !r.cfg.lockedByAPI() || r.cfg.peers != "" {
		return nil
	}
	return role.New(role.Config{
		Election: e.name, Pod: r.cfg.name, Name: r.peers.Name, Pods: r.kube.requests.CoreV1().Pods(r.cfg.namespace), Replicas: r.replicas,
		Term: termOf(e.election), Cluster: strconv.FormatUint(r.member.ClusterID(), 16), Log: r.logOf(e.name).Named("role"),
	})
}

// replicas is how many replicas the StatefulSet has, or the flags say.
func (r *replica) replicas(ctx context.Context) (int, error) {
	if r.cfg.peers != "" {
		return r.cfg.count(ctx)
	}
	set, err := r.kube.requests.AppsV1().StatefulSets(r.cfg.namespace).Get(ctx, r.cfg.set(), metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("read StatefulSet %s: %w", r.cfg.set(), err)
	}
	if set.Spec.Replicas == nil {
		return 1, nil
	}
	return int(*set.Spec.Replicas), nil
}
