package main

import (
	"fmt"
	"testing"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

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
		Pod: r.cfg.name, Name: r.peers.Name, Pods: pods, Replicas: r.replicas, Term: termOf(r.election), Log: zaptest.NewLogger(t),
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
	if r.roles != nil {
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
