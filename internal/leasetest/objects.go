package leasetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
)

// historyLimit is how many changes a watch can go back.
const historyLimit = 1000

var (
	eventType  = metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}
	statusType = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
)

// object is a Lease, or what else an election can be held on.
type object interface {
	runtime.Object
	metav1.Object
}

func copyOf(o object) object { return o.DeepCopyObject().(object) } //nolint:errcheck // a copy is of the same type

// objects is what the server holds. What it takes in and gives out are copies.
type objects struct {
	mu      sync.Mutex
	version int64 // the newest resource version
	present map[id]object
	events  map[id]*corev1.Event
	history []change
	grown   chan struct{} // closed and replaced when history grows
}

// change is a change of an object, at its resource version.
type change struct {
	version int64
	kind    watch.EventType
	name    id
	object  object // never changed after
}

func newObjects() *objects {
	return &objects{version: 1, present: map[id]object{}, events: map[id]*corev1.Event{}, grown: make(chan struct{})}
}

func (o *objects) get(name id) (object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	present, ok := o.present[name]
	if !ok {
		return nil, apierrors.NewNotFound(name.resource(), name.name)
	}
	return copyOf(present), nil
}

func (o *objects) create(name id, created object) (object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch _, exists := o.present[name]; {
	case name.name == "":
		return nil, apierrors.NewBadRequest("an object needs a name")
	case created.GetResourceVersion() != "":
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	case exists:
		return nil, apierrors.NewAlreadyExists(name.resource(), name.name)
	}
	if err := admit(name, created); err != nil {
		return nil, err
	}
	created.SetNamespace(name.namespace)
	created.SetUID(uuid.NewUUID())
	created.SetCreationTimestamp(metav1.Now())
	return o.store(watch.Added, name, created), nil
}

// admit refuses annotations that are too long together.
func admit(name id, o object) error {
	total := 0
	for key, value := range o.GetAnnotations() {
		total += len(key) + len(value)
	}
	if total > maxAnnotations {
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", name.resource(), name.name,
			fmt.Sprintf("metadata.annotations: Too long: may not be more than %d bytes", maxAnnotations), 0, false)
	}
	return nil
}

func (o *objects) update(name id, updated object) (object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	present, exists := o.present[name]
	switch {
	case updated.GetName() != name.name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object is named %q, not %q as the URL", updated.GetName(), name.name))
	case !exists:
		return nil, apierrors.NewNotFound(name.resource(), name.name)
	case updated.GetResourceVersion() == "" && name.kind.strict:
		return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "PUT", name.resource(), name.name,
			"metadata.resourceVersion: must be specified for an update", 0, false)
	}
	return o.replace(name, present, updated)
}

// replace stores updated in place of present, unless it goes out from another version. The caller holds the mutex.
func (o *objects) replace(name id, present, updated object) (object, error) {
	version, uid := updated.GetResourceVersion(), updated.GetUID()
	switch {
	case version != "" && version != present.GetResourceVersion():
		return nil, apierrors.NewConflict(name.resource(), name.name,
			fmt.Errorf("it is at resource version %s, not %s", present.GetResourceVersion(), version))
	case uid != "" && uid != present.GetUID():
		return nil, apierrors.NewConflict(name.resource(), name.name, fmt.Errorf("its UID is %s, not %s", present.GetUID(), uid))
	}
	if err := admit(name, updated); err != nil {
		return nil, err
	}
	updated.SetNamespace(name.namespace)
	updated.SetUID(present.GetUID())
	updated.SetCreationTimestamp(present.GetCreationTimestamp())
	updated.SetResourceVersion(present.GetResourceVersion())
	updated.GetObjectKind().SetGroupVersionKind(name.kind.GroupVersionKind)
	if equality.Semantic.DeepEqual(updated, present) {
		return copyOf(present), nil // an update that changes nothing is none
	}
	return o.store(watch.Modified, name, updated), nil
}

// patch merges the patch (RFC 7386) into the object. One that names a resource version is conditional on it.
func (o *objects) patch(name id, patch map[string]any) (object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	present, exists := o.present[name]
	if !exists {
		return nil, apierrors.NewNotFound(name.resource(), name.name)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(present)
	if err != nil {
		return nil, err
	}
	merge(content, patch)
	patched := copyOf(present)
	reflect.ValueOf(patched).Elem().SetZero()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, patched); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return o.replace(name, present, patched)
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		deeper, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isMap:
			present, ok := into[key].(map[string]any)
			if !ok {
				present = map[string]any{}
			}
			merge(present, deeper)
			into[key] = present
		default:
			into[key] = value
		}
	}
}

func (o *objects) remove(name id) (*metav1.Status, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	present, exists := o.present[name]
	if !exists {
		return nil, apierrors.NewNotFound(name.resource(), name.name)
	}
	o.store(watch.Deleted, name, copyOf(present))
	delete(o.present, name)
	return &metav1.Status{TypeMeta: statusType, Status: metav1.StatusSuccess}, nil
}

// store gives the object the next resource version and tells the watches. The caller holds the mutex.
func (o *objects) store(kind watch.EventType, name id, stored object) object {
	stored.GetObjectKind().SetGroupVersionKind(name.kind.GroupVersionKind)
	stored.SetResourceVersion(o.next())
	o.present[name] = stored
	o.history = append(o.history, change{o.version, kind, name, stored})
	if len(o.history) > historyLimit {
		o.history = slices.Delete(o.history, 0, len(o.history)-historyLimit)
	}
	close(o.grown)
	o.grown = make(chan struct{})
	return copyOf(stored)
}

func (o *objects) next() string {
	o.version++
	return strconv.FormatInt(o.version, 10)
}

// list returns the objects that match, and the resource version that they are at.
func (o *objects) list(match func(id) bool) (found []object, version int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, present := range o.present {
		if match(name) {
			found = append(found, copyOf(present))
		}
	}
	slices.SortFunc(found, func(a, b object) int { return strings.Compare(a.GetName(), b.GetName()) })
	return found, o.version
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

func (o *objects) record(name id, event *corev1.Event) (*corev1.Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
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
