package election

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// apiServer is where the lease lock's suite runs.
type apiServer struct {
	t               *testing.T
	namespace, name string
	leases          coordinationclient.LeasesGetter
	client          coordinationclient.LeaseInterface
	// cutWatches ends the watches that are open; nil where that cannot be done.
	cutWatches func()
}

func TestLeaseLock(t *testing.T) {
	t.Parallel()
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		leaseLockSuite(t, fakeAPIServer)
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		if os.Getenv("KUBECONFIG") == "" {
			t.Skip("KUBECONFIG names no cluster to run the same suite against")
		}
		leaseLockSuite(t, realAPIServer)
	})
}

func leaseLockSuite(t *testing.T, server func(t *testing.T) *apiServer) {
	t.Helper()
	for name, test := range map[string]func(*apiServer){
		"TheHolderAndItsBootAreWrittenAndRead":         leaseWritesAndReads,
		"AConflictIsReported":                          leaseConflicts,
		"ALeaseThatIsThereIsNotCreated":                leaseCreatesOnce,
		"OtherAnnotationsStay":                         leaseKeepsAnnotations,
		"TheWatchSendsTheHolderAndNobodyWhenItIsFree":  leaseWatch,
		"TheWatchIsBegunAgain":                         leaseWatchAgain,
		"TheWatchEndsWithItsContext":                   leaseWatchEnds,
		"ALeaseWithoutAnnotationHasAHolderWithoutBoot": leaseWithoutBoot,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(server(t))
		})
	}
}

// fakeAPIServer is client-go's fake with what it lacks: resource versions that are checked, watches with a
// field selector, and watches that end with their context.
func fakeAPIServer(t *testing.T) *apiServer {
	t.Helper()
	clients := fake.NewClientset()
	var (
		mu      sync.Mutex
		version int
		watches []watch.Interface
	)
	clients.PrependReactor("create", "leases", func(a k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		version++
		leaseOf(a).ResourceVersion = strconv.Itoa(version)
		return false, nil, nil
	})
	clients.PrependReactor("update", "leases", func(a k8stesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		lease := leaseOf(a)
		now, err := clients.Tracker().Get(a.GetResource(), a.GetNamespace(), lease.Name)
		if err != nil {
			return true, nil, err
		}
		at := now.(*coordinationv1.Lease).ResourceVersion //nolint:errcheck // the tracker holds leases
		if lease.ResourceVersion != at {
			return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), lease.Name,
				fmt.Errorf("at %s, not %s", at, lease.ResourceVersion))
		}
		version++
		lease.ResourceVersion = strconv.Itoa(version)
		return true, lease, clients.Tracker().Update(a.GetResource(), lease, a.GetNamespace())
	})
	clients.PrependWatchReactor("leases", func(a k8stesting.Action) (bool, watch.Interface, error) {
		action := a.(k8stesting.WatchActionImpl) //nolint:errcheck // it is one
		selector := action.GetWatchRestrictions().Fields
		w, err := clients.Tracker().Watch(a.GetResource(), a.GetNamespace(), action.ListOptions)
		if err != nil {
			return true, nil, err
		}
		w = watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
			name := e.Object.(*coordinationv1.Lease).Name //nolint:errcheck // the tracker holds leases
			return e, selector.Matches(nameField(name))
		})
		mu.Lock()
		defer mu.Unlock()
		watches = append(watches, w)
		return true, w, nil
	})
	const namespace = "default"
	return &apiServer{
		t: t, namespace: namespace, name: "lock",
		leases: endingWatches{clients.CoordinationV1()},
		client: clients.CoordinationV1().Leases(namespace),
		cutWatches: func() {
			mu.Lock()
			defer mu.Unlock()
			for _, w := range watches {
				w.Stop()
			}
			watches = nil
		},
	}
}

func leaseOf(a k8stesting.Action) *coordinationv1.Lease {
	return a.(interface{ GetObject() runtime.Object }).GetObject().(*coordinationv1.Lease) //nolint:errcheck // it is one
}

// nameField is the field that a selector looks at.
type nameField string

func (n nameField) Has(field string) bool { return field == metav1.ObjectNameField }
func (n nameField) Get(string) string     { return string(n) }

// endingWatches ends a watch with its context, as a real client does and the fake does not.
type endingWatches struct {
	coordinationclient.LeasesGetter
}

func (e endingWatches) Leases(namespace string) coordinationclient.LeaseInterface {
	return endingWatch{e.LeasesGetter.Leases(namespace)}
}

type endingWatch struct {
	coordinationclient.LeaseInterface
}

func (e endingWatch) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := e.LeaseInterface.Watch(ctx, o)
	if err == nil {
		context.AfterFunc(ctx, w.Stop)
	}
	return w, err
}

