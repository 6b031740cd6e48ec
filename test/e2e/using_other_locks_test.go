//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// A set of its own for each other lock: its leader is killed, another one leads and holds
// the lock, and what was written is there.
func TestElectionsOverOtherLocks(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	for lock, component := range map[string]string{"configmaps": "lock-configmap", "secrets": "lock-secret"} {
		t.Run(lock, func(t *testing.T) {
			s := *set
			s.namespace = set.namespace + "-" + lock
			s.holdOver(lock, component)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			t.Cleanup(s.takeDown)
			if err := s.deploy(ctx); err != nil {
				t.Fatal(err)
			}
			s.killLeader(ctx, t)
		})
	}
}

// holdOver has the election held over that lock, which a component gives the right to.
func (s *statefulSet) holdOver(lock, component string) {
	s.lock, s.components, s.flags = lock, []string{component}, []string{"--leader-elect-resource-lock=" + lock}
}

// killLeader ends the leader, and expects another one to lead that
// has what was written.
func (s *statefulSet) killLeader(ctx context.Context, t *testing.T) {
	t.Helper()
	old, err := s.lockHolder(ctx)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.serviceURL(ctx, "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	key := base + "/v1/kv/other-locks"
	s.mustAnswer(ctx, t, http.MethodPut, key, http.StatusOK)
	s.endAbruptly(ctx, t, old)
	err = poll(ctx, func() error {
		holder, err := s.lockHolder(ctx)
		if err == nil && (holder == "" || holder == old) {
			err = fmt.Errorf("%q holds the lock after %s", holder, old)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.mustAnswer(ctx, t, http.MethodGet, key+"?consistency=linearizable", http.StatusOK)
	if err := poll(ctx, func() error { return s.healthy(ctx, 3) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.kube.CoordinationV1().Leases(s.namespace).Get(ctx, setName, metav1.GetOptions{}); err == nil {
		t.Error("there is a Lease as well")
	}
}

// endAbruptly kills the pod's server, or deletes the pod by force where that cannot be done.
func (s *statefulSet) endAbruptly(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	pod, err := s.pod(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if hooked() {
		killServer(t, pod)
	} else if _, err := s.kubectl(ctx, "delete", "pod", name, "--force", "--grace-period=0"); err != nil {
		t.Fatal(err)
	}
}

// mustAnswer asks until the answer has that status.
func (s *statefulSet) mustAnswer(ctx context.Context, t *testing.T, method, url string, status int) {
	t.Helper()
	err := poll(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("x"))
		if err != nil {
			return err
		}
		a, err := send(s.route.look, req)
		if err == nil && a.status != status {
			err = fmt.Errorf("%s %s: %d %s", method, url, a.status, a.body)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The way from one lock to another that the README documents, on a set that is written to: no write fails.
func TestMigrateToAnotherLock(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := begin(t, inOrder)
	t.Cleanup(func() { set.elect(t, "leases") })
	set.elect(t, "leases,configmaps")
	set.elect(t, "configmaps")
	old := leader(t)
	kubectl(t, "delete", "pod", old)
	waitForOtherLeader(t, old)
	set.elect(t, "configmaps,leases")
	set.elect(t, "leases")
	l.finish(t)
}

// elect rolls out another lock.
func (s *statefulSet) elect(t *testing.T, locks string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*patience)
	defer cancel()
	s.holdOver(locks, "lock-configmap")
	manifests, err := s.manifests(ctx, s.image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.kubectlInput(ctx, manifests, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.kubectl(ctx, "rollout", "status", "statefulset/"+setName, "--timeout=3m"); err != nil {
		t.Fatal(err)
	}
	if err := poll(ctx, func() error { return s.healthy(ctx, 3) }); err != nil {
		t.Fatal(err)
	}
}

// lockHolder is who holds the lock; where there are two, both have to name the same.
func (s *statefulSet) lockHolder(ctx context.Context) (string, error) {
	holders := map[string]bool{}
	var last string
	for lock := range strings.SplitSeq(s.lock, ",") {
		holder, err := s.holderOf(ctx, lock)
		if err != nil {
			return "", err
		}
		last = holder
		holders[holder] = true
	}
	if len(holders) > 1 {
		return "", fmt.Errorf("the locks %s have different holders: %v", s.lock, holders)
	}
	return last, nil
}

func (s *statefulSet) holderOf(ctx context.Context, lock string) (string, error) {
	var annotations map[string]string
	switch lock {
	case "configmaps":
		object, err := s.kube.CoreV1().ConfigMaps(s.namespace).Get(ctx, setName, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		annotations = object.Annotations
	case "secrets":
		object, err := s.kube.CoreV1().Secrets(s.namespace).Get(ctx, setName, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		annotations = object.Annotations
	default:
		lease, err := s.kube.CoordinationV1().Leases(s.namespace).Get(ctx, setName, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return "", err
		}
		return *lease.Spec.HolderIdentity, nil
	}
	var record struct {
		HolderIdentity string    `json:"holderIdentity"`
		RenewTime      time.Time `json:"renewTime"`
	}
	err := json.Unmarshal([]byte(annotations[resourcelock.LeaderElectionRecordAnnotationKey]), &record)
	return record.HolderIdentity, err
}
