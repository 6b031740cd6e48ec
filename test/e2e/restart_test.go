//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDeleteLeader(t *testing.T) {
	l := begin(t, inOrder)
	old := leader(t)
	if err := set.kube.CoreV1().Pods(set.namespace).Delete(t.Context(), old, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitForOtherLeader(t, old)
	l.finish(t)
}

func TestDeleteFollower(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := begin(t, inOrder)
	kubectl(t, "delete", "pod", followers(t)[0])
	l.finish(t)
}

// A deleted pod of a StatefulSet is only replaced once it is known to be gone. Forced, it is forgotten at once, and
// may run on beside its replacement.
func TestForceDeleteLeader(t *testing.T) {
	ownSet(t)
	l := beginAbrupt(t, takenOver)
	old := leader(t)
	kubectl(t, "delete", "pod", old, "--force", "--grace-period=0")
	l.more(t, 5*clients)
	l.finish(t)
}

// Nobody is told, and nothing is given up: the process is gone from one moment to the next.
func TestKillLeader(t *testing.T) {
	ownSet(t)
	needHook(t)
	l := beginAbrupt(t, takenOver)
	old := leader(t)
	before := start(t, old)
	killServer(t, before.pod)
	waitForOtherLeader(t, old)
	l.more(t, 20*clients)
	eventually(t, func(ctx context.Context) error { // the kubelet tells of a restart some time after it
		now, err := set.started(ctx, old)
		if err == nil && (now.boot == before.boot || now.restarts == before.restarts) {
			err = fmt.Errorf("%s runs on: boot ID %s, %d restarts", old, now.boot, now.restarts)
		}
		return err
	})
	l.finish(t)
}

// killScript kills each process that has the pod's name and namespace in its environment, and prints its ID.
const killScript = `for p in /proc/[0-9]*; do
  grep -qsxz "POD_NAME=$1" $p/environ && grep -qsxz "POD_NAMESPACE=$2" $p/environ && kill -9 ${p#/proc/} && echo ${p#/proc/}
done; true`

func killServer(t *testing.T, pod corev1.Pod) {
	t.Helper()
	killed := mustHook(t, "node-exec", nodeNumber(pod), "sh", "-c", killScript, "sh", pod.Name, pod.Namespace)
	if n := len(strings.Fields(killed)); n != 1 {
		t.Fatalf("%d processes of %s were killed, want its server alone", n, pod.Name)
	}
}

func TestDeleteAllPods(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := beginAbrupt(t, 30*time.Second)
	kubectl(t, "delete", "pod", "-l", podSelector)
	l.finish(t)
}

func TestRolloutRestart(t *testing.T) {
	ownSet(t)
	l := begin(t, inOrder)
	kubectl(t, "rollout", "restart", "statefulset/"+setName)
	waitForRollout(t)
	l.finish(t)
}

func TestUpgradeImage(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	next := os.Getenv("E2E_UPGRADE")
	if next == "" {
		t.Skip("no image to upgrade to; E2E_UPGRADE names one")
	}
	l := begin(t, inOrder)
	for _, image := range []string{next, set.image} {
		kubectl(t, "set", "image", "statefulset/"+setName, "server="+image)
		waitForRollout(t)
		for _, p := range pods(t) {
			if got := p.Spec.Containers[0].Image; got != image {
				t.Errorf("%s runs %s, not %s", p.Name, got, image)
			}
		}
	}
	l.finish(t)
}

// Every node is drained in turn, as in an upgrade of the cluster.
func TestDrainNodes(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	if len(nodes(t)) < 2 {
		t.Skip("there is one node only: a drained pod has nowhere to go")
	}
	spread(t)
	l := begin(t, inOrder)
	for _, node := range nodes(t) {
		t.Cleanup(func() { mustCleanUp(t, "uncordon", node) })
		kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector="+podSelector, "--timeout=3m")
		kubectl(t, "uncordon", node)
		eventually(t, func(ctx context.Context) error { return set.podsReady(ctx, 3) })
	}
	l.finish(t)
}

// spread gives each pod a node of its own, as far as there are nodes: to cut or freeze a node must not hit a majority. And
// where a volume is tied to a node, two pods that share one could not both be evicted from it: the first waits for the
// node, and the budget for the first.
func spread(t *testing.T) {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	taken := map[string]bool{}
	var tooMany []string
	for _, p := range pods(t) {
		if taken[p.Spec.NodeName] {
			tooMany = append(tooMany, p.Name)
		}
		taken[p.Spec.NodeName] = true
	}
	for _, pod := range tooMany {
		if len(taken) == len(nodes(t)) {
			return
		}
		for node := range taken {
			t.Cleanup(func() { mustCleanUp(t, "uncordon", node) })
			kubectl(t, "cordon", node)
		}
		loseDisk(t, pod)
		eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
		for node := range taken {
			kubectl(t, "uncordon", node)
		}
		taken[start(t, pod).pod.Spec.NodeName] = true
	}
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := set.kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mustCleanUp is kubectl after the test.
func mustCleanUp(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := set.kubectl(ctx, args...); err != nil {
		t.Error(err)
	}
}

func waitForRollout(t *testing.T) {
	t.Helper()
	kubectl(t, "rollout", "status", "statefulset/"+setName, "--timeout=5m")
}

func pods(t *testing.T) []corev1.Pod {
	t.Helper()
	list, err := set.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// nodes are the names of those that take pods.
func nodes(t *testing.T) (names []string) {
	t.Helper()
	list, err := set.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list.Items {
		if !n.Spec.Unschedulable && !slices.ContainsFunc(n.Spec.Taints, func(taint corev1.Taint) bool { return taint.Effect == corev1.TaintEffectNoSchedule }) {
			names = append(names, n.Name)
		}
	}
	return names
}

// leader waits until a pod holds the Lease and says that it leads.
func leader(t *testing.T) (name string) {
	t.Helper()
	eventually(t, func(ctx context.Context) (err error) {
		if name, err = set.lockHolder(ctx); err != nil || name == "" {
			return fmt.Errorf("nobody holds the Lease: %w", err)
		}
		pod, err := set.pod(ctx, name)
		if err != nil {
			return err
		}
		a, err := set.route.get(ctx, set.podURL(pod)+"/leaderz")
		if err == nil && a.status != 200 {
			err = fmt.Errorf("%s holds the Lease and does not lead: %s", name, a.body)
		}
		return err
	})
	return name
}

func waitForOtherLeader(t *testing.T, old string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		holder, err := set.lockHolder(ctx)
		if err == nil && (holder == "" || holder == old) {
			err = fmt.Errorf("%q holds the Lease", holder)
		}
		return err
	})
}

// followers are the pods that do not lead, those with the higher ordinals first.
func followers(t *testing.T) (names []string) {
	t.Helper()
	leading := leader(t)
	for _, p := range pods(t) {
		if p.Name != leading {
			names = append([]string{p.Name}, names...)
		}
	}
	return names
}
