package leasetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/leasetest"
)

const namespace = "tests"

// waitLimit bounds whatever is waited for.
const waitLimit = 20 * time.Second

func start(t *testing.T) *leasetest.Server {
	t.Helper()
	s, err := leasetest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, s *leasetest.Server, options ...func(*rest.Config)) kubernetes.Interface {
	t.Helper()
	config := s.Config()
	config.QPS = -1
	for _, o := range options {
		o(config)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

// impatient is a client that waits for no answer longer than a moment.
func impatient(c *rest.Config) { c.Timeout = 200 * time.Millisecond }

func lockOf(clients kubernetes.Interface, identity string) *resourcelock.LeaseLock {
	return &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: "lock"}, Client: clients.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
}

func held(by string) resourcelock.LeaderElectionRecord {
	return resourcelock.LeaderElectionRecord{
		HolderIdentity: by, LeaseDurationSeconds: 15, AcquireTime: metav1.Now(), RenewTime: metav1.Now(),
	}
}

func TestLeaseLockIsWrittenByOneAtATime(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			clients := connect(t, start(t), func(c *rest.Config) { c.ContentType = contentType })
			a, b := lockOf(clients, "a"), lockOf(clients, "b")
			if _, _, err := a.Get(t.Context()); !apierrors.IsNotFound(err) {
				t.Errorf("a Lease that is not there: %v", err)
			}
			if err := a.Create(t.Context(), held("a")); err != nil {
				t.Fatal(err)
			}
			if err := b.Create(t.Context(), held("b")); !apierrors.IsAlreadyExists(err) {
				t.Errorf("second creation: %v", err)
			}
			if record, _, err := b.Get(t.Context()); err != nil || record.HolderIdentity != "a" {
				t.Fatalf("holder %+v, %v", record, err)
			}
			if err := a.Update(t.Context(), held("a")); err != nil {
				t.Error(err)
			}
			if err := b.Update(t.Context(), held("b")); !apierrors.IsConflict(err) {
				t.Errorf("update of what has changed since it was read: %v", err)
			}
		})
	}
}

