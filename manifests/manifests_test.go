// Package manifests_test checks the manifests as a cluster would see them: rendered, decoded strictly into the
// types of the Kubernetes API and of the Prometheus operator, and compared with each other. A wrong name in one of
// them is not an error that any server reports; it is a Service without endpoints, an election that may not write
// its Lease, or an alert that never fires.
package manifests_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/leasehold/leasehold/internal/role"
)

// What the server listens on. The network policy and the Services are held against it.
var serverPorts = map[string]int32{"http": 8080, "internal": 7070, "peer": 2380}

// What the server may do in the cluster, exactly. A rule that is added here needs a use in the code.
var serverRules = []rbacv1.PolicyRule{
	{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
	{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"leasehold"}, Verbs: []string{"get", "watch", "update"}},
	{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, ResourceNames: []string{"leasehold"}, Verbs: []string{"get"}},
	{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: labeledPods(), Verbs: []string{"get", "patch"}},
	{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
}

// labeledPods are the pods that the leader counts on being allowed to label.
func labeledPods() []string {
	var names []string
	for i := range role.MaxPods {
		names = append(names, fmt.Sprintf("leasehold-%d", i))
	}
	return names
}

func TestManifests(t *testing.T) {
	for _, dir := range append(overlays(t), "base") {
		t.Run(dir, func(t *testing.T) {
			objs := render(t, dir)
			t.Run("selectors match the pods", objs.checkSelectors)
			t.Run("governing service gives the pods their names", objs.checkGoverningService)
			t.Run("client services list ready pods", objs.checkClientServices)
			t.Run("leader service selects the leader", objs.checkLeaderService)
			t.Run("service ports are container ports", objs.checkPorts)
			t.Run("probes", objs.checkProbes)
			t.Run("shutdown has time", objs.checkShutdown)
			t.Run("security context is restricted", objs.checkRestricted)
			t.Run("memory limit leaves room", objs.checkMemory)
			t.Run("data outlives the pod", objs.checkData)
			t.Run("permissions are exact", objs.checkPermissions)
			t.Run("network policy", objs.checkNetworkPolicy)
			t.Run("one disruption at a time", objs.checkDisruptionBudget)
		})
	}
}

// An overlay has to be complete: its namespace exists, admits the pods, and holds everything.
func TestOverlayNamespaces(t *testing.T) {
	for _, dir := range overlays(t) {
		t.Run(dir, func(t *testing.T) {
			objs := render(t, dir)
			ns := the[*corev1.Namespace](t, objs)
			for _, mode := range []string{"enforce", "warn", "audit"} {
				if got := ns.Labels["pod-security.kubernetes.io/"+mode]; got != "restricted" {
					t.Errorf("pod security: %s is %q, want restricted", mode, got)
				}
			}
			for _, obj := range objs {
				m, err := meta.Accessor(obj)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := obj.(*corev1.Namespace); !ok && m.GetNamespace() != ns.Name {
					t.Errorf("%T %s is in namespace %q, want %q", obj, m.GetName(), m.GetNamespace(), ns.Name)
				}
			}
			if got := named[*rbacv1.RoleBinding](t, objs, "leasehold").Subjects[0].Namespace; got != ns.Name {
				t.Errorf("the role is bound to an account in namespace %q, want %q", got, ns.Name)
			}
		})
	}
}

func (objs objects) checkSelectors(t *testing.T) {
	set := the[*appsv1.StatefulSet](t, objs)
	selectors := map[string]*metav1.LabelSelector{
		"stateful set":      set.Spec.Selector,
		"disruption budget": the[*policyv1.PodDisruptionBudget](t, objs).Spec.Selector,
		"network policy":    &the[*networkingv1.NetworkPolicy](t, objs).Spec.PodSelector,
	}
	for _, svc := range every[*corev1.Service](objs) {
		selector := maps.Clone(svc.Spec.Selector)
		delete(selector, role.Label) // comes and goes
		selectors["service "+svc.Name] = &metav1.LabelSelector{MatchLabels: selector}
	}
	for _, c := range set.Spec.Template.Spec.TopologySpreadConstraints {
		selectors["spread over "+c.TopologyKey] = c.LabelSelector
	}
	for name, selector := range selectors {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Empty() || !s.Matches(labels.Set(set.Spec.Template.Labels)) {
			t.Errorf("%s selects %q, the pods are %v", name, s, set.Spec.Template.Labels)
		}
	}
	for _, key := range []string{"topology.kubernetes.io/zone", "kubernetes.io/hostname"} {
		if selectors["spread over "+key] == nil {
			t.Errorf("the pods are not spread over %s", key)
		}
	}
}

func (objs objects) checkGoverningService(t *testing.T) {
	set := the[*appsv1.StatefulSet](t, objs)
	svc := named[*corev1.Service](t, objs, set.Spec.ServiceName)
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("cluster IP is %q, want None: without it pods have no names", svc.Spec.ClusterIP)
	}
	if !svc.Spec.PublishNotReadyAddresses {
		t.Error("pods that are not ready have no names, so no cluster can form")
	}
	// Every other part says leasehold-N.leasehold.
	if set.Name != "leasehold" || svc.Name != "leasehold" {
		t.Errorf("pods are called %s-N.%s, want leasehold-N.leasehold", set.Name, svc.Name)
	}
	if got := set.Spec.PodManagementPolicy; got != appsv1.ParallelPodManagement {
		t.Errorf("pod management is %q, want Parallel: the pods wait for each other", got)
	}
	for _, p := range svc.Spec.Ports {
		// A headless Service translates nothing: its port is the one that is dialed.
		if p.Port != serverPorts[p.Name] {
			t.Errorf("port %s is %d, want %d", p.Name, p.Port, serverPorts[p.Name])
		}
	}
	if len(svc.Spec.Ports) != len(serverPorts) {
		t.Errorf("got %d ports, want %d", len(svc.Spec.Ports), len(serverPorts))
	}
}

