package election

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/leasehold/leasehold/internal/leasetest"
)

// pair is a PairLock of a Lease and a ConfigMap, with each for itself.
func (s *apiServer) pair(pod, boot string) (*PairLock, *LeaseLock, *ObjectLock) {
	lease, configMap := s.leaseLock(pod, boot), s.objectLock(ConfigMaps(), pod, boot)
	return NewPairLock(lease, configMap, boot), s.leaseLock(pod, boot), s.objectLock(ConfigMaps(), pod, boot)
}

func TestAPairIsHeldByWhoHoldsEither(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lease, configMap process // who holds them
		pod, boot        string  // who holds both, as pod-0 under boot-a sees it
	}{
		"nobody":                      {},
		"the first is another's":      {lease: process{"pod-1", "boot-1"}, pod: "pod-1", boot: "boot-1"},
		"the second is another's":     {configMap: process{"pod-1", "boot-1"}, pod: "pod-1", boot: "boot-1"},
		"ours and another's":          {lease: process{"pod-0", "boot-a"}, configMap: process{"pod-1", "boot-1"}, pod: "pod-1", boot: "boot-1"},
		"another's and ours":          {lease: process{"pod-1", "boot-1"}, configMap: process{"pod-0", "boot-a"}, pod: "pod-1", boot: "boot-1"},
		"both are another's":          {lease: process{"pod-1", "boot-1"}, configMap: process{"pod-1", "boot-1"}, pod: "pod-1", boot: "boot-1"},
		"each is somebody's":          {lease: process{"pod-1", "boot-1"}, configMap: process{"pod-2", "boot-2"}, pod: "pod-1 and pod-2"},
		"the second is a twin's":      {lease: process{"pod-0", "boot-a"}, configMap: process{"pod-0", "boot-b"}, pod: "pod-0", boot: "boot-b"},
		"both are ours":               {lease: process{"pod-0", "boot-a"}, configMap: process{"pod-0", "boot-a"}, pod: "pod-0", boot: "boot-a"},
		"one is ours, the other free": {configMap: process{"pod-0", "boot-a"}, pod: "pod-0", boot: "boot-a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := standIn(t)
			pair, _, _ := s.pair("pod-0", "boot-a")
			create(t, s.leaseLock(test.lease.pod, test.lease.boot), test.lease.pod)
			create(t, s.objectLock(ConfigMaps(), test.configMap.pod, test.configMap.boot), test.configMap.pod)
			expectHolder(t, pair, test.pod, test.boot)
		})
	}
}

// What is taken of two that cannot both be had is given back, or those who want it alone would wait for it.
func TestThePairsFirstIsGivenBackIfTheSecondCannotBeHad(t *testing.T) {
	t.Parallel()
	s := standIn(t)
	pair, lease, configMap := s.pair("pod-0", "boot-a")
	if _, _, err := pair.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	create(t, s.objectLock(ConfigMaps(), "pod-1", "boot-1"), "pod-1") // after both were seen to be free
	if err := pair.Create(t.Context(), held("pod-0")); err == nil || !strings.Contains(err.Error(), "configmaps") {
		t.Errorf("Create: %v, want that the ConfigMap is there already", err)
	}
	expectHolder(t, lease, "", "")
	expectHolder(t, configMap, "pod-1", "boot-1")
}

// A pod that has given the first back does not take it again at once: its release woke everybody else up, and theirs would
// wake it.
func TestAPairThatCannotBeHadIsLeftToOthersForAWhile(t *testing.T) {
	t.Parallel()
	for name, break2nd := range map[string]func(t *testing.T, second *apiServer){
		"the second is another's": func(t *testing.T, second *apiServer) {
			t.Helper()
			create(t, second.objectLock(ConfigMaps(), "pod-1", "boot-1"), "pod-1")
		},
		"the second is away": func(t *testing.T, second *apiServer) {
			t.Helper()
			if err := second.server.Set(leasetest.Unavailable); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := standIn(t), standIn(t)
			pair := NewPairLock(first.leaseLock("pod-0", "boot-a"), second.objectLock(ConfigMaps(), "pod-0", "boot-a"), "boot-a")
			if _, _, err := pair.Get(t.Context()); !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			break2nd(t, second)
			if err := pair.Create(t.Context(), held("pod-0")); err == nil {
				t.Error("Create: no error")
			}
			expectHolder(t, first.leaseLock("pod-0", "boot-a"), "", "")
			if err := pair.Update(t.Context(), held("pod-0")); err == nil || !strings.Contains(err.Error(), "given back") {
				t.Errorf("Update: %v", err)
			}
		})
	}
}

// A half that cannot be read is still held by whom it was: with the other one's holder gone, nobody takes a stranger's.
func TestAHalfThatIsAwayIsStillItsHolders(t *testing.T) {
	t.Parallel()
	first, second := standIn(t), standIn(t)
	pair := NewPairLock(first.leaseLock("pod-0", "boot-a"), second.objectLock(ConfigMaps(), "pod-0", "boot-a"), "boot-a")
	create(t, first.leaseLock("pod-1", "boot-1"), "pod-1")
	create(t, second.objectLock(ConfigMaps(), "stranger", ""), "stranger")
	expectHolder(t, pair, "pod-1 and stranger", "")
	if err := second.server.Set(leasetest.Unavailable); err != nil {
		t.Fatal(err)
	}
	expectHolder(t, pair, "pod-1 and stranger", "")
	if err := pair.Update(t.Context(), held("pod-0")); err == nil || !pair.Away(err) {
		t.Errorf("Update: %v", err)
	}
	expectHolder(t, first.leaseLock("pod-0", "boot-a"), "pod-1", "boot-1")
}

