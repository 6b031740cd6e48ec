//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The ServiceAccount may do what is listed here, and nothing else.
func TestServiceAccountRights(t *testing.T) {
	want := []string{
		"create events",
		"create leases.coordination.k8s.io",
		"get leases.coordination.k8s.io leasehold",
		"get statefulsets.apps leasehold",
		"patch events",
		"update leases.coordination.k8s.io leasehold",
		"watch leases.coordination.k8s.io leasehold",
	}
	for n := range 9 {
		for _, verb := range []string{"get", "patch"} {
			want = append(want, fmt.Sprintf("%s pods leasehold-%d", verb, n))
		}
	}
	slices.Sort(want)
	got := withoutThoseOfAll(t, rights(t, "system:serviceaccount:"+set.namespace+":leasehold"))
	if !slices.Equal(got, want) {
		t.Errorf("the ServiceAccount may\n  %s\nbut should\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// withoutThoseOfAll leaves out what every ServiceAccount of the namespace may do, such as to ask what it may do.
func withoutThoseOfAll(t *testing.T, all []string) []string {
	t.Helper()
	common := rights(t, "system:serviceaccount:"+set.namespace+":default")
	return slices.DeleteFunc(all, func(right string) bool { return slices.Contains(common, right) })
}

// rights lists what a user may do in the namespace, one verb on one kind or name a line.
func rights(t *testing.T, user string) (list []string) {
	t.Helper()
	config := rest.CopyConfig(set.route.api)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{
		"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" + set.namespace,
	}}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review, err := kube.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: set.namespace},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Incomplete {
		t.Skipf("this cluster's authorizer lists no rights: %s", review.Status.EvaluationError)
	}
	for _, rule := range review.Status.ResourceRules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				if group != "" {
					resource += "." + group
				}
				for _, verb := range rule.Verbs {
					for _, name := range names {
						list = append(list, strings.TrimSpace(verb+" "+resource+" "+name))
					}
				}
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				list = append(list, verb+" "+url)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// The API server takes the manifests as they are, under the strictest policy that it knows for pods.
func TestManifestsAreTakenAsTheyAre(t *testing.T) {
	manifests, err := set.manifests(t.Context(), set.image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.kubectlInput(t.Context(), manifests, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	namespace, err := set.kube.CoreV1().Namespaces().Get(t.Context(), set.namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("Pod Security is %q, not restricted", got)
	}
}

// What people see.
func TestWalk(t *testing.T) {
	l := begin(t, inOrder)
	old := leader(t)
	showsLeader(t, old)
	epoch := epochOf(t, old)
	kubectl(t, "delete", "pod", old)
	waitForOtherLeader(t, old)
	next := leader(t)
	showsLeader(t, next)
	eventually(t, func(context.Context) error {
		out := kubectl(t, "get", "events", "--field-selector=involvedObject.kind=Lease")
		if want := fmt.Sprintf("%s leads under epoch %d (graceful): %s gave leadership up", next, epoch+1, old); !strings.Contains(out, want) {
			return fmt.Errorf("no event says %q:\n%s", want, out)
		}
		return nil
	})
	l.finish(t)
}

// showsLeader waits until the Lease, the labels and the Services say that the pod leads.
func showsLeader(t *testing.T, pod string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if out := kubectl(t, "get", "lease", "leasehold"); !strings.Contains(out, pod) {
			return fmt.Errorf("%s leads, but the Lease is\n%s", pod, out)
		}
		if out := kubectl(t, "get", "pods", "-l", roleLabel+"=leader", "-o", "name"); strings.TrimSpace(out) != "pod/"+pod {
			return fmt.Errorf("%s leads, but the leader's label is on %s", pod, out)
		}
		if got := endpoints(t, "leasehold-leader"); !slices.Equal(got, []string{pod}) {
			return fmt.Errorf("%s leads, but the Service leasehold-leader selects %v", pod, got)
		}
		if got := endpoints(t, "leasehold-api"); len(got) != 3 {
			return fmt.Errorf("the Service leasehold-api selects %v", got)
		}
		return nil
	})
}

func epochOf(t *testing.T, leader string) uint64 {
	t.Helper()
	var c clusterBody
	if err := set.route.getJSON(t.Context(), set.podURL(start(t, leader).pod)+"/v1/leader", &c); err != nil {
		t.Fatal(err)
	}
	return c.Epoch
}

// endpoints are the pods behind a Service that are ready, in order.
func endpoints(t *testing.T, service string) (names []string) {
	t.Helper()
	slicesOf, err := set.kube.DiscoveryV1().EndpointSlices(set.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, slice := range slicesOf.Items {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				names = append(names, e.TargetRef.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}