func (objs objects) checkClientServices(t *testing.T) {
	for _, name := range []string{"leasehold-api", "leasehold-leader"} {
		svc := named[*corev1.Service](t, objs, name)
		if svc.Spec.PublishNotReadyAddresses || svc.Spec.ClusterIP == corev1.ClusterIPNone {
			t.Errorf("%s: clients would be sent to pods that are not ready", name)
		}
		if len(svc.Spec.Ports) != 1 || svc.Spec.Ports[0].Port != 80 || svc.Spec.Ports[0].TargetPort.StrVal != "http" {
			t.Errorf("%s: ports are %+v, want 80 to http alone", name, svc.Spec.Ports)
		}
	}
}

func (objs objects) checkLeaderService(t *testing.T) {
	for _, svc := range every[*corev1.Service](objs) {
		want := ""
		if svc.Name == "leasehold-leader" {
			want = role.Leader
		}
		if got := svc.Spec.Selector[role.Label]; got != want {
			t.Errorf("%s selects pods whose role is %q, want %q", svc.Name, got, want)
		}
	}
	set := the[*appsv1.StatefulSet](t, objs).Spec
	if _, ok := set.Template.Labels[role.Label]; ok {
		t.Error("every pod is created with a role, and who leads is the leader's to say")
	}
	if set.Replicas != nil && *set.Replicas > role.MaxPods {
		t.Errorf("%d replicas, the leader may label %d", *set.Replicas, role.MaxPods)
	}
}

func (objs objects) checkPorts(t *testing.T) {
	ports := containerPorts(server(t, objs))
	if !reflect.DeepEqual(ports, serverPorts) {
		t.Errorf("container ports are %v, want %v", ports, serverPorts)
	}
	for _, svc := range every[*corev1.Service](objs) {
		for _, p := range svc.Spec.Ports {
			if _, ok := ports[p.TargetPort.StrVal]; !ok {
				t.Errorf("service %s: port %s goes to %q, which the container does not have", svc.Name, p.Name, p.TargetPort.String())
			}
		}
	}
}

func (objs objects) checkProbes(t *testing.T) {
	c := server(t, objs)
	probes := []struct {
		name, path string
		probe      *corev1.Probe
		patience   time.Duration // how long it has to go on failing, at least, before anything happens
	}{
		{"startup", "/livez", c.StartupProbe, 2 * time.Minute},
		{"liveness", "/livez", c.LivenessProbe, time.Minute},
		{"readiness", "/readyz", c.ReadinessProbe, 0},
	}
	for _, p := range probes {
		if p.probe == nil || p.probe.HTTPGet == nil {
			t.Errorf("%s: no HTTP probe", p.name)
			continue
		}
		if p.probe.HTTPGet.Path != p.path {
			t.Errorf("%s asks %s, want %s", p.name, p.probe.HTTPGet.Path, p.path)
		}
		if _, ok := containerPorts(c)[p.probe.HTTPGet.Port.StrVal]; !ok {
			t.Errorf("%s asks port %q, which the container does not have", p.name, p.probe.HTTPGet.Port.String())
		}
		// The first failure comes up to one period early.
		if got := time.Duration(p.probe.PeriodSeconds*(p.probe.FailureThreshold-1)) * time.Second; got < p.patience {
			t.Errorf("%s gives up after %s, want %s or more", p.name, got, p.patience)
		}
	}
}

func (objs objects) checkShutdown(t *testing.T) {
	grace := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec.TerminationGracePeriodSeconds
	if grace == nil {
		t.Error("no termination grace period, want 60 s or more")
	} else if *grace < 60 {
		t.Errorf("termination grace period is %d s, want 60 s or more", *grace)
	}
	lifecycle := server(t, objs).Lifecycle
	if lifecycle == nil || lifecycle.PreStop == nil || lifecycle.PreStop.Sleep == nil || lifecycle.PreStop.Sleep.Seconds < 1 {
		t.Error("no preStop sleep: a pod would refuse clients that the endpoints still send to it")
	}
}

