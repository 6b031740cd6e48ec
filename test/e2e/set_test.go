//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	setName     = "leasehold"
	roleLabel   = "leasehold.dev/role"
	podSelector = "app.kubernetes.io/name=leasehold,app.kubernetes.io/component=server"
	// patience is how long a condition may take to come true.
	patience = 3 * time.Minute
)

// statefulSet is Leasehold as it is deployed, and the ways to reach it.
type statefulSet struct {
	kube      kubernetes.Interface
	namespace string
	owned     bool // deployed by these tests
	image     string
	route     route
	// lock is what the election is held over, by its flag.
	lock string
	// components and flags of the server are added to the manifests.
	components, flags []string
}

func newStatefulSet(config *rest.Config) (*statefulSet, error) {
	config.QPS, config.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &statefulSet{
		kube: kube, namespace: "leasehold-e2e", owned: true, lock: "leases", image: cmp.Or(os.Getenv("E2E_IMAGE"), "leasehold:dev"),
		route: route{api: config},
	}
	if ns := os.Getenv("E2E_DEPLOYED"); ns != "" {
		s.namespace, s.owned = ns, false
	}
	return s, nil
}

// kubectl runs it in the namespace of the set and returns what it prints.
func (s *statefulSet) kubectl(ctx context.Context, args ...string) (string, error) {
	return s.kubectlInput(ctx, "", args...)
}

func (s *statefulSet) kubectlInput(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"-n", s.namespace}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// manifests are those of the overlay for development, in the namespace and with the image of these tests.
func (s *statefulSet) manifests(ctx context.Context, image string) (string, error) {
	dir, err := os.MkdirTemp("", "leasehold-e2e-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	overlay, err := filepath.Rel(resolved, filepath.Join(root, "manifests", "overlays", "dev"))
	if err != nil {
		return "", err
	}
	name, tag := image, ""
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		name, tag = image[:colon], image[colon+1:]
	}
	kustomization := fmt.Sprintf("namespace: %s\nresources: [%q]\nimages: [{name: leasehold, newName: %q, newTag: %q}]\n", s.namespace, overlay, name, tag)
	kustomization += s.additions(overlay)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return "", err
	}
	return s.kubectl(ctx, "kustomize", dir)
}

// additions are the components and the flags, after theirs.
func (s *statefulSet) additions(overlay string) string {
	var text strings.Builder
	for i, c := range s.components {
		if i == 0 {
			text.WriteString("components:\n")
		}
		fmt.Fprintf(&text, "  - %q\n", filepath.Join(overlay, "..", "..", "components", c))
	}
	for i, flag := range s.flags {
		if i == 0 {
			fmt.Fprintf(&text, "patches:\n  - target: {kind: StatefulSet, name: %s}\n    patch: |\n", setName)
		}
		fmt.Fprintf(&text, "      - {op: add, path: /spec/template/spec/containers/0/args/-, value: %q}\n", flag)
	}
	return text.String()
}

// deploy applies the manifests and waits until every replica is ready and one leads.
func (s *statefulSet) deploy(ctx context.Context) error {
	if s.owned {
		manifests, err := s.manifests(ctx, s.image)
		if err != nil {
			return err
		}
		out, err := s.kubectlInput(ctx, manifests, "apply", "-f", "-")
		if err != nil {
			return err
		}
		if strings.Contains(out, "Warning") {
			return fmt.Errorf("the API server warns: %s", out)
		}
		if err := s.freeVolumes(ctx); err != nil {
			return err
		}
	}
	if err := poll(ctx, func() error { return s.podsReady(ctx, 3) }); err != nil {
		return err
	}
	if err := s.route.choose(ctx, s); err != nil {
		return err
	}
	return poll(ctx, func() error { return s.healthy(ctx, 3) })
}

func (s *statefulSet) takeDown() {
	if !s.owned {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	_, err := s.kubectl(ctx, "delete", "namespace", s.namespace)
	if err == nil {
		err = s.freeVolumes(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: take down: %v\n", err)
	}
}

// pods are the set's, in the order of their ordinals.
func (s *statefulSet) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: podSelector})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items, nil
}

