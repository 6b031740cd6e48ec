package manifests_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

const lockFlag = "--leader-elect-resource-lock="

// lockComponents are the components that hold the election elsewhere, and where.
var lockComponents = map[string]string{
	"components/lock-configmap": "configmaps",
	"components/lock-secret":    "secrets",
}

func TestLockComponentsAllowTheLockThatTheyName(t *testing.T) {
	for component, resource := range lockComponents {
		t.Run(component, func(t *testing.T) {
			objs := render(t, withComponents(t, "overlays/dev", component))
			want := slices.Concat(serverRules, lockRules(resource))
			if got := named[*rbacv1.Role](t, objs, "leasehold").Rules; !reflect.DeepEqual(got, want) {
				t.Errorf("rules are\n%+v\nwant\n%+v", got, want)
			}
			if got := locksOf(server(t, objs).Args); !slices.Equal(got, []string{resource}) {
				t.Errorf("the flags name the locks %q, want %s", got, resource)
			}
		})
	}
}

// To go from one to the other takes both.
func TestLockComponentsGoTogether(t *testing.T) {
	objs := render(t, withComponents(t, "overlays/dev", "components/lock-configmap", "components/lock-secret"))
	want := slices.Concat(serverRules, lockRules("configmaps"), lockRules("secrets"))
	if got := named[*rbacv1.Role](t, objs, "leasehold").Rules; !reflect.DeepEqual(got, want) {
		t.Errorf("rules are\n%+v\nwant\n%+v", got, want)
	}
}

// Who elects over a Lease reads no Secret and no ConfigMap, and names no lock: it is the default.
func TestTheLeaseIsTheDefault(t *testing.T) {
	for _, dir := range append(overlays(t), "base") {
		objs := render(t, dir)
		if got := locksOf(server(t, objs).Args); len(got) > 0 {
			t.Errorf("%s: the flags name the locks %q", dir, got)
		}
		for _, rule := range named[*rbacv1.Role](t, objs, "leasehold").Rules {
			if slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "configmaps") {
				t.Errorf("%s: the server may %v %v", dir, rule.Verbs, rule.Resources)
			}
		}
	}
}

func lockRules(resource string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{resource}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: []string{"leasehold"}, Verbs: []string{"get", "watch", "patch"}},
	}
}

// locksOf are the locks that the arguments name.
func locksOf(args []string) (locks []string) {
	for _, arg := range args {
		if lock, ok := strings.CutPrefix(arg, lockFlag); ok {
			locks = append(locks, lock)
		}
	}
	return locks
}
