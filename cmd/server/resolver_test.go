package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/resolver"
)

func podAt(name string, phase corev1.PodPhase, ips ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "here", Name: name}, Status: corev1.PodStatus{Phase: phase}}
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return pod
}

func TestPodsAreWhereTheAPIServerSays(t *testing.T) {
	t.Parallel()
	terminating := podAt("leasehold-1", corev1.PodRunning, "10.0.0.1")
	terminating.DeletionTimestamp = new(metav1.Now())
	lookup := podLookup(fake.NewClientset(
		podAt("leasehold-0", corev1.PodRunning, "10.0.0.9", "fd00::9"),
		terminating,
		podAt("leasehold-2", corev1.PodPending),
		podAt("leasehold-3", corev1.PodFailed, "10.0.0.3"),
		podAt("leasehold-4", corev1.PodSucceeded, "10.0.0.4"),
	), "here", zap.NewNop())
	for name, tt := range map[string]struct {
		pod  string
		want []string
		err  error
	}{
		"two families":      {"leasehold-0", []string{"10.0.0.9", "fd00::9"}, nil},
		"terminating":       {"leasehold-1", []string{"10.0.0.1"}, nil},
		"no address yet":    {"leasehold-2", nil, nil},
		"evicted":           {"leasehold-3", nil, nil},
		"ended":             {"leasehold-4", nil, nil},
		"there is no other": {"leasehold-5", nil, resolver.ErrNoPod},
	} {
		addrs, err := lookup(t.Context(), tt.pod)
		var got []string
		for _, addr := range addrs {
			got = append(got, addr.String())
		}
		if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, %v; want %v, %v", name, got, err, tt.want, tt.err)
		}
	}
}

func TestForbiddenPodsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset()
	kube.PrependReactor("get", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), "leasehold-0", errors.New("no such rule"))
	})
	core, logs := observer.New(zapcore.WarnLevel)
	lookup := podLookup(kube, "here", zap.New(core))
	for range 3 {
		if _, err := lookup(t.Context(), "leasehold-0"); err == nil || errors.Is(err, resolver.ErrNoPod) {
			t.Fatalf("a lookup that is forbidden returns %v", err)
		}
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines in the log, want one", logs.Len())
	}
}

func TestResolverKnowsTheNamesByWhichPeersAreDialed(t *testing.T) {
	t.Parallel()
	kube := fake.NewClientset(podAt("leasehold-1", corev1.PodRunning, "10.0.0.1"))
	r := &replica{
		cfg: serveConfig{namespace: "here"}, kube: &kubernetesClients{requests: kube}, log: zap.NewNop(),
		peers: member.StatefulSetPeers("leasehold", "peers", "here", 1, 2),
	}
	res := r.newResolver()
	res.Dial = withoutDNS(res.Dial)
	for _, suffix := range []string{".", ".here.svc.cluster.local.", ".cluster.local."} {
		got, err := res.LookupNetIP(t.Context(), "ip4", r.peers.Locate(1).Host+suffix)
		if err != nil || len(got) != 1 || got[0].Unmap() != netip.MustParseAddr("10.0.0.1") {
			t.Errorf("%s%s is at %v, %v", r.peers.Locate(1).Host, suffix, got, err)
		}
	}
}

// withoutDNS has no DNS server answer.
func withoutDNS(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "nowhere", "") }
}