func TestUpdateIsStrict(t *testing.T) {
	t.Parallel()
	leases := connect(t, start(t)).CoordinationV1().Leases(namespace)
	lease, err := leases.Create(t.Context(), named("lock"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil func(*coordinationv1.Lease)
		is    func(error) bool
	}{
		"no version":    {func(l *coordinationv1.Lease) { l.ResourceVersion = "" }, apierrors.IsInvalid},
		"other version": {func(l *coordinationv1.Lease) { l.ResourceVersion = "999" }, apierrors.IsConflict},
		"other UID":     {func(l *coordinationv1.Lease) { l.UID = "another" }, apierrors.IsConflict},
		"other name":    {func(l *coordinationv1.Lease) { l.Name = "absent" }, apierrors.IsNotFound},
	} {
		spoiled := lease.DeepCopy()
		test.spoil(spoiled)
		if _, err := leases.Update(t.Context(), spoiled, metav1.UpdateOptions{}); !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lease.Name = "new"
	if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("creation with a resource version: %v", err)
	}
}

func named(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// renewed is the Lease with another time: an update that changes nothing is none.
func renewed(lease *coordinationv1.Lease) *coordinationv1.Lease {
	lease = lease.DeepCopy()
	now := metav1.NowMicro()
	if lease.Spec.RenewTime != nil && !now.After(lease.Spec.RenewTime.Time) {
		now = metav1.NewMicroTime(lease.Spec.RenewTime.Add(time.Microsecond))
	}
	lease.Spec.RenewTime = &now
	return lease
}

func TestWatch(t *testing.T) {
	t.Parallel()
	leases := connect(t, start(t)).CoordinationV1().Leases(namespace)
	first, err := leases.Create(t.Context(), named("lock"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	selector := metav1.ListOptions{FieldSelector: "metadata.name=lock"}
	fromState := events(t, leases.Watch, selector)
	expect(t, fromState, "ADDED "+first.ResourceVersion)
	if _, err := leases.Create(t.Context(), named("other"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	second, err := leases.Update(t.Context(), renewed(first), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, fromState, "MODIFIED "+second.ResourceVersion)
	selector.ResourceVersion = first.ResourceVersion
	fromVersion := events(t, leases.Watch, selector)
	expect(t, fromVersion, "MODIFIED "+second.ResourceVersion)
	if err := leases.Delete(t.Context(), "lock", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []<-chan string{fromState, fromVersion} {
		if got := next(t, e); got[:7] != "DELETED" {
			t.Errorf("after the deletion: %s", got)
		}
	}
	list, err := leases.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "other" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestWatchOfForgottenHistoryExpires(t *testing.T) {
	t.Parallel()
	leases := connect(t, start(t)).CoordinationV1().Leases(namespace)
	lease, err := leases.Create(t.Context(), named("lock"), metav1.CreateOptions{})
	old := lease.ResourceVersion
	for i := 0; i < 1001 && err == nil; i++ {
		lease, err = leases.Update(t.Context(), renewed(lease), metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(t, events(t, leases.Watch, metav1.ListOptions{ResourceVersion: old}), "ERROR Expired")
}

func TestOutage(t *testing.T) {
	t.Parallel()
	for mode, isAway := range map[leasetest.Mode]func(error) bool{
		leasetest.Refused:     func(err error) bool { var u *url.Error; return errors.As(err, &u) }, // refused, or the open connection has ended
		leasetest.Unavailable: apierrors.IsServiceUnavailable,
		leasetest.BlackHole:   func(err error) bool { var t interface{ Timeout() bool }; return errors.As(err, &t) && t.Timeout() },
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			s := start(t)
			leases := connect(t, s, impatient).CoordinationV1().Leases(namespace)
			lease, err := leases.Create(t.Context(), named("lock"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			watched := events(t, connect(t, s).CoordinationV1().Leases(namespace).Watch, metav1.ListOptions{})
			expect(t, watched, "ADDED "+lease.ResourceVersion)
			set(t, s, mode)
			if _, err := leases.Update(t.Context(), renewed(lease), metav1.UpdateOptions{}); !isAway(err) {
				t.Errorf("update: %v", err)
			}
			set(t, s, leasetest.Up)
			again, err := leases.Get(t.Context(), "lock", metav1.GetOptions{})
			if err != nil || again.ResourceVersion != lease.ResourceVersion {
				t.Fatalf("the Lease has changed meanwhile: %+v, %v", again, err)
			}
			if mode != leasetest.BlackHole {
				if got := next(t, watched); got != "" {
					t.Errorf("the watch did not end: %s", got)
				}
				return
			}
			if again, err = leases.Update(t.Context(), renewed(again), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			expect(t, watched, "MODIFIED "+again.ResourceVersion)
		})
	}
}

func TestWatchIsSilentInABlackHole(t *testing.T) {
	t.Parallel()
	s := start(t)
	options := metav1.ListOptions{TimeoutSeconds: new(int64)}
	*options.TimeoutSeconds = 1
	watched := events(t, connect(t, s).CoordinationV1().Leases(namespace).Watch, options)
	set(t, s, leasetest.BlackHole)
	if got := next(t, watched); got != "" {
		t.Errorf("an event came out of the black hole: %s", got)
	}
}

func TestConflict(t *testing.T) {
	t.Parallel()
	s := start(t)
	leases := connect(t, s).CoordinationV1().Leases(namespace)
	lease, err := leases.Create(t.Context(), named("lock"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, leasetest.Conflict)
	if _, err := leases.Update(t.Context(), renewed(lease), metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update: %v", err)
	}
	if got, err := leases.Get(t.Context(), "lock", metav1.GetOptions{}); err != nil || got.ResourceVersion != lease.ResourceVersion {
		t.Errorf("%+v, %v", got, err)
	}
	set(t, s, leasetest.Up)
	if _, err := leases.Update(t.Context(), renewed(lease), metav1.UpdateOptions{}); err != nil {
		t.Errorf("update after it: %v", err)
	}
}

func TestSlow(t *testing.T) {
	t.Parallel()
	s := start(t)
	patient := connect(t, s).CoordinationV1().Leases(namespace)
	set(t, s, leasetest.Slow)
	began := time.Now()
	if _, err := patient.Create(t.Context(), named("lock"), metav1.CreateOptions{}); err != nil || time.Since(began) < leasetest.SlowBy {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	hasty := connect(t, s, impatient).CoordinationV1().Leases(namespace)
	if _, err := hasty.Create(t.Context(), named("other"), metav1.CreateOptions{}); err == nil {
		t.Error("an answer came at once")
	}
	set(t, s, leasetest.Up)
	if _, err := patient.Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what nobody waited for: %v", err)
	}
}

func TestElectionGoesOnAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := start(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.WriteKubeconfig(path); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 300 * time.Millisecond
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	started, stopped := make(chan struct{}, 2), make(chan struct{}, 2)
	elect := func() {
		leaderelection.RunOrDie(t.Context(), leaderelection.LeaderElectionConfig{
			Lock: lockOf(clients, "a"), LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { started <- struct{}{} },
				OnStoppedLeading: func() { stopped <- struct{}{} },
			},
		})
	}
	go func() {
		elect()
		elect()
	}()
	receive(t, started, "leadership")
	set(t, s, leasetest.BlackHole)
	receive(t, stopped, "the end of it in the outage")
	set(t, s, leasetest.Up)
	receive(t, started, "leadership after the outage")
}

func TestEventsAreTaken(t *testing.T) {
	t.Parallel()
	sink := connect(t, start(t)).CoreV1().Events(namespace)
	event, err := sink.Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}, Reason: "Elected", Count: 1}, metav1.CreateOptions{})
	if err != nil || event.ResourceVersion == "" {
		t.Fatalf("%+v, %v", event, err)
	}
	event, err = sink.Patch(t.Context(), "e", types.StrategicMergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{})
	if err != nil || event.Count != 2 || event.Reason != "Elected" {
		t.Errorf("%+v, %v", event, err)
	}
	_, err = sink.Patch(t.Context(), "absent", types.StrategicMergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("patch of an event that is not there: %v", err)
	}
}

// A ConfigMap is written by its metadata alone, and the rest of it stays as it is.
func TestMetadataIsPatchedOnCondition(t *testing.T) {
	t.Parallel()
	s := start(t)
	configMaps := connect(t, s).CoreV1().ConfigMaps(namespace)
	created, err := configMaps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "lock"}, Data: map[string]string{"color": "blue"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := metadata.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	objects := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(namespace)
	annotate := func(value, version string) error {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"a":%q},"resourceVersion":%q}}`, value, version)
		_, err := objects.Patch(t.Context(), "lock", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
	if err := annotate("1", created.ResourceVersion); err != nil {
		t.Error(err)
	}
	if err := annotate("2", created.ResourceVersion); !apierrors.IsConflict(err) {
		t.Errorf("a patch of what has changed since it was read: %v", err)
	}
	got, err := configMaps.Get(t.Context(), "lock", metav1.GetOptions{})
	if err != nil || got.Annotations["a"] != "1" || got.Data["color"] != "blue" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := annotate("1", got.ResourceVersion); err != nil {
		t.Error(err)
	}
	if same, err := objects.Get(t.Context(), "lock", metav1.GetOptions{}); err != nil || same.ResourceVersion != got.ResourceVersion {
		t.Errorf("a patch that changes nothing makes a version: %+v, %v", same, err)
	}
	if err := annotate(strings.Repeat("x", 256<<10), got.ResourceVersion); !apierrors.IsInvalid(err) {
		t.Errorf("an annotation of 256 KiB: %v", err)
	}
}

func TestWhatIsNotThereIsAStatus(t *testing.T) {
	t.Parallel()
	clients := connect(t, start(t))
	_, err := clients.CoreV1().Pods(namespace).Get(t.Context(), "p", metav1.GetOptions{})
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != http.StatusNotFound {
		t.Errorf("%v", err)
	}
}

func TestAPortIsTakenByOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	if other, err := leasetest.Start(s.URL()[len("http://"):]); err == nil {
		other.Close()
		t.Error("two servers listen on one port")
	}
}

func set(t *testing.T, s *leasetest.Server, mode leasetest.Mode) {
	t.Helper()
	if err := s.Set(mode); err != nil {
		t.Fatal(err)
	}
}
