package manifests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The user that the image runs as, and that its volume belongs to.
const serverUser = 65532

// The parts of skaffold.yaml that name things elsewhere.
type skaffoldConfig struct {
	Build struct {
		Artifacts []struct {
			Image  string `json:"image"`
			Docker struct {
				Dockerfile string `json:"dockerfile"`
			} `json:"docker"`
		} `json:"artifacts"`
	} `json:"build"`
	Manifests struct {
		Kustomize struct {
			Paths []string `json:"paths"`
		} `json:"kustomize"`
	} `json:"manifests"`
	PortForward []portForward `json:"portForward"`
	Verify      []struct {
		Container struct {
			Name  string `json:"name"`
			Image string `json:"image"`
		} `json:"container"`
		ExecutionMode struct {
			KubernetesCluster struct {
				JobManifestPath string `json:"jobManifestPath"`
			} `json:"kubernetesCluster"`
		} `json:"executionMode"`
	} `json:"verify"`
}

type portForward struct {
	ResourceType string `json:"resourceType"`
	ResourceName string `json:"resourceName"`
	Namespace    string `json:"namespace"`
	Port         int32  `json:"port"`
	LocalPort    int32  `json:"localPort"`
}

func TestSkaffoldNamesFilesThatExist(t *testing.T) {
	config := readSkaffold(t)
	if len(config.Build.Artifacts) != 2 || len(config.Manifests.Kustomize.Paths) != 1 || len(config.Verify) != 1 {
		t.Fatalf("got %d artifacts, %d kustomizations and %d checks; want the server and its tests, and one of each",
			len(config.Build.Artifacts), len(config.Manifests.Kustomize.Paths), len(config.Verify))
	}
	for _, artifact := range config.Build.Artifacts {
		mustExist(t, artifact.Docker.Dockerfile)
	}
	mustExist(t, filepath.Join(config.Manifests.Kustomize.Paths[0], "kustomization.yaml"))
}

func TestSkaffoldDeploysTheImageItBuilds(t *testing.T) {
	config := readSkaffold(t)
	c := server(t, renderSkaffold(t, config))
	if name, _, _ := strings.Cut(c.Image, ":"); name != config.Build.Artifacts[0].Image {
		t.Errorf("the pods run %s, skaffold builds %s", c.Image, config.Build.Artifacts[0].Image)
	}
	if c.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("pull policy is %q, want IfNotPresent: the image is in no registry", c.ImagePullPolicy)
	}
}

func TestSkaffoldVerifiesWhatItDeploys(t *testing.T) {
	config := readSkaffold(t)
	objs := renderSkaffold(t, config)
	verify := config.Verify[0]
	if verify.Container.Image != config.Build.Artifacts[1].Image {
		t.Errorf("the check runs %s, skaffold builds %s", verify.Container.Image, config.Build.Artifacts[1].Image)
	}
	job := the[*batchv1.Job](t, decode(t, readRoot(t, verify.ExecutionMode.KubernetesCluster.JobManifestPath)))
	if want := the[*corev1.Namespace](t, objs).Name; job.Namespace != want {
		t.Errorf("the check runs in namespace %s, not %s", job.Namespace, want)
	}
	pod := job.Spec.Template.Spec
	if pod.Containers[0].Name != verify.Container.Name {
		t.Errorf("skaffold looks for the container %s, the Job has %s", verify.Container.Name, pod.Containers[0].Name)
	}
	named[*corev1.ServiceAccount](t, objs, pod.ServiceAccountName)
}

func TestSkaffoldForwardsToWhatIsDeployed(t *testing.T) {
	config := readSkaffold(t)
	objs := renderSkaffold(t, config)
	targets := forwardTargets(t, objs)
	taken := make(map[int32]bool)
	for _, f := range config.PortForward {
		name := f.ResourceType + " " + f.ResourceName
		if !slices.Contains(targets[name], f.Port) {
			t.Errorf("%s has no port %d (it has %v)", name, f.Port, targets[name])
		}
		if want := the[*corev1.Namespace](t, objs).Name; f.Namespace != want {
			t.Errorf("%s is looked for in namespace %q, want %q", name, f.Namespace, want)
		}
		if taken[f.LocalPort] {
			t.Errorf("local port %d is used twice", f.LocalPort)
		}
		taken[f.LocalPort] = true
	}
	replicas := int(*the[*appsv1.StatefulSet](t, objs).Spec.Replicas)
	if want := replicas + 1; len(config.PortForward) != want {
		t.Errorf("got %d forwards, want %d: the service and each pod", len(config.PortForward), want)
	}
}

