//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The leader is among those that are removed.
func TestScaleToFiveAndBack(t *testing.T) {
	ownSet(t)
	l := begin(t, inOrder)
	scale(t, 5)
	l.more(t, 5*clients)
	leadFrom(t, "leasehold-3", "leasehold-4")
	scale(t, 3)
	l.more(t, 5*clients)
	l.finish(t)
}

// Four pods go at once, and two of them come back to the volumes of members that were removed.
func TestScaleToOneAndBack(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := begin(t, inOrder)
	scale(t, 5)
	l.more(t, 5*clients)
	scale(t, 1)
	l.more(t, 5*clients)
	scale(t, 3)
	l.more(t, 5*clients)
	l.finish(t)
}

// Somebody changes their mind, so members leave that have only just joined, and pods come back that are leaving.
func TestScaleBackAtOnce(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := begin(t, 30*time.Second)
	for range 3 {
		for _, n := range []int{5, 3, 1, 3} {
			kubectl(t, "scale", "statefulset/"+setName, fmt.Sprintf("--replicas=%d", n))
			l.more(t, clients)
		}
	}
	l.finish(t)
}

// scale waits until n replicas, and no others, are ready voters.
func scale(t *testing.T, n int) {
	t.Helper()
	kubectl(t, "scale", "statefulset/"+setName, fmt.Sprintf("--replicas=%d", n))
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, n) })
}

// leadFrom deletes leaders until one of the named pods leads.
func leadFrom(t *testing.T, names ...string) {
	t.Helper()
	for range 10 {
		old := leader(t)
		if strings.Contains(strings.Join(names, " "), old) {
			return
		}
		kubectl(t, "delete", "pod", old)
		waitForOtherLeader(t, old)
		eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 5) })
	}
	t.Fatalf("none of %v leads after ten changes", names)
}

// A disk is lost, and when its pod has caught up, another.
func TestLoseDiskAfterDisk(t *testing.T) {
	ownSet(t)
	l := begin(t, inOrder)
	for _, pod := range []string{followers(t)[0], leader(t)} {
		before := start(t, pod)
		loseDisk(t, pod)
		eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
		if before.boot == start(t, pod).boot {
			t.Fatalf("%s was not restarted", pod)
		}
		l.more(t, 5*clients)
	}
	l.finish(t)
}

func TestMoveToAnotherNode(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	if len(nodes(t)) < 2 {
		t.Skip("there is one node only")
	}
	l := begin(t, inOrder)
	pod := followers(t)[0]
	node := start(t, pod).pod.Spec.NodeName
	kubectl(t, "cordon", node)
	t.Cleanup(func() { mustCleanUp(t, "uncordon", node) })
	loseDisk(t, pod)
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	if now := start(t, pod).pod.Spec.NodeName; now == node {
		t.Errorf("%s is on %s again", pod, node)
	}
	l.finish(t)
}

// loseDisk deletes pods with their claims. They get new volumes.
func loseDisk(t *testing.T, pods ...string) {
	t.Helper()
	var claims []string
	for _, p := range pods {
		claims = append(claims, "data-"+p)
	}
	kubectl(t, append([]string{"delete", "pvc", "--wait=false"}, claims...)...)
	kubectl(t, append([]string{"delete", "pod"}, pods...)...)
}

// With no disk left there is nothing to go on with: a new cluster forms, empty, and says so.
func TestLoseAllDisks(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	var names []string
	for _, p := range pods(t) {
		names = append(names, p.Name)
	}
	old := clusterID(t)
	loseDisk(t, names...)
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	if clusterID(t) == old {
		t.Error("the revisions still name the old cluster")
	}
	logs, err := set.kube.CoreV1().Pods(set.namespace).GetLogs("leasehold-0", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(logs), "founding a new cluster") {
		t.Errorf("leasehold-0 does not say that it has founded a new cluster:\n%s", logs)
	}
	eventually(t, func(context.Context) error {
		if out := kubectl(t, "get", "events", "--field-selector=type=Warning"); !strings.Contains(out, "new, empty store") {
			return fmt.Errorf("no event warns of a new store:\n%s", out)
		}
		return nil
	})
}

// clusterID is the part of a revision that names the cluster.
func clusterID(t *testing.T) (id string) {
	t.Helper()
	base, err := set.serviceURL(t.Context(), "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func(ctx context.Context) error {
		a, err := set.route.get(ctx, base+"/v1/leader")
		_, id, _ = strings.Cut(a.header.Get("Leasehold-Revision"), "-")
		if err == nil && id == "" {
			err = fmt.Errorf("no revision in the answer: %d %s", a.status, a.body)
		}
		return err
	})
	return id
}
