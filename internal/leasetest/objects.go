package leasetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
)

// historyLimit is how many changes a watch can go back.
const historyLimit = 1000

var (
	leaseType  = metav1.TypeMeta{APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease"}
	eventType  = metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}
	statusType = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
)

// objects is what the server holds. What it takes in and gives out are copies.
type objects struct {
	mu      sync.Mutex
	version int64 // the newest resource version
	leases  map[id]*coordinationv1.Lease
	events  map[id]*corev1.Event
	history []change
	grown   chan struct{} // closed and replaced when history grows
}

// change is a change of a Lease, at its resource version.
type change struct {
	version int64
	kind    watch.EventType
	lease   *coordinationv1.Lease // never changed after
}

func newObjects() *objects {
	return &objects{
		version: 1, leases: map[id]*coordinationv1.Lease{}, events: map[id]*corev1.Event{}, grown: make(chan struct{}),
	}
}

func (o *objects) get(name id) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lease, ok := o.leases[name]
	if !ok {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name.name)
	}
	return lease.DeepCopy(), nil
}

func (o *objects) create(namespace string, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := id{namespace, lease.Name}
	switch _, exists := o.leases[name]; {
	case lease.Name == "":
		return nil, apierrors.NewBadRequest("a Lease needs a name")
	case lease.ResourceVersion != "":
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	case exists:
		return nil, apierrors.NewAlreadyExists(coordinationv1.Resource("leases"), lease.Name)
	}
	lease.Namespace, lease.UID, lease.CreationTimestamp = namespace, uuid.NewUUID(), metav1.Now()
	return o.store(watch.Added, name, lease), nil
}

func (o *objects) update(name id, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	resource := coordinationv1.Resource("leases")
	present, exists := o.leases[name]
	switch {
	case lease.Name != name.name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the Lease is named %q, not %q as the URL", lease.Name, name.name))
	case !exists:
		return nil, apierrors.NewNotFound(resource, name.name)
	case lease.ResourceVersion == "":
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "PUT", resource, name.name,
			"metadata.resourceVersion: must be specified for an update", 0, false)
	case lease.ResourceVersion != present.ResourceVersion:
		return nil, apierrors.NewConflict(resource, name.name,
			fmt.Errorf("it is at resource version %s, not %s", present.ResourceVersion, lease.ResourceVersion))
	case lease.UID != "" && lease.UID != present.UID:
		return nil, apierrors.NewConflict(resource, name.name, fmt.Errorf("its UID is %s, not %s", present.UID, lease.UID))
	}
	lease.Namespace, lease.UID, lease.CreationTimestamp = present.Namespace, present.UID, present.CreationTimestamp
	return o.store(watch.Modified, name, lease), nil
}

func (o *objects) remove(name id) (*metav1.Status, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lease, exists := o.leases[name]
	if !exists {
		return nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name.name)
	}
	o.store(watch.Deleted, name, lease.DeepCopy())
	delete(o.leases, name)
	return &metav1.Status{TypeMeta: statusType, Status: metav1.StatusSuccess}, nil
}

// store gives the Lease the next resource version and tells the watches. The caller holds the mutex.
func (o *objects) store(kind watch.EventType, name id, lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease.TypeMeta, lease.ResourceVersion = leaseType, o.next()
	o.leases[name] = lease
	o.history = append(o.history, change{o.version, kind, lease})
	if len(o.history) > historyLimit {
		o.history = slices.Delete(o.history, 0, len(o.history)-historyLimit)
	}
	close(o.grown)
	o.grown = make(chan struct{})
	return lease.DeepCopy()
}

func (o *objects) next() string {
	o.version++
	return strconv.FormatInt(o.version, 10)
}

// list returns the Leases that match, and the resource version that they are at.
func (o *objects) list(match func(*coordinationv1.Lease) bool) (leases []coordinationv1.Lease, version int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	leases = []coordinationv1.Lease{}
	for _, lease := range o.leases {
		if match(lease) {
			leases = append(leases, *lease.DeepCopy())
		}
	}
	slices.SortFunc(leases, func(a, b coordinationv1.Lease) int { return strings.Compare(a.Name, b.Name) })
	return leases, o.version
}

// since returns the changes after a resource version, and what is closed at the next one. It is not ok where some
// of them are forgotten.
func (o *objects) since(version int64) (changes []change, grown <-chan struct{}, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.history) == historyLimit && version < o.history[0].version-1 {
		return nil, nil, false
	}
	i, _ := slices.BinarySearchFunc(o.history, version+1, func(c change, v int64) int { return int(c.version - v) })
	return slices.Clone(o.history[i:]), o.grown, true
}

func (o *objects) record(namespace string, event *corev1.Event) (*corev1.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := id{namespace, event.Name}
	if _, exists := o.events[name]; exists {
		return nil, apierrors.NewAlreadyExists(corev1.Resource("events"), event.Name)
	}
	return o.keep(name, event), nil
}

func (o *objects) patchEvent(name id, patch []byte) (*corev1.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	event, exists := o.events[name]
	if !exists {
		return nil, apierrors.NewNotFound(corev1.Resource("events"), name.name)
	}
	before, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Event{})
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var patched corev1.Event
	if err := json.Unmarshal(after, &patched); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return o.keep(name, &patched), nil
}

// keep stores an Event. The caller holds the mutex.
func (o *objects) keep(name id, event *corev1.Event) *corev1.Event {
	event.TypeMeta, event.ResourceVersion = eventType, o.next()
	if event.UID == "" {
		event.UID = uuid.NewUUID()
	}
	o.events[name] = event
	return event.DeepCopy()
}