func TestDockerfileCopiesFilesThatExist(t *testing.T) {
	for _, line := range instructions(t, "COPY") {
		if strings.HasPrefix(line, "--from=") {
			continue
		}
		paths := strings.Fields(line)
		for _, path := range paths[:len(paths)-1] {
			mustExist(t, path)
		}
	}
	for _, line := range instructions(t, "RUN") {
		for _, pkg := range regexp.MustCompile(`\./cmd/\S+`).FindAllString(line, -1) {
			mustExist(t, pkg)
		}
	}
}

// What the Dockerfile says about the process has to be what the StatefulSet expects of it.
func TestDockerfileAgreesWithStatefulSet(t *testing.T) {
	if got, want := instructions(t, "USER"), fmt.Sprintf("%d:%[1]d", serverUser); !slices.Equal(got, []string{want}) {
		t.Errorf("USER is %q, want %q", got, want)
	}
	var exposed []string
	for _, line := range instructions(t, "EXPOSE") {
		exposed = append(exposed, strings.Fields(line)...)
	}
	for name, port := range serverPorts {
		if !slices.Contains(exposed, strconv.Itoa(int(port))) {
			t.Errorf("port %s, %d, is not exposed", name, port)
		}
	}
	if len(exposed) != len(serverPorts) {
		t.Errorf("ports %v are exposed, want %d of them", exposed, len(serverPorts))
	}
	// The StatefulSet gives arguments and no command: they go to the entry point.
	if got := instructions(t, "ENTRYPOINT"); !slices.Equal(got, []string{`["/server"]`}) {
		t.Errorf("ENTRYPOINT is %q", got)
	}
	if !slices.ContainsFunc(instructions(t, "COPY"), func(line string) bool {
		return strings.HasPrefix(line, "--from=") && strings.HasSuffix(line, " /server")
	}) {
		t.Error("nothing is copied to /server")
	}
}

// forwardTargets lists what can be forwarded to, "service NAME" and "pod NAME", and the ports of each.
func forwardTargets(t *testing.T, objs objects) map[string][]int32 {
	t.Helper()
	targets := make(map[string][]int32)
	for _, svc := range every[*corev1.Service](objs) {
		for _, p := range svc.Spec.Ports {
			targets["service "+svc.Name] = append(targets["service "+svc.Name], p.Port)
		}
	}
	set := the[*appsv1.StatefulSet](t, objs)
	for i := range *set.Spec.Replicas {
		name := fmt.Sprintf("pod %s-%d", set.Name, i)
		for _, p := range server(t, objs).Ports {
			targets[name] = append(targets[name], p.ContainerPort)
		}
	}
	return targets
}

func readSkaffold(t *testing.T) skaffoldConfig {
	t.Helper()
	var config skaffoldConfig
	if err := yaml.Unmarshal(readRoot(t, "skaffold.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func renderSkaffold(t *testing.T, config skaffoldConfig) objects {
	t.Helper()
	return render(t, filepath.Join("..", config.Manifests.Kustomize.Paths[0]))
}

// instructions returns the arguments of every instruction of that name in the Dockerfile, in order.
func instructions(t *testing.T, name string) []string {
	t.Helper()
	joined := strings.ReplaceAll(string(readRoot(t, "Dockerfile")), "\\\n", " ")
	var found []string
	for line := range strings.Lines(joined) {
		if args, ok := strings.CutPrefix(line, name+" "); ok {
			found = append(found, strings.TrimSpace(args))
		}
	}
	if len(found) == 0 {
		t.Fatalf("the Dockerfile has no %s", name)
	}
	return found
}

// The repository's root, seen from here.
func root(path string) string { return filepath.Join("..", path) }

func readRoot(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(root(path))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func mustExist(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(root(path)); err != nil {
		t.Error(err)
	}
}