func realAPIServer(t *testing.T) *apiServer {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &apiServer{
		t: t, namespace: "default", name: fmt.Sprintf("leasehold-test-%d", time.Now().UnixNano()),
		leases: clients.CoordinationV1(), client: clients.CoordinationV1().Leases("default"),
	}
	t.Cleanup(func() {
		err := s.client.Delete(context.Background(), s.name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return s
}

func (s *apiServer) lock(pod, boot string) *LeaseLock {
	return NewLeaseLock(LeaseLockConfig{
		Namespace: s.namespace, Name: s.name, Pod: pod, BootID: boot, Leases: s.leases, Watches: s.leases,
	})
}

func held(pod string) resourcelock.LeaderElectionRecord {
	now := metav1.NewTime(time.Now()) // to the microsecond: an update that changes nothing is none to an API server
	return resourcelock.LeaderElectionRecord{HolderIdentity: pod, LeaseDurationSeconds: 15, AcquireTime: now, RenewTime: now}
}

func create(t *testing.T, l Lock, pod string) {
	t.Helper()
	if err := l.Create(t.Context(), held(pod)); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, l Lock, pod string) {
	t.Helper()
	if err := l.Update(t.Context(), held(pod)); err != nil {
		t.Fatal(err)
	}
}

// expectHolder reads the lock and compares.
func expectHolder(t *testing.T, l Lock, pod, boot string) {
	t.Helper()
	record, raw, err := l.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if record.HolderIdentity != pod || l.HolderBoot() != boot || len(raw) == 0 {
		t.Errorf("held by %q under boot %q, want %q under %q", record.HolderIdentity, l.HolderBoot(), pod, boot)
	}
}

func leaseWritesAndReads(s *apiServer) {
	t := s.t
	a, b := s.lock("pod-0", "boot-a"), s.lock("pod-1", "boot-b")
	if _, _, err := a.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Fatalf("Get: %v, want not found", err)
	}
	create(t, a, "pod-0")
	expectHolder(t, b, "pod-0", "boot-a")
	update(t, a, "pod-0") // a renewal, on what it has written last
	expectHolder(t, b, "pod-0", "boot-a")
	update(t, b, "pod-1")
	expectHolder(t, a, "pod-1", "boot-b")
	update(t, a, "")
	expectHolder(t, b, "", "boot-a")
	if a.Identity() != "pod-0" || a.Describe() != s.namespace+"/"+s.name {
		t.Errorf("%q, %q", a.Identity(), a.Describe())
	}
}

func leaseConflicts(s *apiServer) {
	t := s.t
	a, b := s.lock("pod-0", "boot-a"), s.lock("pod-1", "boot-b")
	create(t, a, "pod-0")
	expectHolder(t, b, "pod-0", "boot-a")
	update(t, a, "pod-0")
	if err := b.Update(t.Context(), held("pod-1")); !apierrors.IsConflict(err) {
		t.Errorf("Update on an old version: %v, want a conflict", err)
	}
	expectHolder(t, b, "pod-0", "boot-a")
}

func leaseCreatesOnce(s *apiServer) {
	t := s.t
	create(t, s.lock("pod-0", "boot-a"), "pod-0")
	b := s.lock("pod-1", "boot-b")
	if err := b.Create(t.Context(), held("pod-1")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("Create: %v, want that it exists", err)
	}
	expectHolder(t, b, "pod-0", "boot-a")
}

func leaseKeepsAnnotations(s *apiServer) {
	t := s.t
	_, err := s.client.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: s.name, Annotations: map[string]string{"who": "helm"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := s.lock("pod-0", "boot-a")
	expectHolder(t, a, "", "") // created in advance: free
	update(t, a, "pod-0")
	lease, err := s.client.Get(t.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Annotations["who"] != "helm" || lease.Annotations[BootAnnotation] != "boot-a" {
		t.Errorf("annotations: %v", lease.Annotations)
	}
}

func leaseWithoutBoot(s *apiServer) {
	t := s.t
	holder := "pod-0"
	_, err := s.client.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expectHolder(t, s.lock("pod-0", "boot-a"), "pod-0", "")
}

// next is the next holder that the watch sends which is not the one before.
func next(t *testing.T, holders <-chan string, before string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case holder, ok := <-holders:
			if !ok {
				t.Fatal("the watch has ended")
			}
			if holder != before {
				return holder
			}
		case <-timeout:
			t.Fatalf("the watch sends nothing but %q", before)
		}
	}
}

func leaseWatch(s *apiServer) {
	t := s.t
	a := s.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := s.lock("pod-1", "boot-b").Watch(t.Context())
	if got := next(t, holders, "none"); got != "pod-0" {
		t.Fatalf("begins with %q", got)
	}
	stranger := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name + "-other"}}
	if _, err := s.client.Create(t.Context(), stranger, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.client.Delete(t.Context(), stranger.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, holder := range []string{"pod-7", "", "pod-8"} { // another Lease's holder would come first
		update(t, a, holder)
		before := "pod-0"
		if got := next(t, holders, before); got != holder {
			t.Fatalf("sent %q, want %q", got, holder)
		}
	}
	if err := s.client.Delete(t.Context(), s.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, holders, "pod-8"); got != "" {
		t.Errorf("a Lease that is gone is held by %q", got)
	}
}

func leaseWatchAgain(s *apiServer) {
	t := s.t
	if s.cutWatches == nil {
		t.Skip("a real server's watches cannot be cut from here")
	}
	a := s.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := s.lock("pod-1", "boot-b").Watch(t.Context())
	next(t, holders, "none")
	s.cutWatches()
	update(t, a, "") // not seen by any watch
	if got := next(t, holders, "pod-0"); got != "" {
		t.Errorf("sent %q, want that the lock is free", got)
	}
	update(t, a, "pod-0")
	if got := next(t, holders, ""); got != "pod-0" {
		t.Errorf("sent %q", got)
	}
}

func leaseWatchEnds(s *apiServer) {
	t := s.t
	ctx, cancel := context.WithCancel(t.Context())
	a := s.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := a.Watch(ctx)
	next(t, holders, "none")
	cancel()
	for range holders {
		continue
	}
}