// The "restricted" Pod Security Standard, and two things beyond it: a fixed user and a read-only root.
func (objs objects) checkRestricted(t *testing.T) {
	pod := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pod shares a namespace with its host")
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is a host path", v.Name)
		}
	}
	sc := pod.SecurityContext
	switch {
	case sc == nil:
		t.Fatal("no pod security context")
	case sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot:
		t.Error("runAsNonRoot is not set")
	case sc.RunAsUser == nil || *sc.RunAsUser != serverUser || sc.RunAsGroup == nil || *sc.RunAsGroup != serverUser:
		t.Errorf("user and group are not %d", serverUser)
	case sc.FSGroup == nil || *sc.FSGroup != serverUser:
		t.Errorf("fsGroup is not %d: the server could not write its volume", serverUser)
	case sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
		t.Error("seccomp profile is not RuntimeDefault")
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		checkContainerRestricted(t, c)
	}
}

func checkContainerRestricted(t *testing.T, c corev1.Container) {
	t.Helper()
	sc := c.SecurityContext
	switch {
	case sc == nil:
		t.Errorf("%s: no security context", c.Name)
		return
	case sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation:
		t.Errorf("%s: may escalate privileges", c.Name)
	case sc.Privileged != nil && *sc.Privileged:
		t.Errorf("%s: is privileged", c.Name)
	case sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem:
		t.Errorf("%s: can write its root file system", c.Name)
	case sc.Capabilities == nil || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0:
		t.Errorf("%s: does not drop all capabilities", c.Name)
	case sc.RunAsUser != nil || sc.RunAsNonRoot != nil || sc.SeccompProfile != nil:
		t.Errorf("%s: overrides the pod's security context", c.Name)
	}
	for _, p := range c.Ports {
		if p.HostPort != 0 {
			t.Errorf("%s: port %s takes a port of the host", c.Name, p.Name)
		}
	}
}

func (objs objects) checkMemory(t *testing.T) {
	c := server(t, objs)
	limit := c.Resources.Limits.Memory().Value()
	if limit == 0 {
		t.Fatal("no memory limit")
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Error("a CPU limit: a throttled leader loses elections")
	}
	i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
	if i < 0 {
		t.Fatal("GOMEMLIMIT is not set")
	}
	soft, err := resource.ParseQuantity(strings.TrimSuffix(c.Env[i].Value, "B"))
	if err != nil {
		t.Fatalf("GOMEMLIMIT=%s: %v", c.Env[i].Value, err)
	}
	if share := float64(soft.Value()) / float64(limit); share < 0.85 || share > 0.95 {
		t.Errorf("GOMEMLIMIT is %.0f %% of the limit, want about 90 %%", 100*share)
	}
}

func (objs objects) checkData(t *testing.T) {
	spec := the[*appsv1.StatefulSet](t, objs).Spec
	c := server(t, objs)
	if len(spec.VolumeClaimTemplates) != 1 || len(c.VolumeMounts) != 1 {
		t.Fatalf("got %d claims and %d mounts, want one of each", len(spec.VolumeClaimTemplates), len(c.VolumeMounts))
	}
	mount := c.VolumeMounts[0]
	if claim := spec.VolumeClaimTemplates[0].Name; mount.Name != claim {
		t.Errorf("volume %s is mounted, the claim is %s", mount.Name, claim)
	}
	if want := []string{"serve", "--data-dir=" + mount.MountPath}; !slices.Equal(c.Args, want) {
		t.Errorf("arguments are %q, want %q", c.Args, want)
	}
	retention := spec.PersistentVolumeClaimRetentionPolicy
	if retention == nil || retention.WhenScaled != appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		t.Error("scaling deletes disks")
	}
}

func (objs objects) checkPermissions(t *testing.T) {
	role := named[*rbacv1.Role](t, objs, "leasehold")
	if !reflect.DeepEqual(role.Rules, serverRules) {
		t.Errorf("rules are\n%+v\nwant\n%+v", role.Rules, serverRules)
	}
	if n := len(every[*rbacv1.ClusterRole](objs)) + len(every[*rbacv1.ClusterRoleBinding](objs)); n > 0 {
		t.Errorf("%d objects reach beyond the namespace", n)
	}
	binding := named[*rbacv1.RoleBinding](t, objs, "leasehold")
	if want := (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name}); binding.RoleRef != want {
		t.Errorf("the binding is of %+v, want %+v", binding.RoleRef, want)
	}
	account := named[*corev1.ServiceAccount](t, objs, "leasehold")
	if len(binding.Subjects) != 1 || binding.Subjects[0].Kind != "ServiceAccount" || binding.Subjects[0].Name != account.Name {
		t.Errorf("the binding is for %+v, want the service account %s alone", binding.Subjects, account.Name)
	}
	pod := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec
	if pod.ServiceAccountName != account.Name {
		t.Errorf("the pods run as %q, want %q", pod.ServiceAccountName, account.Name)
	}
	if pod.AutomountServiceAccountToken == nil || !*pod.AutomountServiceAccountToken {
		t.Error("the pods get no token")
	}
	if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
		t.Error("every pod of the account gets a token, want only those that ask for one")
	}
}

