package election

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// ObjectKind is a kind of object that an election can be held on. Any that has annotations will do.
type ObjectKind struct {
	Resource schema.GroupVersionResource
	Kind     string
}

// ConfigMaps is the kind that the clients of other languages elect on, and client-go did until Kubernetes 1.27.
func ConfigMaps() ObjectKind {
	return ObjectKind{corev1.SchemeGroupVersion.WithResource("configmaps"), "ConfigMap"}
}

// Secrets shows how little another kind takes.
func Secrets() ObjectKind {
	return ObjectKind{corev1.SchemeGroupVersion.WithResource("secrets"), "Secret"}
}

// ObjectLock keeps the record in an annotation of an object, compare-and-swapped by the object's resource version. It
// reads and writes the object's metadata alone: what else there is, stays where it is.
type ObjectLock struct {
	cfg     ObjectLockConfig
	version string // of the object, as last read or written; "" if that is not known
	boot    string // the holder's, as last read
	uid     atomic.Pointer[types.UID]
}

// ObjectLockConfig says which object, and who asks.
type ObjectLockConfig struct {
	Kind            ObjectKind
	Namespace, Name string
	Pod, BootID     string
	// Objects is used with short deadlines; Watches must have none, since a watch stays open.
	Objects, Watches metadata.Interface
	// Creator makes the object where there is none, which the metadata's client cannot.
	Creator dynamic.Interface
	// Events records changes of leadership as Events of the object. It may be nil.
	Events resourcelock.EventRecorder
}

// NewObjectLock makes an ObjectLock. It talks to nobody yet.
func NewObjectLock(cfg ObjectLockConfig) *ObjectLock { return &ObjectLock{cfg: cfg} }

func (l *ObjectLock) objects(client metadata.Interface) metadata.ResourceInterface {
	return client.Resource(l.cfg.Kind.Resource).Namespace(l.cfg.Namespace)
}

// Get implements resourcelock.Interface. An object without the annotation is a lock that is free.
func (l *ObjectLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	object, err := l.objects(l.cfg.Objects).Get(ctx, l.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		l.version, l.boot = "", ""
	}
	if err != nil {
		return nil, nil, err
	}
	l.keep(object)
	text := []byte(object.Annotations[resourcelock.LeaderElectionRecordAnnotationKey])
	record := decodeRecord(text)
	l.boot = record.BootID
	return &record.LeaderElectionRecord, text, nil
}

func (l *ObjectLock) keep(object metav1.Object) {
	uid := object.GetUID()
	l.version = object.GetResourceVersion()
	l.uid.Store(&uid)
}

// Create implements resourcelock.Interface: it makes the object, and fails where there is one.
func (l *ObjectLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	text, err := encodeRecord(record, l.cfg.BootID)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(l.cfg.Kind.Resource.GroupVersion().WithKind(l.cfg.Kind.Kind))
	object.SetNamespace(l.cfg.Namespace)
	object.SetName(l.cfg.Name)
	object.SetAnnotations(map[string]string{resourcelock.LeaderElectionRecordAnnotationKey: string(text)})
	created, err := l.cfg.Creator.Resource(l.cfg.Kind.Resource).Namespace(l.cfg.Namespace).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	l.keep(created)
	return nil
}

// Update implements resourcelock.Interface. The patch names the version that it goes out from, so that the API server
// refuses it once anybody has written the object since. An object that was never read, because the API server was
// away when the lock was taken, is read first, and then in conflict with what was taken for granted: a patch without a version
// would be unconditional.
func (l *ObjectLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if l.version == "" {
		if _, _, err := l.Get(ctx); err != nil {
			return err
		}
		return apierrors.NewConflict(l.cfg.Kind.Resource.GroupResource(), l.cfg.Name, errors.New("it was not known"))
	}
	text, err := encodeRecord(record, l.cfg.BootID)
	if err != nil {
		return err
	}
	change := map[string]any{"annotations": map[string]string{resourcelock.LeaderElectionRecordAnnotationKey: string(text)}}
	if !sabotage.Version {
		change["resourceVersion"] = l.version
	}
	patch, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return err
	}
	patched, err := l.objects(l.cfg.Objects).Patch(ctx, l.cfg.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return err
	}
	l.keep(patched)
	return nil
}

// HolderBoot implements Lock.
func (l *ObjectLock) HolderBoot() string { return l.boot }

// Watch implements Lock. A watch that ends is begun again; it then starts with the object as it is.
func (l *ObjectLock) Watch(ctx context.Context) <-chan string { return watchAgain(ctx, l.watchOnce) }

func (l *ObjectLock) watchOnce(ctx context.Context, holders chan<- string) {
	w, err := l.objects(l.cfg.Watches).Watch(ctx, onlyName(l.cfg.Name))
	if err != nil {
		return // the elector's own polling is the fallback, and reports what is wrong
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		object, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return
		}
		holder := ""
		if event.Type != watch.Deleted {
			holder = holderOf([]byte(object.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]))
		}
		if !sendHolder(ctx, holders, holder) {
			return
		}
	}
}

// onlyName selects the object of that name.
func onlyName(name string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()}
}

// Announce implements Lock.
func (l *ObjectLock) Announce(c Change) {
	announce(l.cfg.Events, c, corev1.ObjectReference{
		APIVersion: l.cfg.Kind.Resource.GroupVersion().String(), Kind: l.cfg.Kind.Kind, Namespace: l.cfg.Namespace, Name: l.cfg.Name,
	}, l.uid.Load())
}

// Away implements Lock.
func (l *ObjectLock) Away(err error) bool { return apiServerAway(err) }

// Identity implements resourcelock.Interface.
func (l *ObjectLock) Identity() string { return l.cfg.Pod }

// Describe implements resourcelock.Interface.
func (l *ObjectLock) Describe() string {
	return fmt.Sprintf("%s/%s/%s", l.cfg.Kind.Resource.Resource, l.cfg.Namespace, l.cfg.Name)
}

// RecordEvent implements resourcelock.Interface. Announce says more.
func (l *ObjectLock) RecordEvent(string) {}
