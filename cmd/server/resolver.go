package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/leasehold/leasehold/internal/member"
	"github.com/leasehold/leasehold/internal/resolver"
)

// adoptResolver has the process find the pods through the API server. The default resolver is global, but etcd dials its peers by name
// through it, and takes neither another one nor a dialer. Nothing may have been dialed by name before.
func (r *replica) adoptResolver() { net.DefaultResolver = r.newResolver() }

func (r *replica) newResolver() *net.Resolver {
	hosts := make(map[string]string, member.MaxReplicas)
	for ordinal := range member.MaxReplicas {
		hosts[r.peers.Locate(ordinal).Host] = r.peers.Name(ordinal)
	}
	return resolver.New(hosts, podLookup(r.kube.requests, r.cfg.namespace, r.log))
}

// podLookup asks the API server where a pod is. What it returns is logged all the same: to the resolver an error is only a reason to
// ask DNS.
func podLookup(kube kubernetes.Interface, namespace string, log *zap.Logger) resolver.Lookup {
	var forbidden sync.Once
	return func(ctx context.Context, name string) ([]netip.Addr, error) {
		pod, err := kube.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil, resolver.ErrNoPod
		case apierrors.IsForbidden(err):
			forbidden.Do(func() {
				log.Warn("the ServiceAccount may not get the set's pods, so after a restart they are found only when DNS has forgotten their "+
					"old addresses: give its Role the verb get on pods, by name", zap.Error(err))
			})
			return nil, err
		case err != nil:
			log.Debug("DNS is asked where a pod is: the API server does not say", zap.String("pod", name), zap.Error(err))
			return nil, err
		}
		return addressesOf(pod)
	}
}

// addressesOf are none for a pod that has ended: it keeps its addresses, which may be another's by now.
func addressesOf(pod *corev1.Pod) ([]netip.Addr, error) {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil, nil
	}
	addrs := make([]netip.Addr, 0, len(pod.Status.PodIPs))
	for _, ip := range pod.Status.PodIPs {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return nil, fmt.Errorf("the address of pod %s: %w", pod.Name, err)
		}
		addrs = append(addrs, addr.Unmap())
	}
	return addrs, nil
}
