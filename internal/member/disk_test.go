package member_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leasehold/leasehold/internal/member"
)

// One write after the other, so that none shares its way to the disk with another: each takes two members at least that
// have had the system bring their log to the disk.
func TestAWriteIsOnTheDisksOfAMajority(t *testing.T) {
	t.Parallel()
	s := form(t, 3, 3)
	const writes = 20
	before := fsyncs(t)
	for i := range writes {
		s.pods[i%3].put(fmt.Sprintf("k%d", i))
	}
	if n := fsyncs(t) - before; n < 2*writes {
		t.Errorf("%d writes were acknowledged after %d times that a log was brought to its disk", writes, n)
	}
}

// fsyncs counts those of the logs of all members in this process, as etcd does.
func fsyncs(t *testing.T) (n uint64) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "etcd_disk_wal_fsync_duration_seconds" {
			n += f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return n
}

// A wiped founder with the old plan still around: its peers are down, or up without a majority. It must not start.
func TestWipedFounderWaitsAndJoins(t *testing.T) {
	t.Parallel()
	s := form(t, 3, 3)
	s.pods[0].put("k")
	before := s.pods[0].memberID(s.pods[1])
	s.kill(s.pods...)
	s.pods[1].wipe()
	s.run(s.pods[1])
	s.pods[1].waitsFor("an answer from leasehold-0")
	s.run(s.pods[0])
	s.pods[1].waitsFor("a leader of the cluster: leasehold-0 know no other")
	if id := s.pods[1].member.ClusterID(); id != 0 {
		t.Fatalf("the wiped pod takes part in %x", id)
	}
	s.run(s.pods[2])
	s.voters(s.pods...)
	s.pods[1].has("k")
	if after := s.pods[0].memberID(s.pods[1]); after == before {
		t.Errorf("the wiped pod is member %x again", after)
	}
}

// The others may take a while to see that the leader is gone. It is not to ask itself meanwhile.
func TestWipedLeaderWaitsForAnother(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	s.pods[1].put("k")
	s.named.Store(&s.pods[0].name)
	s.kill(s.pods[0])
	s.pods[0].wipe()
	s.run(s.pods[0])
	s.pods[0].waitsFor("a leader of the cluster: leasehold-1, leasehold-2 know no other")
	s.named.Store(nil)
	s.voters(s.pods...)
	s.pods[0].has("k")
}

func TestWipedOrdinalZeroNeverFormsAgain(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	cluster := s.pods[1].member.ClusterID()
	s.pods[1].put("k")
	s.kill(s.pods[0])
	s.pods[0].wipe()
	s.run(s.pods[0])
	s.voters(s.pods...)
	if got := s.pods[0].member.ClusterID(); got != cluster {
		t.Errorf("cluster %x, was %x", got, cluster)
	}
	s.pods[0].has("k")
}

// The set is scaled to one just when that one has lost its disk: what there is to be saved is on the pods that leave.
func TestWipedOrdinalZeroFindsPodsThatLeave(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	cluster := s.pods[1].member.ClusterID()
	s.pods[1].put("k")
	s.kill(s.pods[0])
	s.pods[0].wipe()
	s.replicas.Store(1)
	s.run(s.pods[0])
	s.voters(s.pods...)
	s.pods[2].stop()
	s.pods[1].stop()
	s.voters(s.pods[0])
	s.pods[0].has("k")
	if got := s.pods[0].member.ClusterID(); got != cluster {
		t.Errorf("cluster %x, was %x", got, cluster)
	}
}

// The same pods at the same addresses have formed another cluster since: only its random token sets the two apart.
func TestForeignClusterIsRefused(t *testing.T) {
	t.Parallel()
	s := form(t, 2, 2)
	s.kill(s.pods...)
	old := s.pods[1].dir
	s.pods[0].wipe()
	s.pods[1].wipe()
	s.run(s.pods...)
	s.voters(s.pods...)
	s.kill(s.pods...)
	s.pods[0].boot() // answers, and does no more
	stale := s.pods[1]
	stale.dir = old
	s.run(stale)
	eventually(t, func() error {
		if len(stale.started) == 0 && stale.logs.FilterMessage("starting etcd").Len() == 0 {
			return fmt.Errorf("%s waits for %q", stale.name, stale.reason())
		}
		return nil
	})
	if stale.logs.FilterMessage("starting etcd").Len() > 0 {
		t.Fatal("a disk of an earlier cluster is started as a member of the present one")
	}
	if err := <-stale.started; !errors.Is(err, member.ErrForeignCluster) || !strings.Contains(err.Error(), "leasehold-0 is a member of cluster") {
		t.Errorf("Start: %v", err)
	}
}

// One disk of an earlier cluster among fresh ones: there must never be two clusters.
func TestStaleDiskAmongFreshOnes(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	s.kill(s.pods...)
	s.pods[0].wipe()
	s.pods[1].wipe()
	s.run(s.pods...)
	s.pods[0].waitsFor("a leader of the cluster: leasehold-2 know no other")
	s.pods[1].waitsFor("a leader of the cluster: leasehold-2 know no other")
	if s.pods[2].member.Voter() {
		t.Error("leasehold-2 has a majority")
	}
	s.kill(s.pods[2])
	s.pods[2].wipe()
	s.run(s.pods[2])
	s.voters(s.pods...)
}

func TestRemovedMemberSetsItsDataAsideAndJoins(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	p := s.followers()[0]
	before := p.memberID(p)
	s.kill(p)
	s.leader().remove(before)
	s.run(p)
	s.voters(s.pods...)
	if after := p.memberID(p); after == before || p.setAside() != 1 {
		t.Errorf("member %x, was %x; %d directories set aside", after, before, p.setAside())
	}
}

func TestRunningMemberThatIsRemovedSaysSo(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 3, 3)
	p := s.followers()[0]
	id := p.memberID(p)
	s.leader().remove(id)
	select {
	case <-p.member.Removed():
	case <-time.After(patience):
		t.Fatal("Removed is not closed")
	}
	if p.member.Voter() {
		t.Error("still a voter")
	}
	s.kill(p)
	s.run(p)
	s.voters(s.pods...)
}

// A disk that held a member once does not form a cluster, and no cluster is formed with it.
func TestRemovedDiskNeverForms(t *testing.T) {
	slow(t)
	t.Parallel()
	s := form(t, 2, 2)
	s.kill(s.pods...)
	for _, p := range s.pods {
		if err := os.RemoveAll(p.dir + "/etcd"); err != nil {
			t.Fatal(err)
		}
	}
	s.run(s.pods...)
	s.pods[0].waitsFor("this disk held a member once")
	s.kill(s.pods[0])
	s.pods[0].wipe()
	s.run(s.pods[0])
	s.pods[0].waitsFor("the disk of leasehold-1 held a member once")
}