// A pair that is released is so as far as it is ours.
func TestAPairIsReleasedAsFarAsItIsOurs(t *testing.T) {
	t.Parallel()
	s := standIn(t)
	pair, lease, configMap := s.pair("pod-0", "boot-a")
	create(t, pair, "pod-0")
	expectHolder(t, configMap, "pod-0", "boot-a")
	overwrite(t, s.objectLock(ConfigMaps(), "pod-1", "boot-1"), held("pod-1"))
	expectHolder(t, pair, "pod-1", "boot-1")
	if err := pair.Update(t.Context(), held("")); err != nil {
		t.Error(err)
	}
	expectHolder(t, lease, "", "")
	expectHolder(t, configMap, "pod-1", "boot-1")
}

// That the first is away must not hide that the second is lost.
func TestAPairIsAwayOnlyIfNothingSaysThatItIsLost(t *testing.T) {
	t.Parallel()
	first, second := standIn(t), standIn(t)
	pair := NewPairLock(first.leaseLock("pod-0", "boot-a"), second.objectLock(ConfigMaps(), "pod-0", "boot-a"), "boot-a")
	create(t, pair, "pod-0")
	if err := first.server.Set(leasetest.Unavailable); err != nil {
		t.Fatal(err)
	}
	if err := pair.Update(t.Context(), held("pod-0")); err == nil || !pair.Away(err) {
		t.Errorf("while the first is away: %v", err)
	}
	if _, _, err := pair.Get(t.Context()); err == nil || !pair.Away(err) {
		t.Errorf("while the first is away: %v", err)
	}
	overwrite(t, second.objectLock(ConfigMaps(), "pod-1", "boot-1"), held("pod-1"))
	if err := pair.Update(t.Context(), held("pod-0")); err == nil || pair.Away(err) {
		t.Errorf("when the second is lost as well: %v", err)
	}
	expectHolder(t, pair, "pod-1", "boot-1")
}

// migration is a set that goes from one lock to another.
type migration struct {
	t    *testing.T
	s    *apiServer
	pods []*mortalCandidate
}

// lock is that of the kind.
func (m *migration) lock(kind, pod, boot string) Lock {
	lease, configMap := m.s.leaseLock(pod, boot), m.s.objectLock(ConfigMaps(), pod, boot)
	switch kind {
	case "leases":
		return lease
	case "configmaps":
		return configMap
	default:
		return NewPairLock(lease, configMap, boot)
	}
}

// restart replaces a pod's process by one with that lock. Every other one is killed, without a release.
func (m *migration) restart(step, ordinal int, kind string) {
	m.t.Helper()
	if old := m.pods[ordinal]; old != nil && (step+ordinal)%2 == 0 {
		old.kill()
	} else if old != nil {
		old.stop()
	}
	pod := fmt.Sprintf("pod-%d", ordinal)
	boot := fmt.Sprintf("%s-boot-%d", pod, step)
	m.pods[ordinal] = mortal(m.t, m.lock(kind, pod, boot), boot)
}

// leaders are those that lead.
func (m *migration) leaders() (names []string) {
	for _, c := range m.pods {
		if c != nil && c.leads() == nil {
			names = append(names, c.pod)
		}
	}
	return names
}

func (m *migration) oneLeads() error {
	switch names := m.leaders(); {
	case len(names) > 1:
		m.t.Fatalf("two lead: %v", names)
	case len(names) == 0:
		return errors.New("nobody leads")
	}
	return nil
}

// rollOut restarts one pod after the other, each when one leads.
func (m *migration) rollOut(step int, kind string) {
	m.t.Helper()
	for ordinal := range m.pods {
		m.restart(step, ordinal, kind)
		within(m.t, time.Minute, m.oneLeads)
	}
}

// The documented way from one lock to another, step by step. Each process has a store of its own here, so that nothing
// but the locks keeps them apart.
func TestAMigrationHasNeverTwoLeaders(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"here", "real"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			m := &migration{t: t, s: anAPIServer(t, server), pods: make([]*mortalCandidate, 3)}
			for step, kind := range []string{"leases", "leases,configmaps", "configmaps"} {
				m.rollOut(step, kind)
			}
			always(t, short.LeaseDuration+time.Second, m.oneLeads)
			if record, _, err := m.s.objectLock(ConfigMaps(), "", "").Get(t.Context()); err != nil || record.HolderIdentity != m.leaders()[0] {
				t.Errorf("the ConfigMap: %+v, %v", record, err)
			}
		})
	}
}

// Without its middle step there are two.
func TestAMigrationWithoutTheMiddleStepHasTwoLeaders(t *testing.T) {
	t.Parallel()
	m := &migration{t: t, s: standIn(t), pods: make([]*mortalCandidate, 2)}
	m.restart(0, 0, "leases")
	within(t, time.Minute, m.oneLeads)
	m.restart(0, 1, "configmaps")
	within(t, time.Minute, func() error {
		if len(m.leaders()) < 2 {
			return errors.New("there is one: the test above shows nothing")
		}
		return nil
	})
}
