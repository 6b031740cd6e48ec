package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var podResource = schema.GroupResource{Resource: "pods"}

// apiServer holds pods, and refuses a patch of another version or another pod as a real one does. client-go's own fake
// looks at neither.
type apiServer struct {
	t *testing.T

	mu       sync.Mutex
	version  int
	pods     map[string]*corev1.Pod
	replicas int
	gets     int
	patches  []string // applied, in order: pod=role
	refused  []string // pods whose patch came too late
}

func newAPIServer(t *testing.T, replicas int) *apiServer {
	t.Helper()
	s := &apiServer{t: t, pods: map[string]*corev1.Pod{}, replicas: replicas}
	for i := range replicas {
		s.create(podName(i))
	}
	return s
}

func podName(ordinal int) string { return fmt.Sprintf("pod-%d", ordinal) }

// create puts a new pod in the place of whatever has the name.
func (s *apiServer) create(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.pods[name] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(fmt.Sprintf("uid-%d", s.version)), ResourceVersion: strconv.Itoa(s.version),
		Labels: map[string]string{"app": "x"},
	}}
}

func (s *apiServer) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, name)
}

// touch changes the pod as a kubelet does.
func (s *apiServer) touch(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.pods[name].ResourceVersion = strconv.Itoa(s.version)
}

func (s *apiServer) get(name string) (*corev1.Pod, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	pod, ok := s.pods[name]
	if !ok {
		return nil, apierrors.NewNotFound(podResource, name)
	}
	return pod.DeepCopy(), nil
}

func (s *apiServer) patch(name string, data []byte) error {
	var p struct{ Metadata metav1.ObjectMeta }
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pod, ok := s.pods[name]
	switch {
	case !ok:
		return apierrors.NewNotFound(podResource, name)
	case p.Metadata.UID == "" || p.Metadata.ResourceVersion == "":
		return errors.New("the patch is unconditional")
	case p.Metadata.ResourceVersion != pod.ResourceVersion:
		s.refused = append(s.refused, name)
		return apierrors.NewConflict(podResource, name, errors.New("another version"))
	case p.Metadata.UID != pod.UID:
		s.refused = append(s.refused, name)
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, name, nil)
	}
	s.version++
	pod.ResourceVersion = strconv.Itoa(s.version)
	pod.Labels = merged(pod.Labels, p.Metadata.Labels)
	pod.Annotations = merged(pod.Annotations, p.Metadata.Annotations)
	s.patches = append(s.patches, name+"="+p.Metadata.Labels[Label])
	return nil
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b)
	return all
}

// roles are the labels of the pods; a pod without one has "".
func (s *apiServer) roles() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	roles := map[string]string{}
	for name, pod := range s.pods {
		roles[name] = pod.Labels[Label]
	}
	return roles
}

// load is how many requests have come since it was last asked: reads and the patches that were applied.
func (s *apiServer) load() (gets int, patches []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gets, patches = s.gets, s.patches
	s.gets, s.patches = 0, nil
	return gets, patches
}

// late are the pods whose patch was refused.
func (s *apiServer) late() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

// expect compares the roles.
func (s *apiServer) expect(want map[string]string) {
	s.t.Helper()
	if got := s.roles(); !maps.Equal(got, want) {
		s.t.Errorf("the roles are %v, want %v", got, want)
	}
}

// hook is what happens before a request is sent; an error takes its place.
type hook func(ctx context.Context, name string) error

// client is one replica's way to the server. It sends whatever it is given, even if the context is done.
type client struct {
	*apiServer
	hookMu             sync.Mutex
	getHook, patchHook hook
}

func (c *client) onGet(h hook) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	c.getHook = h
}

func (c *client) onPatch(h hook) {
	c.hookMu.Lock()
	defer c.hookMu.Unlock()
	c.patchHook = h
}

func (c *client) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Pod, error) {
	if err := c.before(ctx, &c.getHook, name); err != nil {
		return nil, err
	}
	return c.get(name)
}

func (c *client) Patch(ctx context.Context, name string, kind types.PatchType, data []byte, _ metav1.PatchOptions, _ ...string) (*corev1.Pod, error) {
	if kind != types.MergePatchType {
		return nil, fmt.Errorf("a patch of type %s", kind)
	}
	if err := c.before(ctx, &c.patchHook, name); err != nil {
		return nil, err
	}
	return nil, c.patch(name, data)
}

func (c *client) before(ctx context.Context, which *hook, name string) error {
	c.hookMu.Lock()
	h := *which
	c.hookMu.Unlock()
	if h == nil {
		return nil
	}
	return h(ctx, name)
}

func forbidden(only ...string) hook {
	return func(_ context.Context, name string) error {
		for _, o := range only {
			if o == name {
				return apierrors.NewForbidden(podResource, name, errors.New("not in the Role"))
			}
		}
		return nil
	}
}