func (objs objects) checkNetworkPolicy(t *testing.T) {
	set := the[*appsv1.StatefulSet](t, objs)
	peers := []networkingv1.NetworkPolicyPeer{{PodSelector: set.Spec.Selector}}
	between := []networkingv1.NetworkPolicyPort{tcp(serverPorts["internal"]), tcp(serverPorts["peer"])}
	dns := tcp(53)
	udp := corev1.ProtocolUDP
	dns.Protocol = &udp
	want := networkingv1.NetworkPolicySpec{
		PodSelector: *set.Spec.Selector,
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			{Ports: []networkingv1.NetworkPolicyPort{tcp(serverPorts["http"])}},
			{From: peers, Ports: between},
		},
		Egress: []networkingv1.NetworkPolicyEgressRule{
			{Ports: []networkingv1.NetworkPolicyPort{dns, tcp(53)}},
			{To: peers, Ports: between},
			{Ports: []networkingv1.NetworkPolicyPort{tcp(443), tcp(6443), tcp(8443)}},
		},
	}
	if got := the[*networkingv1.NetworkPolicy](t, objs).Spec; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want.String())
	}
}

func (objs objects) checkDisruptionBudget(t *testing.T) {
	budget := the[*policyv1.PodDisruptionBudget](t, objs).Spec
	if budget.MaxUnavailable == nil || *budget.MaxUnavailable != intstr.FromInt32(1) || budget.MinAvailable != nil {
		t.Errorf("budget is %s, want maxUnavailable 1", budget.String())
	}
	replicas := the[*appsv1.StatefulSet](t, objs).Spec.Replicas
	if replicas == nil {
		t.Error("the number of replicas is not set, want an odd one of three or more")
	} else if *replicas < 3 || *replicas%2 == 0 {
		t.Errorf("replicas are %d, want an odd number of three or more", *replicas)
	}
}

// objects is what a kustomization renders, decoded.
type objects []runtime.Object

// overlays names the folders of the overlays.
func overlays(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("overlays/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no overlays (%v)", err)
	}
	return dirs
}

// render builds the kustomization in dir. It fails the test on a field that the API does not know.
func render(t *testing.T, dir string) objects {
	t.Helper()
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not on the PATH: the manifests cannot be rendered, so nothing about them is checked")
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", dir)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kubectl kustomize %s: %v\n%s", dir, err, stderr.Bytes())
	}
	if stderr.Len() > 0 {
		t.Errorf("kubectl kustomize %s warns: %s", dir, stderr.Bytes())
	}
	return decode(t, out)
}

func decode(t *testing.T, documents []byte) objects {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(documents)))
	var objs objects
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objs
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%v, in\n%s", err, doc)
		}
		objs = append(objs, obj)
	}
}

// every returns the objects of type T.
func every[T runtime.Object](objs objects) []T {
	var found []T
	for _, obj := range objs {
		if o, ok := obj.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

// the returns the only object of type T.
func the[T runtime.Object](t *testing.T, objs objects) T {
	t.Helper()
	found := every[T](objs)
	if len(found) != 1 {
		var zero T
		t.Fatalf("got %d objects of type %T, want 1", len(found), zero)
	}
	return found[0]
}

// named returns the object of type T that is called name.
func named[T interface {
	runtime.Object
	metav1.Object
}](t *testing.T, objs objects, name string) T {
	t.Helper()
	for _, o := range every[T](objs) {
		if o.GetName() == name {
			return o
		}
	}
	var zero T
	t.Fatalf("no %T is called %q", zero, name)
	return zero
}

// server returns the only container of the pods.
func server(t *testing.T, objs objects) corev1.Container {
	t.Helper()
	containers := the[*appsv1.StatefulSet](t, objs).Spec.Template.Spec.Containers
	if len(containers) != 1 {
		t.Fatalf("got %d containers, want 1", len(containers))
	}
	return containers[0]
}

func containerPorts(c corev1.Container) map[string]int32 {
	ports := make(map[string]int32)
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	return ports
}

func tcp(port int32) networkingv1.NetworkPolicyPort {
	protocol, number := corev1.ProtocolTCP, intstr.FromInt32(port)
	return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &number}
}