func (s *statefulSet) pod(ctx context.Context, name string) (corev1.Pod, error) {
	pod, err := s.kube.CoreV1().Pods(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return corev1.Pod{}, err
	}
	return *pod, nil
}

// podsReady returns why not all of n pods are ready, and no others are left.
func (s *statefulSet) podsReady(ctx context.Context, n int) error {
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			return fmt.Errorf("%s is being deleted", p.Name)
		}
		if !isReady(p) {
			return fmt.Errorf("%s is not ready: %s", p.Name, whyNotReady(p))
		}
	}
	if len(pods) != n {
		return fmt.Errorf("there are %d pods, not %d", len(pods), n)
	}
	return nil
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func whyNotReady(p corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return c.State.Waiting.Reason + " " + c.State.Waiting.Message
		}
	}
	return string(p.Status.Phase)
}

// clusterBody is what GET /v1/cluster answers.
type clusterBody struct {
	Leader   string `json:"leader"`
	Epoch    uint64 `json:"epoch"`
	Replicas []struct {
		Pod       string `json:"pod"`
		Voter     bool   `json:"voter"`
		Role      string `json:"role"`
		Reachable bool   `json:"reachable"`
		Ready     bool   `json:"ready"`
		BootID    string `json:"boot_id"`
	} `json:"replicas"`
}

// healthy returns why not all of n replicas are ready voters that see each other, name the same leader, and only
// that one says that it leads, holds the lock, and has the leader's label.
func (s *statefulSet) healthy(ctx context.Context, n int) error {
	if err := s.podsReady(ctx, n); err != nil {
		return err
	}
	pods, err := s.pods(ctx)
	if err != nil {
		return err
	}
	var leader string
	for _, p := range pods {
		var c clusterBody
		if err := s.route.getJSON(ctx, s.podURL(p)+"/v1/cluster", &c); err != nil {
			return err
		}
		if len(c.Replicas) != n {
			return fmt.Errorf("%s knows %d members, not %d", p.Name, len(c.Replicas), n)
		}
		for _, r := range c.Replicas {
			if !r.Voter || !r.Reachable || !r.Ready {
				return fmt.Errorf("%s says of %s: voter %t, reachable %t, ready %t", p.Name, r.Pod, r.Voter, r.Reachable, r.Ready)
			}
		}
		if leader == "" {
			leader = c.Leader
		}
		if c.Leader == "" || c.Leader != leader {
			return fmt.Errorf("%s names %q the leader, %s %q", p.Name, c.Leader, pods[0].Name, leader)
		}
	}
	return s.onlyLeader(ctx, pods, leader)
}

func (s *statefulSet) onlyLeader(ctx context.Context, pods []corev1.Pod, leader string) error {
	for _, p := range pods {
		a, err := s.route.get(ctx, s.podURL(p)+"/leaderz")
		if err != nil {
			return err
		}
		if leads := a.status == http.StatusOK; leads != (p.Name == leader) {
			return fmt.Errorf("%s leads, but /leaderz of %s says %d", leader, p.Name, a.status)
		}
		if labeled := p.Labels[roleLabel]; labeled != map[bool]string{true: "leader", false: "follower"}[p.Name == leader] {
			return fmt.Errorf("%s leads, but the label of %s says %q", leader, p.Name, labeled)
		}
	}
	holder, err := s.lockHolder(ctx)
	if err == nil && holder != leader {
		return fmt.Errorf("%s leads, but %q holds the lock", leader, holder)
	}
	return err
}

// freeVolumes lets the hook do what a provisioner would, where there is none.
func (s *statefulSet) freeVolumes(ctx context.Context) error {
	if os.Getenv("E2E_HOOK") == "" {
		return nil
	}
	_, err := hook(ctx, "volumes")
	return err
}

// hook runs the environment's command and returns its standard output.
func hook(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, os.Getenv("E2E_HOOK"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second // what it started in the background may keep its output open
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", fmt.Errorf("hook %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// poll calls check until it succeeds. When ctx is done, the error says why not yet.
func poll(ctx context.Context, check func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not in time: %w", err)
		}
	}
}

// eventually fails the test if check does not succeed within patience.
func eventually(t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := poll(ctx, func() error { return check(ctx) }); err != nil {
		t.Fatal(err)
	}
}
