//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// away is how long a node, or the API server, is.
const away = 30 * time.Second

// The clients on the majority's side go on as soon as another pod leads; those on the cut side get no
// acknowledgment until the node is back.
func TestCutLeaderNode(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	needHook(t)
	spread(t)
	l := beginAbrupt(t, takenOver)
	old := leader(t)
	before := start(t, old)
	cutSide := startProbe(t, old, away+15*time.Second)
	l.more(t, 5*clients) // the probe has begun by then, too

	onNode(t, "cut", "heal", before.pod)
	cutAt := time.Now().Add(time.Second) // what had been committed is answered by then
	l.more(t, 10*clients)
	waitForOtherLeader(t, old)
	time.Sleep(time.Until(cutAt.Add(away)))
	healedAt := time.Now()
	heal(t, "heal", before.pod)

	checkProbe(t, cutSide(), cutAt, healedAt)
	before.mustStillRun(t)
	l.finish(t)
}

// checkProbe checks that nothing was acknowledged while the probe's side was cut off, and that what was is there.
func checkProbe(t *testing.T, all []probed, cutAt, healedAt time.Time) {
	t.Helper()
	acknowledged, refused := 0, 0
	base, err := set.serviceURL(t.Context(), "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		during := p.At.After(cutAt) && p.At.Before(healedAt)
		switch {
		case during && p.acknowledged():
			t.Errorf("the cut-off side acknowledged %s", p.Key)
		case during:
			refused++
		case p.acknowledged():
			acknowledged++
			eventually(t, func(ctx context.Context) error {
				a, err := set.route.get(ctx, base+"/v1/kv/"+p.Key+"?consistency=linearizable")
				if err == nil && a.status != http.StatusOK {
					err = fmt.Errorf("%s was acknowledged on the cut-off side, before or after, and is lost: %d", p.Key, a.status)
				}
				return err
			})
		}
	}
	if acknowledged == 0 || refused == 0 {
		t.Errorf("the probe shows nothing: %d writes acknowledged while its side was joined, %d refused while it was not", acknowledged, refused)
	}
	t.Logf("on the cut-off side: %d writes acknowledged before and after, none of %d between", acknowledged, refused)
}

// The leader's containers are frozen; another pod leads; then they run on, and believe for a moment that nothing
// has happened.
func TestFreezeLeader(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	needHook(t)
	spread(t)
	l := beginAbrupt(t, takenOver)
	old := leader(t)
	before := start(t, old)
	from := currentRevision(t, l)

	onNode(t, "pause", "resume", before.pod)
	frozenAt := time.Now()
	waitForOtherLeader(t, old)
	l.more(t, 10*clients)
	time.Sleep(time.Until(frozenAt.Add(away)))
	heal(t, "resume", before.pod)

	before.mustStillRun(t) // else this would have tested a restart
	l.more(t, 20*clients)
	heartbeatsNeverGoBack(t, from)
	l.finish(t)
}

// A majority's containers are frozen: nobody can write, and no pod may be restarted for that.
func TestFreezeMajority(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	needHook(t)
	spread(t)
	l := beginAbrupt(t, away+takenOver)
	var before []started
	for _, p := range pods(t) {
		before = append(before, start(t, p.Name))
	}
	frozen := before[1:]
	if frozen[0].pod.Spec.NodeName == before[0].pod.Spec.NodeName || frozen[1].pod.Spec.NodeName == before[0].pod.Spec.NodeName {
		t.Skip("the pods share a node: all of them would freeze")
	}
	for _, b := range frozen {
		onNode(t, "pause", "resume", b.pod)
	}
	time.Sleep(time.Second) // what had been committed is answered by then
	answered := l.acknowledged()
	time.Sleep(away)
	if n := l.acknowledged() - answered; n > 0 {
		t.Errorf("%d writes were acknowledged without a majority", n)
	}
	for _, b := range frozen {
		heal(t, "resume", b.pod)
	}
	l.more(t, 10*clients)
	for _, b := range before {
		b.mustStillRun(t)
	}
	l.finish(t)
}

// The leader runs on, cut off, while its pod is deleted by force, its volume is lost, and another pod of its name
// starts on another node. When the node is joined again there are two of that name for a moment.
func TestTwin(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	needHook(t)
	if len(nodes(t)) < 2 {
		t.Skip("a twin needs another node to run on")
	}
	spread(t)
	l := beginAbrupt(t, takenOver)
	old := leader(t)
	before := start(t, old)
	node := before.pod.Spec.NodeName
	kubectl(t, "cordon", node)
	t.Cleanup(func() { mustCleanUp(t, "uncordon", node) })
	cutSide := startProbe(t, old, away+time.Minute)
	l.more(t, 5*clients)

	onNode(t, "cut", "heal", before.pod)
	cutAt := time.Now().Add(time.Second)
	kubectl(t, "delete", "pvc", "data-"+old, "--wait=false")
	kubectl(t, "delete", "pod", old, "--force", "--grace-period=0")
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	twin := start(t, old)
	if twin.pod.Spec.NodeName == node {
		t.Fatalf("the new %s runs on the node of the old one", old)
	}
	time.Sleep(time.Until(cutAt.Add(away)))
	healedAt := time.Now()
	heal(t, "heal", before.pod)

	l.more(t, 20*clients)
	checkProbe(t, cutSide(), cutAt, healedAt)
	twin.mustStillRun(t)
	l.finish(t)
}

