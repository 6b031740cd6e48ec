package member_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/member"
)

func TestEmptyPodsFormOneCluster(t *testing.T) {
	t.Parallel()
	s := newSet(t, 3, 3)
	s.run(s.pods[1])
	s.pods[1].waitsFor("leasehold-0, which forms the cluster")
	s.run(s.pods[0])
	s.pods[0].waitsFor("an answer from leasehold-2: a new cluster needs all 3 replicas")
	if id := s.pods[0].member.ClusterID(); id != 0 {
		t.Fatalf("cluster %x without leasehold-2", id)
	}
	s.run(s.pods[2])
	s.voters(s.pods...)
	s.pods[0].put("k")
	s.pods[2].has("k")
	others := s.pods[0].member.Others()
	if slices.Sort(others); !slices.Equal(others, []string{"leasehold-1", "leasehold-2"}) {
		t.Errorf("leasehold-0 votes with %v", others)
	}
}

func TestOneReplicaFormsAlone(t *testing.T) {
	t.Parallel()
	s := form(t, 1, 2)
	s.pods[0].put("k")
	s.replicas.Store(2)
	s.run(s.pods[1])
	s.voters(s.pods...)
	s.pods[1].has("k")
}

func TestFormingNeedsToKnowTheNumber(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 0, 2)
	s.run(s.pods...)
	s.pods[0].waitsFor("the number of replicas is 0")
	s.replicas.Store(-1)
	s.pods[0].waitsFor("the API server is away")
	s.replicas.Store(2)
	s.voters(s.pods...)
}

// Until every founder has been accepted nobody starts, so that the loss of any disk is no loss.
func TestNobodyStartsBeforeAllAreAccepted(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[2].boot() // answers "empty" and does no more
	s.run(s.pods[0], s.pods[1])
	s.pods[0].waitsFor("leasehold-2 to accept the plan")
	s.pods[1].waitsFor("leasehold-2 to accept the plan")

	s.kill(s.pods...) // with the plan on two disks, and no log
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan")
	s.run(s.pods[2])
	s.voters(s.pods...)
}

func TestPlanIsGivenUpWhenAFounderLosesItsDisk(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[2].boot()
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan")
	s.kill(s.pods[1])
	s.pods[1].wipe()
	s.run(s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan") // a new one
	s.pods[2].start()
	s.voters(s.pods...)
}

// leasehold-1 has been accepted and has not started; leasehold-0 has, with leasehold-2, and loses its disk while that is silent.
func TestAcceptedFounderWaitsForWhoMayHaveStarted(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[2].boot()
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan")
	s.kill(s.pods[1])
	s.pods[2].start()
	s.pods[0].isVoter()
	s.pods[0].put("k")
	cluster := s.pods[0].member.ClusterID()

	s.kill(s.pods...)
	s.pods[0].wipe()
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("an answer from leasehold-2: the cluster may have been formed")
	s.run(s.pods[2])
	s.voters(s.pods...)
	if got := s.pods[1].member.ClusterID(); got != cluster {
		t.Errorf("cluster %x, was %x", got, cluster)
	}
	s.pods[0].has("k")
}

// leasehold-0 has lost its disk, and all others answer that they have not started.
func TestAcceptedFounderGivesALostPlanUp(t *testing.T) {
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[2].boot()
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan")
	s.kill(s.pods[0])
	s.pods[0].wipe()
	s.run(s.pods[0])
	s.pods[2].start()
	s.voters(s.pods...)
}

func TestPlanIsGivenUpWhenTheSetIsScaled(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newSet(t, 3, 3)
	s.pods[2].boot()
	s.run(s.pods[0], s.pods[1])
	s.pods[1].waitsFor("leasehold-2 to accept the plan")
	s.kill(s.pods[2])
	s.replicas.Store(2)
	s.voters(s.pods[:2]...)
}

func TestSecondDiskIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := form(t, 3, 3)
	_, call := s.pods[0].request("GET", "rollcall", nil)
	plan, _ := call["plan"].(map[string]any)
	_, call = s.pods[1].request("GET", "rollcall", nil)
	ask := map[string]any{"name": "leasehold-1", "disk_id": call["disk_id"], "token": plan["token"]}
	if code, answer := s.pods[0].request("POST", "plan/accept", ask); code != http.StatusOK {
		t.Errorf("the same disk again: %d %v", code, answer)
	}
	ask["disk_id"] = "another"
	if code, answer := s.pods[0].request("POST", "plan/accept", ask); code != http.StatusConflict {
		t.Errorf("another disk: %d %v", code, answer)
	}
	if code, answer := s.pods[1].request("POST", "plan/accept", ask); code != http.StatusConflict {
		t.Errorf("asked of another pod: %d %v", code, answer)
	}
}

func TestAllRestartWithTheirData(t *testing.T) {
	t.Parallel()
	s := form(t, 3, 3)
	s.pods[0].put("k")
	cluster := s.pods[0].member.ClusterID()
	s.kill(s.pods...)
	s.run(s.pods[1])
	s.pods[1].waitsFor("no answer from leasehold-0, leasehold-2")
	s.run(s.pods[0], s.pods[2])
	s.voters(s.pods...)
	for _, p := range s.pods {
		p.has("k")
	}
	if got := s.pods[0].member.ClusterID(); got != cluster {
		t.Errorf("cluster %x, was %x", got, cluster)
	}
}

func TestDataWithoutIdentityIsRefused(t *testing.T) {
	t.Parallel()
	s := form(t, 1, 1)
	s.kill(s.pods[0])
	if err := os.Remove(filepath.Join(s.pods[0].dir, "identity.json")); err != nil {
		t.Fatal(err)
	}
	_, err := member.New(member.Config{
		Name: "leasehold-0", BootID: "b", Dir: s.pods[0].dir, Peers: s.peers, Replicas: s.countReplicas, ListenPeer: ":2380",
	})
	if !errors.Is(err, member.ErrNoIdentity) {
		t.Errorf("New: %v, want ErrNoIdentity", err)
	}
}

func TestDamagedIdentityIsRefused(t *testing.T) {
	t.Parallel()
	s := newSet(t, 1, 1)
	for _, text := range []string{"", "{", "{}", `{"disk_id": "d", "cluster_id": "xyz"}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "identity.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := member.New(member.Config{
			Name: "leasehold-0", BootID: "b", Dir: dir, Peers: s.peers, Replicas: s.countReplicas, ListenPeer: ":2380",
		})
		if err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("New with %q: %v", text, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	s := newSet(t, 1, 1)
	valid := member.Config{
		Name: "leasehold-0", BootID: "b", Dir: t.TempDir(), Peers: s.peers, Replicas: s.countReplicas, ListenPeer: ":2380",
	}
	for want, spoil := range map[string]func(*member.Config){
		"not a pod of this set": func(c *member.Config) { c.Name = "evil-0" },
		"required":              func(c *member.Config) { c.BootID = "" },
		"five heartbeats":       func(c *member.Config) { c.Election = time.Millisecond },
		"for etcd's peers":      func(c *member.Config) { c.ListenPeer = "leasehold-0:2380" },
		"must be a loopback":    func(c *member.Config) { c.ListenClient = "0.0.0.0:2379" },
		"\"\" is not a port":    func(c *member.Config) { c.ListenPeer = ":" },
	} {
		cfg := valid
		spoil(&cfg)
		if _, err := member.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q", err, want)
		}
	}
	if _, err := member.New(valid); err != nil {
		t.Error(err)
	}
}
