package manifests_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

const electionsFlag = "--elections="

// The Lease of each election that the flag names may be used, and no other one.
func TestTheElectionsComponentAllowsTheLeaseThatItNames(t *testing.T) {
	for name, dir := range map[string]string{
		"component": withComponents(t, "overlays/dev", "components/elections"), "example": "examples/elections",
	} {
		t.Run(name, func(t *testing.T) {
			objs := render(t, dir)
			want := append(slices.Clone(serverRules), rbacv1.PolicyRule{
				APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"leasehold-jobs"}, Verbs: []string{"get", "watch", "update"},
			})
			if got := named[*rbacv1.Role](t, objs, "leasehold").Rules; !reflect.DeepEqual(got, want) {
				t.Errorf("rules are\n%+v\nwant\n%+v", got, want)
			}
			if got := electionsOf(server(t, objs).Args); got != "writes,jobs" {
				t.Errorf("the flag names the elections %q", got)
			}
		})
	}
}

func TestOneElectionIsTheDefault(t *testing.T) {
	for _, dir := range append(overlays(t), "base") {
		if got := electionsOf(server(t, render(t, dir)).Args); got != "" {
			t.Errorf("%s: the flag names the elections %q", dir, got)
		}
	}
}

func TestTheElectionsExampleIsWhole(t *testing.T) {
	objs := render(t, "examples/elections")
	t.Run("selectors match the pods", objs.checkSelectors)
	t.Run("security context is restricted", objs.checkRestricted)
	ns, set := the[*corev1.Namespace](t, objs), the[*appsv1.StatefulSet](t, objs)
	if set.Namespace != ns.Name || ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the set is in %s, the namespace %s is %v", set.Namespace, ns.Name, ns.Labels)
	}
	if c := server(t, objs); c.Image != "leasehold:dev" || *set.Spec.Replicas != 3 {
		t.Errorf("%d replicas of %s", *set.Spec.Replicas, c.Image)
	}
}

// electionsOf is what the arguments say of elections; "" if nothing.
func electionsOf(args []string) string {
	for _, arg := range args {
		if names, ok := strings.CutPrefix(arg, electionsFlag); ok {
			return names
		}
	}
	return ""
}
