package election

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// bootAnnotation is where the holder of the Lease writes its boot ID, and by which write of the Lease: other clients leave
// the annotation as it is when they take the Lease, and must not pass for one of us.
const bootAnnotation = "leasehold.dev/boot-id"

// BootOf is the boot ID under which the Lease was written, "" if it was by somebody who has none.
func BootOf(lease *coordinationv1.Lease) string {
	mark := lease.Annotations[bootAnnotation]
	boot, _, _ := strings.Cut(mark, " ")
	if mark != bootMark(boot, lease) {
		return ""
	}
	return boot
}

// SetBoot marks the Lease as written under the boot ID, by its holder and the time of its renewal.
func SetBoot(lease *coordinationv1.Lease, boot string) {
	metav1.SetMetaDataAnnotation(&lease.ObjectMeta, bootAnnotation, bootMark(boot, lease))
}

func bootMark(boot string, lease *coordinationv1.Lease) string {
	holder, renewed := "", time.Time{}
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	if lease.Spec.RenewTime != nil {
		renewed = lease.Spec.RenewTime.Time
	}
	return fmt.Sprintf("%s %s %s", boot, renewed.UTC().Format(metav1.RFC3339Micro), holder)
}

// LeaseLock is client-go's lock on a Lease, with the holder's boot ID as an annotation.
type LeaseLock struct {
	*resourcelock.LeaseLock
	boot   *bootLeases
	watch  coordinationclient.LeaseInterface
	events resourcelock.EventRecorder
}

// LeaseLockConfig says which Lease, and who asks.
type LeaseLockConfig struct {
	Namespace, Name string
	Pod, BootID     string
	// Leases is used with short deadlines; Watches must have none, since a watch stays open.
	Leases, Watches coordinationclient.LeasesGetter
	// Events records changes of leadership as Events of the Lease, in place of client-go's own, which do not say
	// why. It may be nil.
	Events resourcelock.EventRecorder
}

// NewLeaseLock makes a LeaseLock. It talks to nobody yet.
func NewLeaseLock(cfg LeaseLockConfig) *LeaseLock {
	boot := &bootLeases{LeasesGetter: cfg.Leases, own: cfg.BootID}
	return &LeaseLock{
		LeaseLock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: cfg.Namespace, Name: cfg.Name},
			Client:     boot,
			LockConfig: resourcelock.ResourceLockConfig{Identity: cfg.Pod},
		},
		boot:   boot,
		watch:  cfg.Watches.Leases(cfg.Namespace),
		events: cfg.Events,
	}
}

// HolderBoot implements Lock.
func (l *LeaseLock) HolderBoot() string {
	if boot := l.boot.seen.Load(); boot != nil {
		return *boot
	}
	return ""
}

// Announce implements Lock.
func (l *LeaseLock) Announce(c Change) {
	announce(l.events, c, corev1.ObjectReference{
		APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease", Namespace: l.LeaseMeta.Namespace, Name: l.LeaseMeta.Name,
	}, l.boot.uid.Load())
}

// Away implements Lock.
func (l *LeaseLock) Away(err error) bool { return apiServerAway(err) }

// Update implements resourcelock.Interface. A Lease that was never read, because the API server was away when the
// lock was taken, is read first, and then in conflict with what was taken for granted.
func (l *LeaseLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.boot.uid.Load() == nil {
		if _, _, err := l.Get(ctx); err != nil {
			return err
		}
		return apierrors.NewConflict(coordinationv1.Resource("leases"), l.LeaseMeta.Name, errors.New("it was not known"))
	}
	return l.LeaseLock.Update(ctx, record)
}

// Watch implements Lock. A watch that ends is begun again; it then starts with the Lease as it is.
func (l *LeaseLock) Watch(ctx context.Context) <-chan string { return watchAgain(ctx, l.watchOnce) }

func (l *LeaseLock) watchOnce(ctx context.Context, holders chan<- string) {
	w, err := l.watch.Watch(ctx, onlyName(l.LeaseMeta.Name))
	if err != nil {
		return // the elector's own polling is the fallback, and reports what is wrong
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		lease, ok := event.Object.(*coordinationv1.Lease)
		if !ok {
			return
		}
		holder := ""
		if event.Type != watch.Deleted && lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		if !sendHolder(ctx, holders, holder) {
			return
		}
	}
}

// bootLeases reads and writes the annotation that resourcelock.LeaseLock knows nothing of, and keeps the UID.
type bootLeases struct {
	coordinationclient.LeasesGetter
	own  string
	seen atomic.Pointer[string]
	uid  atomic.Pointer[types.UID]
}

func (b *bootLeases) Leases(namespace string) coordinationclient.LeaseInterface {
	return &bootLease{LeaseInterface: b.LeasesGetter.Leases(namespace), boot: b}
}

func (b *bootLeases) keepUID(lease *coordinationv1.Lease) {
	uid := lease.UID
	b.uid.Store(&uid)
}

type bootLease struct {
	coordinationclient.LeaseInterface
	boot *bootLeases
}

func (l *bootLease) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := l.LeaseInterface.Get(ctx, name, o)
	if err == nil {
		boot := BootOf(lease)
		l.boot.seen.Store(&boot)
		l.boot.keepUID(lease)
	}
	return lease, err
}

func (l *bootLease) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	SetBoot(lease, l.boot.own)
	created, err := l.LeaseInterface.Create(ctx, lease, o)
	if err == nil {
		l.boot.keepUID(created)
	}
	return created, err
}

func (l *bootLease) Update(ctx context.Context, lease *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	SetBoot(lease, l.boot.own)
	return l.LeaseInterface.Update(ctx, lease, o)
}
