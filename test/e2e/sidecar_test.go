//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const workerName = "worker"

// sidecars are the worker's pods, elected by a sidecar, in a namespace of their own, and what their workers print.
type sidecars struct {
	*statefulSet
	mu    sync.Mutex
	steps map[string]*span // by the pod's UID
}

// span is when a pod's worker has worked, by what it has printed.
type span struct {
	pod         string
	first, last time.Time
}

// deploySidecars applies an example, with the images of these tests, and waits until one works.
func deploySidecars(t *testing.T, example string) *sidecars {
	t.Helper()
	ownSet(t)
	s := &sidecars{statefulSet: &statefulSet{kube: set.kube, namespace: "leasehold-sidecar-e2e"}, steps: map[string]*span{}}
	rendered, err := set.kubectl(t.Context(), "kustomize", filepath.Join("..", "..", "manifests", "examples", example))
	if err != nil {
		t.Fatal(err)
	}
	manifests := strings.NewReplacer(
		"leasehold-sidecar\n", s.namespace+"\n", "leasehold:dev", set.image, "busybox:1.37", cmp.Or(os.Getenv("E2E_SHELL"), "busybox:1.37"),
	).Replace(rendered)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := s.kubectl(ctx, "delete", "namespace", s.namespace); err != nil {
			t.Error(err)
		}
	})
	if out, err := s.kubectlInput(t.Context(), manifests, "apply", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
		t.Fatalf("%s, %v", out, err)
	}
	eventually(t, func(ctx context.Context) error { return s.ready(ctx) })
	return s
}

// ready returns why not all three pods are ready, or nobody holds the Lease, or the labels do not say who.
func (s *sidecars) ready(ctx context.Context) error {
	lease, err := s.kube.CoordinationV1().Leases(s.namespace).Get(ctx, workerName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return fmt.Errorf("nobody holds the Lease: %w", err)
	}
	for i := range 3 {
		pod, err := s.pod(ctx, fmt.Sprintf("%s-%d", workerName, i))
		if err != nil {
			return err
		}
		if pod.DeletionTimestamp != nil || !isReady(pod) {
			return fmt.Errorf("%s is not ready: %s", pod.Name, whyNotReady(pod))
		}
		if role := pod.Labels[roleLabel]; (role == "leader") != (pod.Name == *lease.Spec.HolderIdentity) {
			return fmt.Errorf("%s holds the Lease, and the label of %s says %q", *lease.Spec.HolderIdentity, pod.Name, role)
		}
	}
	return nil
}

// follow reads what the pod's worker prints, with the times that the kubelet gives it, until the pod is gone.
func (s *sidecars) follow(ctx context.Context, pod corev1.Pod) {
	stream, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: workerName, Follow: true, Timestamps: true,
	}).Stream(ctx)
	if err != nil {
		return // it is tried again by followAgain
	}
	defer func() { _ = stream.Close() }()
	for lines := bufio.NewScanner(stream); lines.Scan(); {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil && strings.Contains(text, " works") {
			s.step(pod, at)
		}
	}
}

// followAgain follows the pod until ctx is done: its container may not have started yet, or be started again.
func (s *sidecars) followAgain(ctx context.Context, pod corev1.Pod) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for ctx.Err() == nil {
		s.follow(ctx, pod)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

func (s *sidecars) step(pod corev1.Pod, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(pod.UID)
	if s.steps[key] == nil {
		s.steps[key] = &span{pod: pod.Name, first: at}
	}
	if at.After(s.steps[key].last) {
		s.steps[key].last = at
	}
}

// worked waits until the pod's worker has worked.
func (s *sidecars) worked(t *testing.T, uid string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.steps[uid] == nil {
			return errors.New("the worker of the leader has not worked")
		}
		return nil
	})
}

// holder waits for a holder of the Lease that has acquired it at another time than before: a pod that was killed is followed by one of
// its name, which does not hold the Lease that names it.
func (s *sidecars) holder(t *testing.T, before metav1.MicroTime) (holder corev1.Pod, acquired metav1.MicroTime) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		lease, err := s.kube.CoordinationV1().Leases(s.namespace).Get(ctx, workerName, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.AcquireTime == nil {
			return fmt.Errorf("nobody holds the Lease: %w", err)
		}
		if acquired = *lease.Spec.AcquireTime; acquired.Equal(&before) {
			return fmt.Errorf("%s still holds it", *lease.Spec.HolderIdentity)
		}
		holder, err = s.pod(ctx, *lease.Spec.HolderIdentity)
		return err
	})
	return holder, acquired
}

// replaceLeader has the leader's pod ended by end, and checks that the worker of the next one begins after the last step of
// the old one. It prints the gap.
func (s *sidecars) replaceLeader(t *testing.T, maxGap time.Duration, end func(corev1.Pod)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	old, acquired := s.holder(t, metav1.MicroTime{})
	following.Go(func() { s.followAgain(ctx, old) })
	s.worked(t, string(old.UID))
	end(old)
	next, _ := s.holder(t, acquired)
	following.Go(func() { s.followAgain(ctx, next) })
	s.worked(t, string(next.UID))
	s.mu.Lock()
	defer s.mu.Unlock()
	last, first := s.steps[string(old.UID)].last, s.steps[string(next.UID)].first
	gap := first.Sub(last)
	t.Logf("%s worked until %s, %s from %s on: a gap of %s", old.Name, last.Format(time.StampMilli), next.Name, first.Format(time.StampMilli), seconds(gap))
	if gap <= 0 {
		t.Errorf("the worker ran in two places for %s", seconds(-gap))
	}
	if gap > maxGap {
		t.Errorf("nobody worked for %s; it may be %s", seconds(gap), seconds(maxGap))
	}
}

func (s *sidecars) deletePod(t *testing.T, pod corev1.Pod) {
	t.Helper()
	if err := s.kube.CoreV1().Pods(s.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// The sidecar runs the worker. A pod that is told to stop gives way at once; one that is killed, when its Lease has run out.
func TestSidecarRunsTheWorkerInOnePlace(t *testing.T) {
	fullOnly(t)
	s := deploySidecars(t, "sidecar-exec")
	s.replaceLeader(t, 7*time.Second, func(p corev1.Pod) { s.deletePod(t, p) })
	eventually(t, s.ready)
	if os.Getenv("E2E_HOOK") == "" {
		t.Log("the leader is not killed: E2E_HOOK is not set")
		return
	}
	s.replaceLeader(t, 30*time.Second, func(p corev1.Pod) {
		// Its container is started again, and is another boot, so the pod may lead again: it is told apart by the deletion.
		mustHook(t, "node-exec", nodeNumber(p), "sh", "-c", killScript, "sh", p.Name, p.Namespace)
		s.deletePod(t, p)
	})
	eventually(t, s.ready)
}

// The worker beside the sidecar reads the file.
func TestSidecarTellsTheWorkerByAFile(t *testing.T) {
	fullOnly(t)
	s := deploySidecars(t, "sidecar")
	s.replaceLeader(t, 10*time.Second, func(p corev1.Pod) { s.deletePod(t, p) })
	eventually(t, s.ready)
}
