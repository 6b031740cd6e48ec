//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A leader that has its followers answer reads: both do in turn, also what was written a moment ago, and when there is none the
// leader answers itself.
func TestLeaderReadsByProxy(t *testing.T) {
	s := readsOffTheLeader(t, "proxy")
	leader, followers := s.roles(t)
	key := s.podURL(leader) + "/v1/kv/reads"
	s.mustAnswer(t.Context(), t, http.MethodPut, key, http.StatusOK)
	seen := map[string]bool{}
	eventually(t, func(ctx context.Context) error {
		a, err := s.route.get(ctx, key)
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%d, %w", a.status, err)
		}
		seen[a.header.Get("Leasehold-Served-By")] = true
		for _, f := range followers {
			if !seen[f.Name] {
				return fmt.Errorf("%s has answered none: %v", f.Name, seen)
			}
		}
		return nil
	})
	for i := range 50 {
		written := s.mustPut(t, key, fmt.Sprint(i))
		a, err := s.route.get(t.Context(), key, "Leasehold-Min-Revision", written)
		if err != nil || a.status != http.StatusOK || string(a.body) != fmt.Sprint(i) {
			t.Fatalf("wrote %d, at %s, and read %d %q from %s: %v", i, written, a.status, a.body, a.header.Get("Leasehold-Served-By"), err)
		}
		if by := a.header.Get("Leasehold-Served-By"); by == leader.Name || a.header.Get("Leasehold-Forwarded-By") != leader.Name {
			t.Errorf("answered by %s, passed on by %q", by, a.header.Get("Leasehold-Forwarded-By"))
		}
	}
	for _, f := range followers {
		if err := s.kube.CoreV1().Pods(s.namespace).Delete(t.Context(), f.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
	}
	byLeader := 0
	eventually(t, func(ctx context.Context) error { // every read until the set is whole again is answered
		a, err := s.route.get(ctx, key)
		if err != nil || a.status != http.StatusOK || string(a.body) != "49" {
			t.Errorf("a read without followers: %d %q, %v", a.status, a.body, err)
		}
		if a.header.Get("Leasehold-Served-By") == leader.Name {
			byLeader++
		}
		return s.podsReady(ctx, 3)
	})
	if byLeader == 0 {
		t.Error("the leader has answered none, though for a while it was alone")
	}
	eventually(t, func(ctx context.Context) error { return s.healthy(ctx, 3) })
}

// A leader that sends its clients to its followers, by their names.
func TestLeaderReadsByRedirect(t *testing.T) {
	s := readsOffTheLeader(t, "redirect")
	leader, followers := s.roles(t)
	s.mustPut(t, s.podURL(leader)+"/v1/kv/reads", "here")
	stay := *s.route.look
	stay.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	seen := map[string]bool{}
	eventually(t, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.podURL(leader)+"/v1/kv/reads?consistency=linearizable", http.NoBody)
		if err != nil {
			return err
		}
		a, err := send(&stay, req)
		if err != nil || a.status != http.StatusTemporaryRedirect {
			return fmt.Errorf("%d, %w", a.status, err)
		}
		to, err := url.Parse(a.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range followers {
			if to.Host != fmt.Sprintf("%s.%s.%s.svc.cluster.local:8080", f.Name, setName, s.namespace) && to.Host != fmt.Sprintf("%s.%s.%s.svc:8080", f.Name, setName, s.namespace) {
				continue
			}
			seen[f.Name] = true
			if there, err := s.route.get(ctx, s.podURL(f)+to.RequestURI()); err != nil || there.status != http.StatusOK || string(there.body) != "here" || there.header.Get("Leasehold-Served-By") != f.Name {
				t.Errorf("%s: %d %q, %v", to, there.status, there.body, err)
			}
			// It is passed on once, whoever it comes to.
			if back, err := s.route.get(ctx, s.podURL(leader)+to.RequestURI()); err != nil || back.status != http.StatusOK || back.header.Get("Leasehold-Served-By") != leader.Name {
				t.Errorf("back at the leader: %d, %v", back.status, err)
			}
		}
		if len(seen) < len(followers) {
			return fmt.Errorf("not every follower was named: %v, the last one %s", seen, to)
		}
		return nil
	})
}

// readsOffTheLeader deploys a set of its own, whose leader does that with its reads.
func readsOffTheLeader(t *testing.T, mode string) *statefulSet {
	t.Helper()
	ownSet(t)
	fullOnly(t)
	s := *set
	s.namespace, s.flags = set.namespace+"-reads-"+mode, []string{"--leader-reads=" + mode}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	t.Cleanup(s.takeDown)
	if err := s.deploy(ctx); err != nil {
		t.Fatal(err)
	}
	return &s
}

// roles are the pod that leads, and the others.
func (s *statefulSet) roles(t *testing.T) (leader corev1.Pod, followers []corev1.Pod) {
	t.Helper()
	holder, err := s.lockHolder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := s.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Name == holder {
			leader = p
			continue
		}
		followers = append(followers, p)
	}
	return leader, followers
}

// mustPut writes, and returns the revision.
func (s *statefulSet) mustPut(t *testing.T, url, value string) (revision string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	a, err := send(s.route.look, req)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("PUT %s: %d %s, %v", url, a.status, a.body, err)
	}
	return a.header.Get("Leasehold-Revision")
}
