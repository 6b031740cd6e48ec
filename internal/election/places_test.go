package election

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"

	"github.com/leasehold/leasehold/internal/leasetest"
)

// place is where a lock is kept, with the ways that lead around the lock.
type place struct {
	t    *testing.T
	lock func(pod, boot string) Lock
	// foreign writes the record as a client does that knows nothing of boot IDs.
	foreign func(record resourcelock.LeaderElectionRecord)
	// scrawl writes a text in the record's place; nil where a record is no text.
	scrawl func(text string)
	remove func()
	// fill leaves no room for a record; nil where there is no limit.
	fill func()
	// at is the API server, nil where there is none; and api that in this process, nil where it is none.
	at  *apiServer
	api *leasetest.Server
}

// inPlaces runs the test in every place that this process can have, and on the API server of $KUBECONFIG.
func inPlaces(t *testing.T, test func(p *place)) {
	t.Helper()
	for name, open := range map[string]func(*testing.T, *apiServer) *place{
		"leases": leasePlace, "configmaps": objectPlace(ConfigMaps()), "secrets": objectPlace(Secrets()), "pair": pairPlace,
	} {
		t.Run("here/"+name, func(t *testing.T) {
			t.Parallel()
			test(open(t, standIn(t)))
		})
		t.Run("real/"+name, func(t *testing.T) {
			t.Parallel()
			test(open(t, realAPIServer(t)))
		})
	}
	t.Run("here/store", func(t *testing.T) {
		t.Parallel()
		test(storePlace(t))
	})
}

// apiServer is one that locks can be kept on, under a name that nobody else has.
type apiServer struct {
	t               *testing.T
	config          *rest.Config
	server          *leasetest.Server
	namespace, name string
	clients         kubernetes.Interface
	patient         kubernetes.Interface // for watches
	hasty           kubernetes.Interface // for elections in an outage
	hastyObjects    metadata.Interface
	objects         metadata.Interface
	watches         metadata.Interface
	dynamic         dynamic.Interface
}

func standIn(t *testing.T) *apiServer {
	t.Helper()
	server, err := leasetest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := connect(t, server.Config())
	s.server, s.name = server, "lock"
	return s
}

// realAPIServer is that of $KUBECONFIG. What is made there goes when the test ends.
func realAPIServer(t *testing.T) *apiServer {
	t.Helper()
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("KUBECONFIG names no cluster to run the same test against")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	s := connect(t, config)
	s.name = fmt.Sprintf("leasehold-test-%d", time.Now().UnixNano())
	t.Cleanup(func() {
		for _, resource := range []schema.GroupVersionResource{
			coordinationv1.SchemeGroupVersion.WithResource("leases"), ConfigMaps().Resource, Secrets().Resource,
		} {
			must(t, s.dynamic.Resource(resource).Namespace(s.namespace).Delete(context.Background(), s.name, metav1.DeleteOptions{}))
		}
	})
	return s
}

// anAPIServer is the one that is named: here, or real.
func anAPIServer(t *testing.T, name string) *apiServer {
	t.Helper()
	if name == "here" {
		return standIn(t)
	}
	return realAPIServer(t)
}

func connect(t *testing.T, config *rest.Config) *apiServer {
	t.Helper()
	config = rest.CopyConfig(config)
	config.QPS, config.Timeout = -1, 10*time.Second // of no account to what is tested, whatever else the machine does
	s := &apiServer{t: t, config: config, namespace: "default"}
	var err error
	if s.clients, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	patient := rest.CopyConfig(config)
	patient.Timeout = 0
	if s.patient, err = kubernetes.NewForConfig(patient); err != nil {
		t.Fatal(err)
	}
	if s.watches, err = metadata.NewForConfig(patient); err != nil {
		t.Fatal(err)
	}
	if s.objects, err = metadata.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	hasty := rest.CopyConfig(config)
	hasty.Timeout = short.RenewDeadline / 2 // an outage has to be noticed in time
	if s.hasty, err = kubernetes.NewForConfig(hasty); err != nil {
		t.Fatal(err)
	}
	if s.hastyObjects, err = metadata.NewForConfig(hasty); err != nil {
		t.Fatal(err)
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return s
}

// must fails the test on any error but that there is nothing.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

func (s *apiServer) leaseLock(pod, boot string) *LeaseLock {
	return NewLeaseLock(LeaseLockConfig{
		Namespace: s.namespace, Name: s.name, Pod: pod, BootID: boot,
		Leases: s.clients.CoordinationV1(), Watches: s.patient.CoordinationV1(),
	})
}

func leasePlace(t *testing.T, s *apiServer) *place {
	t.Helper()
	leases := s.clients.CoordinationV1().Leases(s.namespace)
	remove := func() { must(t, leases.Delete(context.Background(), s.name, metav1.DeleteOptions{})) }
	return &place{
		t: t, at: s, api: s.server, remove: remove,
		lock: func(pod, boot string) Lock { return s.leaseLock(pod, boot) },
		foreign: func(record resourcelock.LeaderElectionRecord) {
			t.Helper()
			if record.LeaseDurationSeconds == 0 { // which no API server takes: such a Lease names none
				lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: s.name}}
				lease.Spec.HolderIdentity = &record.HolderIdentity
				if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				return
			}
			plain := &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: s.name}, Client: s.clients.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: record.HolderIdentity},
			}
			overwrite(t, plain, record)
		},
	}
}