// A restarted pod has a new address, while DNS gives the old one for up to 30 s. Nobody may have to wait for that.
func TestStaleNames(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	l := begin(t, inOrder)
	pod := followers(t)[0]
	before := start(t, pod)
	kubectl(t, "delete", "pod", pod)
	eventually(t, func(ctx context.Context) error { return set.podsReady(ctx, 3) })
	ready := time.Now()
	if after := start(t, pod); after.pod.Status.PodIP == before.pod.Status.PodIP {
		t.Skip("the pod has its old address again")
	}
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	if took := time.Since(ready); took > 10*time.Second {
		t.Errorf("the others reached the restarted pod only after %s", seconds(took))
	}
	l.finish(t)
}

// started is a process of a pod.
type started struct {
	pod      corev1.Pod
	boot     string
	restarts int32
}

func start(t *testing.T, pod string) (s started) {
	t.Helper()
	eventually(t, func(ctx context.Context) (err error) {
		s, err = set.started(ctx, pod)
		return err
	})
	return s
}

func (s *statefulSet) started(ctx context.Context, pod string) (started, error) {
	p, err := s.pod(ctx, pod)
	if err != nil {
		return started{}, err
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return started{}, fmt.Errorf("%s has no container yet", pod)
	}
	var c clusterBody
	if err := s.route.getJSON(ctx, s.podURL(p)+"/v1/cluster", &c); err != nil {
		return started{}, err
	}
	for _, r := range c.Replicas {
		if r.Pod == pod && r.BootID != "" {
			return started{p, r.BootID, p.Status.ContainerStatuses[0].RestartCount}, nil
		}
	}
	return started{}, fmt.Errorf("%s does not know itself", pod)
}

// mustStillRun fails the test if the pod is not the same process any more.
func (s started) mustStillRun(t *testing.T) {
	t.Helper()
	if now := start(t, s.pod.Name); now.boot != s.boot || now.restarts != s.restarts || now.pod.UID != s.pod.UID {
		t.Errorf("%s was restarted: boot ID %s, was %s; %d restarts, were %d", s.pod.Name, now.boot, s.boot, now.restarts, s.restarts)
	}
}

// heartbeatsNeverGoBack reads what the leaders' job has written since a revision: no epoch comes back after a
// newer one, and the count never falls.
func heartbeatsNeverGoBack(t *testing.T, from string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	base, err := set.serviceURL(ctx, "leasehold-api")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/watch?prefix=leasehold/heartbeat", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", from)
	a, _ := send(set.route.look, req) // it ends by the time-out
	type heartbeat struct {
		Pod   string
		Epoch uint64
		Count int64
	}
	var last heartbeat
	seen := 0
	for line := range strings.Lines(string(a.body)) {
		data, ok := strings.CutPrefix(line, "data:")
		if !ok {
			continue
		}
		var event struct{ Key, Value string }
		var beat heartbeat
		if json.Unmarshal([]byte(data), &event) != nil || event.Value == "" {
			continue
		}
		if err := json.Unmarshal([]byte(event.Value), &beat); err != nil {
			t.Fatalf("heartbeat %q: %v", event.Value, err)
		}
		if beat.Epoch < last.Epoch || beat.Count < last.Count {
			t.Errorf("a heartbeat went back: %+v after %+v", beat, last)
		}
		last = beat
		seen++
	}
	if seen == 0 {
		t.Errorf("no heartbeat was seen: %s", a.body)
	}
}

func hooked() bool { return os.Getenv("E2E_HOOK") != "" }

func needHook(t *testing.T) {
	t.Helper()
	if !hooked() {
		t.Skip("this needs a command that cuts and freezes nodes; E2E_HOOK names one")
	}
}

func mustHook(t *testing.T, args ...string) (output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	output, err := hook(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// onNode does something to the node of the pod, and has it undone at the end of the test.
func onNode(t *testing.T, do, undo string, pod corev1.Pod) {
	t.Helper()
	t.Cleanup(func() { heal(t, undo, pod) })
	mustHook(t, "node", do, nodeNumber(pod))
}

func heal(t *testing.T, undo string, pod corev1.Pod) {
	t.Helper()
	mustHook(t, "node", undo, nodeNumber(pod))
}

// nodeNumber is the number at the end of the name of the pod's node.
func nodeNumber(pod corev1.Pod) string {
	name := pod.Spec.NodeName
	return name[len(strings.TrimRight(name, "0123456789")):]
}
