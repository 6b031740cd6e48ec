package manifests_test

import (
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// What a sidecar may do in the cluster, exactly, with all that it can be used for.
var sidecarRules = []rbacv1.PolicyRule{
	{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
	{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"worker"}, Verbs: []string{"get", "watch", "update"}},
	{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, ResourceNames: []string{"worker"}, Verbs: []string{"get"}},
	{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"worker-0", "worker-1", "worker-2"}, Verbs: []string{"get", "patch"}},
}

func TestSidecarExamples(t *testing.T) {
	for dir, electing := range map[string]string{"examples/sidecar": "sidecar", "examples/sidecar-exec": "worker"} {
		t.Run(dir, func(t *testing.T) {
			objs := render(t, dir)
			t.Run("security context is restricted", objs.checkRestricted)
			t.Run("permissions are exact", objs.checkSidecarPermissions)
			t.Run("images are the ones that are built", objs.checkSidecarImages)
			t.Run("who elects has the token", func(t *testing.T) { objs.checkSidecar(t, electing) })
		})
	}
}

func (objs objects) checkSidecarPermissions(t *testing.T) {
	role := the[*rbacv1.Role](t, objs)
	if !reflect.DeepEqual(role.Rules, sidecarRules) {
		t.Errorf("rules are\n%+v\nwant\n%+v", role.Rules, sidecarRules)
	}
	binding, account := the[*rbacv1.RoleBinding](t, objs), the[*corev1.ServiceAccount](t, objs)
	if binding.RoleRef.Name != role.Name || len(binding.Subjects) != 1 || binding.Subjects[0].Name != account.Name || binding.Subjects[0].Namespace != account.Namespace {
		t.Errorf("the binding is of %+v for %+v", binding.RoleRef, binding.Subjects)
	}
	set := the[*appsv1.StatefulSet](t, objs)
	if set.Spec.Template.Spec.ServiceAccountName != account.Name || *set.Spec.Template.Spec.AutomountServiceAccountToken {
		t.Error("the pods run under another account, or every container gets its token")
	}
	if set.Name != "worker" || *set.Spec.Replicas != 3 {
		t.Errorf("%d replicas of %s, the role is for three of worker", *set.Spec.Replicas, set.Name)
	}
	selector := labels.SelectorFromSet(set.Spec.Selector.MatchLabels)
	if !selector.Matches(labels.Set(set.Spec.Template.Labels)) {
		t.Errorf("the set selects %s, its pods are %v", selector, set.Spec.Template.Labels)
	}
	if ns := the[*corev1.Namespace](t, objs); set.Namespace != ns.Name || ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the set is in %s, the namespace %s is %v", set.Namespace, ns.Name, ns.Labels)
	}
}

func (objs objects) checkSidecarImages(t *testing.T) {
	pod := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if want := map[bool]string{true: "busybox:1.37", false: "leasehold:dev"}[c.Name == "worker"]; c.Image != want {
			t.Errorf("%s runs %s, want %s", c.Name, c.Image, want)
		}
		if c.ImagePullPolicy != corev1.PullIfNotPresent {
			t.Errorf("%s: pull policy is %q, want IfNotPresent", c.Name, c.ImagePullPolicy)
		}
	}
}

// checkSidecar checks the container that elects, and that no other one has the token.
func (objs objects) checkSidecar(t *testing.T, electing string) {
	t.Helper()
	for _, c := range the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec.Containers {
		hasToken := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
		})
		if hasToken != (c.Name == electing) {
			t.Errorf("%s has the token: %t", c.Name, hasToken)
		}
		if c.Name != electing {
			continue
		}
		if command := slices.Concat(c.Command, c.Args); !slices.Contains(command, "elect") || !slices.Contains(command, "--leader-elect-resource-name=worker") {
			t.Errorf("%s runs %q", c.Name, command)
		}
		if c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != "/" || containerPorts(c)[c.LivenessProbe.HTTPGet.Port.StrVal] != 4040 {
			t.Errorf("%s: the probe asks %+v", c.Name, c.LivenessProbe)
		}
	}
}

// The worker's script is more than a manifest: it must stop where the file has run out.
func TestTheWorkersScriptHeedsTheTime(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell")
	}
	objs := render(t, "examples/sidecar")
	containers := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec.Containers
	worker := containers[slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "worker" })]
	script := worker.Command[len(worker.Command)-1]
	for said, works := range map[string]bool{
		`{"holder":"a","leading":true,"epoch":5,"until":"2100-01-01T00:00:00Z","until_unix":4102444800}`:  true,
		`{"holder":"a","leading":false,"epoch":5,"until":"2100-01-01T00:00:00Z","until_unix":4102444800}`: false,
		`{"holder":"a","leading":true,"epoch":5,"until":"2000-01-01T00:00:00Z","until_unix":946684800}`:   false,
		`{"holder":"","leading":false,"until":null,"until_unix":0}`:                                       false,
		`{"holder":"a","leading":true`: false,
		``:                             false,
	} {
		once := strings.NewReplacer("while :; do", "", "sleep 0.5", "", "\ndone", "", "$(cat /leader/leader.json 2>/dev/null)", "$1").Replace(script)
		out, err := exec.CommandContext(t.Context(), sh, "-c", once, "sh", said).CombinedOutput()
		if got := strings.Contains(string(out), "works"); got != works || strings.Contains(string(out), "sh:") {
			t.Errorf("with %s it says %q (%v)", said, out, err)
		}
	}
}
