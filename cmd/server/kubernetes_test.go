package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/leasetest"
	"github.com/leasehold/leasehold/internal/role"
)

func TestTheLeaderLabelsItsPod(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	r := c.leader().running()
	pods := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: r.cfg.name, UID: "its-uid", ResourceVersion: "1",
	}}).CoreV1().Pods("default")
	labeler := role.New(role.Config{
		Pod: r.cfg.name, Name: r.peers.Name, Pods: pods, Replicas: r.replicas, Term: termOf(r.writes().election), Log: zaptest.NewLogger(t),
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		labeler.Run(t.Context())
	}()
	t.Cleanup(func() { <-done })
	eventually(t, func() error {
		pod, err := pods.Get(t.Context(), r.cfg.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := pod.Labels[role.Label]; got != role.Leader {
			return fmt.Errorf("labeled %q", got)
		}
		return nil
	})
	if r.writes().roles != nil {
		t.Error("replicas that are no pods are labeled")
	}
}

func TestOnlyPodsWithALeaseAreLabeled(t *testing.T) {
	t.Parallel()
	for _, cfg := range []serveConfig{
		{lock: lockStore},
		{lock: lockStore, peers: "leasehold-0=127.0.0.1:1:2"},
		{lock: lockLeases, peers: "leasehold-0=127.0.0.1:1:2"},
	} {
		if r := (&replica{cfg: cfg}); r.newRoles(nil) != nil {
			t.Errorf("lock %q, peers %q: labels pods", cfg.lock, cfg.peers)
		}
	}
}

// A request that hangs must not cost the whole renew deadline, nor wait for others; a watch may stay silent. Not
// parallel: it sets the environment.
func TestARequestToTheAPIServerHasADeadlineAndAWatchHasNone(t *testing.T) {
	api, err := leasetest.Start(local(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := api.WriteKubeconfig(file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	const renewDeadline = 600 * time.Millisecond
	kube, err := connectKubernetes(serveConfig{lock: lockLeases, leaseNamespace: "default", timing: election.Timing{RenewDeadline: renewDeadline}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kube.close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watching, err := kube.watches.CoordinationV1().Leases("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=leasehold"})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	if err := api.Set(leasetest.BlackHole); err != nil {
		t.Fatal(err)
	}
	lock := election.NewLeaseLock(election.LeaseLockConfig{
		Namespace: "default", Name: "leasehold", Leases: kube.requests.CoordinationV1(), Watches: kube.watches.CoordinationV1(),
	})
	for range 3 { // longer than a request may take in all
		start := time.Now()
		_, _, err := lock.Get(ctx)
		if !lock.Away(err) || ctx.Err() != nil {
			t.Fatalf("a read that is never answered: %v", err)
		}
		if took := time.Since(start); took < renewDeadline/3 || took > 20*renewDeadline {
			t.Errorf("a read that is never answered took %s", took)
		}
	}
	select {
	case event := <-watching.ResultChan():
		t.Errorf("the watch has not gone on: %+v", event)
	default:
	}
	if limiter := kube.requests.CoordinationV1().RESTClient().GetRateLimiter(); limiter != nil {
		t.Errorf("requests wait for each other: %g a second", limiter.QPS())
	}
}