// overwrite has another client write the record, whoever holds the lock.
func overwrite(t *testing.T, l resourcelock.Interface, record resourcelock.LeaderElectionRecord) {
	t.Helper()
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		_, _, err := l.Get(t.Context())
		if apierrors.IsNotFound(err) {
			return l.Create(t.Context(), record)
		}
		return l.Update(t.Context(), record)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *apiServer) objectLock(kind ObjectKind, pod, boot string) *ObjectLock {
	return NewObjectLock(ObjectLockConfig{
		Kind: kind, Namespace: s.namespace, Name: s.name, Pod: pod, BootID: boot,
		Objects: s.objects, Watches: s.watches, Creator: s.dynamic,
	})
}

func objectPlace(kind ObjectKind) func(*testing.T, *apiServer) *place {
	return func(t *testing.T, s *apiServer) *place {
		t.Helper()
		objects := s.dynamic.Resource(kind.Resource).Namespace(s.namespace)
		remove := func() { must(t, objects.Delete(context.Background(), s.name, metav1.DeleteOptions{})) }
		annotate := func(key, text string) {
			t.Helper()
			err := retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
				object, err := objects.Get(t.Context(), s.name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					object = &unstructured.Unstructured{}
					object.SetGroupVersionKind(kind.Resource.GroupVersion().WithKind(kind.Kind))
					object.SetName(s.name)
					object.SetAnnotations(map[string]string{key: text})
					_, err = objects.Create(t.Context(), object, metav1.CreateOptions{})
					return err
				}
				if err != nil {
					return err
				}
				annotations := object.GetAnnotations()
				if annotations == nil {
					annotations = map[string]string{}
				}
				annotations[key] = text
				object.SetAnnotations(annotations)
				_, err = objects.Update(t.Context(), object, metav1.UpdateOptions{})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		scrawl := func(text string) { annotate(resourcelock.LeaderElectionRecordAnnotationKey, text) }
		return &place{
			t: t, at: s, api: s.server, remove: remove, scrawl: scrawl,
			lock:    func(pod, boot string) Lock { return s.objectLock(kind, pod, boot) },
			foreign: func(record resourcelock.LeaderElectionRecord) { scrawl(plainRecord(t, record)) },
			fill:    func() { annotate("full", strings.Repeat("x", 256<<10-100)) }, // of what annotations may have together
		}
	}
}

// plainRecord is the record as client-go's own lock on a ConfigMap wrote it.
func plainRecord(t *testing.T, r resourcelock.LeaderElectionRecord) string {
	t.Helper()
	return fmt.Sprintf(`{"holderIdentity":%q,"leaseDurationSeconds":%d,"acquireTime":%q,"renewTime":%q,"leaderTransitions":%d}`,
		r.HolderIdentity, r.LeaseDurationSeconds, r.AcquireTime.UTC().Format(time.RFC3339), r.RenewTime.UTC().Format(time.RFC3339), r.LeaderTransitions)
}

// pairPlace is a Lease and a ConfigMap; what others do, they do to the second.
func pairPlace(t *testing.T, s *apiServer) *place {
	t.Helper()
	lease, object := leasePlace(t, s), objectPlace(ConfigMaps())(t, s)
	p := *object
	p.lock = func(pod, boot string) Lock { return NewPairLock(lease.lock(pod, boot), object.lock(pod, boot), boot) }
	p.remove = func() {
		lease.remove()
		object.remove()
	}
	return &p
}

func storePlace(t *testing.T) *place {
	t.Helper()
	client, key := startEtcd(t), t.Name()
	scrawl := func(text string) {
		t.Helper()
		if _, err := client.Put(t.Context(), key, text); err != nil {
			t.Fatal(err)
		}
	}
	return &place{
		t: t, scrawl: scrawl,
		lock:    func(pod, boot string) Lock { return storeLock(client, key, pod, boot) },
		foreign: func(record resourcelock.LeaderElectionRecord) { scrawl(plainRecord(t, record)) },
		remove: func() {
			if _, err := client.Delete(context.Background(), key); err != nil {
				t.Fatal(err)
			}
		},
	}
}
