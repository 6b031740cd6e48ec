package election

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
)

func TestWhyALeaderWasElected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		replaced Record
		lock     lockState
		reason   string
		want     string
	}{
		{"nobody before", Record{}, lockAbsent, First, "the first leader"},
		{"all disks lost", Record{}, lockHeld, First, "the first leader of a new, empty store, though the lock had been held before: if there was data, it is gone"},
		{"handover", Record{Pod: "leasehold-0", BootID: "a", Resigned: true, Reason: Graceful}, lockFree, Graceful, "leasehold-0 gave leadership up"},
		{"transfer", Record{Pod: "leasehold-0", BootID: "a", Resigned: true, Reason: Transfer}, lockFree, Transfer, "leasehold-0 gave leadership up"},
		{"an old record", Record{Pod: "leasehold-0", BootID: "a", Resigned: true}, lockFree, Resigned, "leasehold-0 gave leadership up"},
		{"about to be resigned", Record{Pod: "leasehold-0", BootID: "a"}, lockFree, Resigned, "leasehold-0 no longer held the lock"},
		{"handover, and the lock ran out", Record{Pod: "leasehold-0", BootID: "a", Resigned: true, Reason: Graceful}, lockHeld, Graceful, "leasehold-0 gave leadership up"},
		{"crash", Record{Pod: "leasehold-0", BootID: "a"}, lockHeld, Frozen, "leasehold-0 had been silent for the length of its lease"},
		{"the lock is gone", Record{Pod: "leasehold-0", BootID: "a"}, lockAbsent, Fenced, "leasehold-0 no longer held the lock"},
		{"restart after a crash", Record{Pod: "leasehold-1", BootID: "a"}, lockHeld, Crash, "leasehold-1 was restarted"},
		{"restart after a handover", Record{Pod: "leasehold-1", BootID: "a", Resigned: true, Reason: Graceful}, lockFree, Graceful, "leasehold-1 was restarted"},
		{"leading again", Record{Pod: "leasehold-1", BootID: "b", Resigned: true}, lockFree, Resigned, "nobody else took over"},
	} {
		if got := whyElected("leasehold-1", "b", test.replaced, test.lock, ""); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if got := reasonBegan("leasehold-1", "b", test.replaced, test.lock, ""); got != test.reason {
			t.Errorf("%s: the reason is %q, want %q", test.name, got, test.reason)
		}
	}
}

// tells waits until r has announced these changes and no others.
func (r *replica) tells(want ...string) {
	r.c.t.Helper()
	eventually(r.c.t, func() error {
		var got []string
		for _, c := range r.told() {
			got = append(got, c.String())
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s tells\n%s\nwant\n%s", r.name(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

func TestAHandoverIsAnnounced(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		if err := old.election.Handover(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.leader(next)
		old.tells(old.pod+" leads under epoch 1 (first): the first leader", old.pod+" stopped leading under epoch 1 (graceful): handover")
		next.tells(next.pod + " leads under epoch 2 (graceful): " + old.pod + " gave leadership up")
		if got := next.told()[0]; got.From != old.pod || got.To != next.pod || got.Epoch != 2 {
			t.Errorf("%+v", got)
		}
		if got := old.told()[1]; got.From != old.pod || got.To != "" || got.Epoch != 1 || !got.Handover {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheEndOfATermIsAnnouncedWithItsCause(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(c *cluster, r *replica)
		reason string
		why    string
	}{
		"fenced": {
			func(c *cluster, _ *replica) { c.store.overwrite(Record{Pod: "pod-9", BootID: "x", ClaimID: "x/1"}) },
			Fenced, "pod-9 claimed epoch 2",
		},
		"taken-away": {
			func(c *cluster, _ *replica) {
				c.meet("pod-9", Vitals{BootID: "x", Claiming: true})
				c.locks.overwrite(c.heldBy("pod-9", "x", c.timing.LeaseDuration))
			},
			Fenced, `another pod holds the lock: "pod-9"`,
		},
		"not-renewed": {
			func(_ *cluster, r *replica) { r.lock.set(only("update", failing)) },
			Resigned, "the lock was not renewed in time: injected",
		},
		"not-renewed-and-not-read": {
			func(_ *cluster, r *replica) { r.lock.set(failing) },
			Resigned, "the lock was not renewed in time: injected",
		},
		"store-silent": {
			func(_ *cluster, r *replica) { r.store.set(only("read", hanging)) },
			Resigned, "the lock was not renewed in time: the store does not answer: context deadline exceeded",
		},
		"cannot-commit": {
			func(_ *cluster, r *replica) { r.store.lastTerm().end(errors.New("a batch got no answer")) },
			Resigned, "a batch got no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(c *cluster) {
				c.start()
				r := c.leader()
				test.end(c, r)
				within(c.t, c.timing.LeaseDuration, r.idle)
				r.tells("pod-0 leads under epoch 1 (first): the first leader", "pod-0 stopped leading under epoch 1 ("+test.reason+"): "+test.why)
				if r.told()[1].Handover {
					c.t.Error("that was no handover")
				}
			})
		})
	}
}

func TestATakeoverIsAnnounced(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		old.vanish()
		c.leader(next)
		next.tells(next.pod + " leads under epoch 2 (frozen): " + old.pod + " did not answer")
		next.vanish()
		within(c.t, c.timing.LeaseDuration, next.idle)
		c.locks.overwrite(nil) // somebody deletes the lock
		third := c.add("pod-2", "boot-2")
		third.start()
		c.leader(third)
		third.tells("pod-2 leads under epoch 3 (frozen): " + next.pod + " did not answer")
	})
}

func TestARestartIsAnnounced(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		c.start()
		c.leader().vanish()
		restarted := c.add("pod-0", "boot-new")
		restarted.start()
		c.leader(restarted)
		restarted.tells("pod-0 leads under epoch 2 (crash): pod-0 was restarted")
	})
}

