//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// route is how pods and Services are reached: at their addresses or, where these lead nowhere from here (such as
// from beside a kind cluster), through the API server's proxy.
type route struct {
	api    *rest.Config
	direct bool
	look   *http.Client // of checks
}

func (r *route) choose(ctx context.Context, s *statefulSet) error {
	service, err := s.kube.CoreV1().Services(s.namespace).Get(ctx, "leasehold-api", metav1.GetOptions{})
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: 3 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(service.Spec.ClusterIP, "80"))
	if err == nil {
		_ = conn.Close()
		r.direct = true
	} else {
		fmt.Println("e2e: the Services cannot be reached from here; requests go through the API server")
	}
	r.look, err = r.client(5 * time.Second)
	return err
}

// client makes an HTTP client whose requests may take as long as timeout.
func (r *route) client(timeout time.Duration) (*http.Client, error) {
	if r.direct {
		// An address may belong to another pod by the next time.
		return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}, nil
	}
	transport, err := rest.TransportFor(r.api)
	return &http.Client{Timeout: timeout, Transport: transport}, err
}

// keepAlive makes a client like most: it holds on to its connections.
func (r *route) keepAlive(timeout time.Duration) (*http.Client, error) {
	c, err := r.client(timeout)
	if t, ok := c.Transport.(*http.Transport); ok && r.direct {
		t.DisableKeepAlives = false
	}
	return c, err
}

func (s *statefulSet) podURL(pod corev1.Pod) string {
	if s.route.direct {
		return "http://" + net.JoinHostPort(pod.Status.PodIP, "8080")
	}
	return s.proxyURL("pods", pod.Name+":8080")
}

func (s *statefulSet) serviceURL(ctx context.Context, name string) (string, error) {
	if !s.route.direct {
		return s.proxyURL("services", name+":80"), nil
	}
	service, err := s.kube.CoreV1().Services(s.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	return "http://" + net.JoinHostPort(service.Spec.ClusterIP, "80"), nil
}

func (s *statefulSet) proxyURL(kind, name string) string {
	return fmt.Sprintf("%s/api/v1/namespaces/%s/%s/http:%s/proxy", strings.TrimSuffix(s.route.api.Host, "/"), s.namespace, kind, name)
}

// answer is an HTTP response, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func send(client *http.Client, req *http.Request) (answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}

func (r *route) get(ctx context.Context, url string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return send(r.look, req)
}

func (r *route) getJSON(ctx context.Context, url string, into any, headers ...string) error {
	a, err := r.get(ctx, url, headers...)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %d %s", url, a.status, a.body)
	}
	return json.Unmarshal(a.body, into)
}
