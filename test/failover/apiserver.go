package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/leasehold/leasehold/internal/leasetest"

	"github.com/leasehold/leasehold/test/lab"
)

// apiServer is the API server that the replicas use.
type apiServer interface {
	// away takes it away, in the way that the number chooses, and says how.
	away(ctx context.Context, way int) (how string, err error)
	back(ctx context.Context) error
	// close removes what the replicas have left there.
	close() error

	kubeconfig() string
	lease() string // name of the Lease to use
	about() string // what it is, for the page
}

func newAPIServer(cfg config, s lab.Site, dir string) (apiServer, error) {
	if cfg.real {
		return &realServer{
			path: os.Getenv("KUBECONFIG"), hook: strings.Fields(cfg.hook), namespace: cfg.namespace,
			name: "leasehold-failover-" + strings.ToLower(rand.Text()[:8]),
		}, nil
	}
	server, err := lab.StartAPIServer(s, dir)
	if err != nil {
		return nil, err
	}
	return standIn{server}, nil
}

// standIn is the lab's.
type standIn struct{ *lab.APIServer }

func (a standIn) away(_ context.Context, way int) (string, error) {
	mode := []leasetest.Mode{leasetest.Refused, leasetest.BlackHole, leasetest.Unavailable}[way%3]
	return string(mode), a.Set(mode)
}

func (a standIn) back(context.Context) error { return a.Set(leasetest.Up) }

func (a standIn) close() error {
	a.Close()
	return nil
}

func (a standIn) kubeconfig() string { return a.Kubeconfig }
func (a standIn) lease() string      { return lab.Lease }
func (a standIn) about() string {
	return "a stand-in for the API server, in the measuring process (it goes away by refusing connections, by answering 503, or by not answering, as chance has it)"
}

// realServer is somebody's, which a hook may stop and start.
type realServer struct {
	path            string
	hook            []string // empty if there is none
	namespace, name string
}

func (a *realServer) away(ctx context.Context, _ int) (string, error) {
	return "stopped", a.run(ctx, "stop")
}
func (a *realServer) back(ctx context.Context) error { return a.run(ctx, "start") }

func (a *realServer) run(ctx context.Context, what string) error {
	return lab.Command(ctx, a.hook[0], append(a.hook[1:len(a.hook):len(a.hook)], "apiserver", what)...)
}

func (a *realServer) close() error {
	config, err := clientcmd.BuildConfigFromFlags("", a.path)
	if err != nil {
		return err
	}
	config.Timeout = 10 * time.Second
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := clients.CoordinationV1().Leases(a.namespace).Delete(context.Background(), a.name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("remove the Lease %s/%s: %w", a.namespace, a.name, err)
	}
	return nil
}

func (a *realServer) kubeconfig() string { return a.path }
func (a *realServer) lease() string      { return a.name }
func (a *realServer) about() string      { return "a Kubernetes API server" }