func TestWatchTellsOfEveryChange(t *testing.T) {
	bubble(t, 1, func(c *cluster) {
		t := c.t
		r := c.replicas[0]
		l, changed := r.election.Watch()
		if l != nil {
			t.Fatal("leads before it has begun")
		}
		c.start()
		<-changed
		l, changed = r.election.Watch()
		if l == nil || l.Context.Err() != nil || l.Term.Epoch() != 1 {
			t.Fatalf("%+v", l)
		}
		select {
		case <-changed:
			t.Error("closed although nothing has changed")
		default:
		}
		if err := r.election.Handover(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-changed
		if now, _ := r.election.Watch(); now != nil || l.Context.Err() == nil {
			t.Error("the term goes on")
		}
	})
}

func TestTheLeaseHasAnEventForEachChange(t *testing.T) {
	t.Parallel()
	s := standIn(t)
	events := record.NewFakeRecorder(10)
	lock := NewLeaseLock(LeaseLockConfig{
		Namespace: s.namespace, Name: s.name, Pod: "pod-0", BootID: "boot-a",
		Leases: s.clients.CoordinationV1(), Watches: s.clients.CoordinationV1(), Events: events,
	})
	create(t, lock, "pod-0")
	lock.RecordEvent("became leader") // client-go's own
	lock.Announce(Change{To: "pod-0", Epoch: 1, Reason: First, Why: "the first leader"})
	lock.Announce(Change{From: "pod-0", Epoch: 1, Reason: Graceful, Why: "handover", Handover: true})
	lock.Announce(Change{From: "pod-0", Epoch: 3, Reason: Fenced, Why: "pod-1 claimed epoch 4 (100%)"})
	for _, want := range []string{
		"Normal LeaderElected pod-0 leads under epoch 1 (first): the first leader",
		"Normal LeaderStopped pod-0 stopped leading under epoch 1 (graceful): handover",
		"Warning LeaderStopped pod-0 stopped leading under epoch 3 (fenced): pod-1 claimed epoch 4 (100%)",
	} {
		if got := <-events.Events; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if len(events.Events) > 0 {
		t.Errorf("and also %q", <-events.Events)
	}
}

// objectRecorder keeps what Events are about.
type objectRecorder []corev1.ObjectReference

func (r *objectRecorder) Eventf(object runtime.Object, _, _, _ string, _ ...any) {
	*r = append(*r, *object.(*corev1.ObjectReference)) //nolint:errcheck // it is one
}

func TestAnEventRefersToTheObjectOfTheLock(t *testing.T) {
	t.Parallel()
	s := standIn(t)
	var events objectRecorder
	lease, configMap := s.leaseLock("pod-0", "boot-a"), s.objectLock(ConfigMaps(), "pod-0", "boot-a")
	lease.Announce(Change{To: "pod-0"}) // nowhere, and no harm
	configMap.Announce(Change{To: "pod-0"})
	lease.events, configMap.cfg.Events = &events, &events
	NewPairLock(lease, configMap, "boot-a").Announce(Change{To: "pod-0"})
	create(t, lease, "pod-0")
	create(t, configMap, "pod-0")
	NewPairLock(lease, configMap, "boot-a").Announce(Change{To: "pod-0"})
	want := []corev1.ObjectReference{
		{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: s.namespace, Name: s.name},
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: s.namespace, Name: s.name},
	}
	for i, got := range events {
		if known := got.UID != ""; known != (i >= 2) {
			t.Errorf("the UID is %q", got.UID)
		}
		got.UID = ""
		if got != want[i%2] {
			t.Errorf("%+v, want %+v", got, want[i%2])
		}
	}
	if len(events) != 4 {
		t.Errorf("%d Events", len(events))
	}
}
