package election

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/leasehold/leasehold/internal/leasetest"
)

// TestLocks is what every lock has to do, wherever it is kept.
func TestLocks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*place){
		"TheHolderAndItsBootAreWrittenAndRead":        writesAndReads,
		"ARenewalIsSeen":                              renewalIsSeen,
		"AConflictIsReported":                         conflicts,
		"ALockThatIsThereIsNotCreated":                createsOnce,
		"OneOfManyCreatesIt":                          createdByOne,
		"WhatWasNeverReadIsNotWritten":                neverRead,
		"AnotherClientsRecordHasNoBoot":               strangerHasNoBoot,
		"ARecordWithoutAHolderIsFree":                 foreignRelease,
		"GarbageIsHeldByNobodyKnowsWhomAndReplaced":   garbage,
		"ARecordThatIsTooLongIsGarbage":               tooLong,
		"WhereThereIsNoRoomTheLockIsNotHeld":          noRoom,
		"ALockThatIsDeletedIsCreatedAgain":            deletedAndCreated,
		"TheWatchSendsTheHolderAndNobodyWhenItIsFree": watches,
		"TheWatchIsBegunAgain":                        watchesAgain,
		"TheWatchEndsWithItsContext":                  watchEnds,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPlaces(t, test)
		})
	}
}

func held(pod string) resourcelock.LeaderElectionRecord {
	now := metav1.NewTime(time.Now())
	return resourcelock.LeaderElectionRecord{HolderIdentity: pod, LeaseDurationSeconds: 15, AcquireTime: now, RenewTime: now}
}

// create does what the elector does where there is no lock.
func create(t *testing.T, l Lock, pod string) {
	t.Helper()
	if _, _, err := l.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Fatalf("Get: %v, want not found", err)
	}
	if err := l.Create(t.Context(), held(pod)); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, l Lock, pod string) {
	t.Helper()
	if err := l.Update(t.Context(), held(pod)); err != nil {
		t.Fatal(err)
	}
}

// expectHolder reads the lock and compares. The boot ID of a lock that is free means nothing.
func expectHolder(t *testing.T, l Lock, pod, boot string) {
	t.Helper()
	record, _, err := l.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if record.HolderIdentity != pod || (pod != "" && l.HolderBoot() != boot) {
		t.Errorf("held by %q under boot %q, want %q under %q", record.HolderIdentity, l.HolderBoot(), pod, boot)
	}
}

func writesAndReads(p *place) {
	t := p.t
	a, b := p.lock("pod-0", "boot-a"), p.lock("pod-1", "boot-b")
	create(t, a, "pod-0")
	expectHolder(t, b, "pod-0", "boot-a")
	update(t, a, "pod-0") // a renewal, on what it has written last
	expectHolder(t, b, "pod-0", "boot-a")
	update(t, b, "pod-1")
	expectHolder(t, a, "pod-1", "boot-b")
	expectHolder(t, b, "pod-1", "boot-b")
	update(t, b, "")
	expectHolder(t, a, "", "")
	record, _, err := a.Get(t.Context())
	if err != nil || record.LeaseDurationSeconds != 15 || record.RenewTime.IsZero() || record.AcquireTime.IsZero() {
		t.Errorf("%+v, %v", record, err)
	}
	if a.Identity() != "pod-0" || a.Describe() == "" {
		t.Errorf("%q, %q", a.Identity(), a.Describe())
	}
}

// Whoever waits for a silent holder looks at whether the record changes.
func renewalIsSeen(p *place) {
	t := p.t
	a, b := p.lock("pod-0", "boot-a"), p.lock("pod-1", "boot-b")
	create(t, a, "pod-0")
	_, before, err := b.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	renewed := held("pod-0")
	renewed.RenewTime = metav1.NewTime(renewed.RenewTime.Add(time.Second))
	if err := a.Update(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}
	if _, after, err := b.Get(t.Context()); err != nil || string(after) == string(before) {
		t.Errorf("after a renewal the record is still %s (%v)", after, err)
	}
}

func conflicts(p *place) {
	t := p.t
	a, b := p.lock("pod-0", "boot-a"), p.lock("pod-1", "boot-b")
	create(t, a, "")
	expectHolder(t, a, "", "")
	expectHolder(t, b, "", "")
	update(t, a, "pod-0")
	switch err := b.Update(t.Context(), held("pod-1")); {
	case err == nil:
		t.Error("two hold the lock: it was free when both read it, and both took it")
	case !apierrors.IsConflict(err):
		t.Errorf("Update on an old version: %v, want a conflict", err)
	}
	expectHolder(t, b, "pod-0", "boot-a")
}

func createsOnce(p *place) {
	t := p.t
	a, b := p.lock("pod-0", "boot-a"), p.lock("pod-1", "boot-b")
	if _, _, err := b.Get(t.Context()); !apierrors.IsNotFound(err) {
		t.Fatalf("Get: %v, want not found", err)
	}
	create(t, a, "pod-0")
	if err := b.Create(t.Context(), held("pod-1")); !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
		t.Errorf("Create: %v, want that it exists", err)
	}
	expectHolder(t, b, "pod-0", "boot-a")
}

func createdByOne(p *place) {
	t := p.t
	var (
		creating sync.WaitGroup
		created  atomic.Int32
		winner   atomic.Value
	)
	start := make(chan struct{})
	for i := range 8 {
		pod := fmt.Sprintf("pod-%d", i)
		l := p.lock(pod, "boot-"+pod)
		if _, _, err := l.Get(t.Context()); !apierrors.IsNotFound(err) {
			t.Fatalf("Get: %v, want not found", err)
		}
		creating.Go(func() {
			<-start
			if l.Create(t.Context(), held(pod)) == nil {
				created.Add(1)
				winner.Store(pod)
			}
		})
	}
	close(start)
	creating.Wait()
	pod, _ := winner.Load().(string)
	if created.Load() != 1 {
		t.Fatalf("%d have created the lock", created.Load())
	}
	expectHolder(t, p.lock("pod-9", "boot-9"), pod, "boot-"+pod)
}

// A round that won on the store's word has never read the lock. It must not write it blindly when it is there again.
func neverRead(p *place) {
	t := p.t
	create(t, p.lock("pod-0", "boot-a"), "pod-0")
	late := p.lock("pod-1", "boot-b")
	if err := late.Update(t.Context(), held("pod-1")); !apierrors.IsConflict(err) {
		t.Errorf("the first write of a lock that was never read: %v", err)
	}
	expectHolder(t, late, "pod-0", "boot-a")
	update(t, late, "pod-1")
}

func strangerHasNoBoot(p *place) {
	t := p.t
	a := p.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	for _, holder := range []string{"stranger", "pod-0"} { // and one under our own name, too
		p.foreign(held(holder))
		if err := a.Update(t.Context(), held("pod-0")); !apierrors.IsConflict(err) {
			t.Errorf("a renewal after %s has written: %v, want a conflict", holder, err)
		}
		expectHolder(t, a, holder, "")
		update(t, a, "pod-0")
		expectHolder(t, a, "pod-0", "boot-a")
	}
}

func foreignRelease(p *place) {
	t := p.t
	a := p.lock("pod-0", "boot-a")
	p.foreign(held("stranger"))
	released := held("")
	released.LeaseDurationSeconds = 1
	p.foreign(released)
	expectHolder(t, a, "", "")
	update(t, a, "pod-0")
	expectHolder(t, p.lock("pod-1", "boot-b"), "pod-0", "boot-a")
}

func garbage(p *place) {
	t := p.t
	if p.scrawl == nil {
		t.Skip("a record here is no text")
	}
	a := p.lock("pod-0", "boot-a")
	for _, text := range []string{"{", "null", "[]", `"pod-1"`, "17", `{"holderIdentity":{}}`, "\xff\xfe", `{"holderIdentity":"pod-1"} and more`} {
		p.scrawl(text)
		record, raw, err := a.Get(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if record.HolderIdentity != unreadable || a.HolderBoot() != "" || len(raw) == 0 {
			t.Errorf("%s: held by %q under %q", text, record.HolderIdentity, a.HolderBoot())
		}
		update(t, a, "pod-0")
		expectHolder(t, a, "pod-0", "boot-a")
	}
	for _, text := range []string{"", " \n", "{}", `{"holderIdentity":null}`} {
		p.remove()
		p.scrawl(text)
		expectHolder(t, a, "", "")
	}
}

func tooLong(p *place) {
	t := p.t
	if p.scrawl == nil {
		t.Skip("a record here is no text")
	}
	a := p.lock("pod-0", "boot-a")
	for _, text := range []string{
		strings.Repeat(" ", 200<<10), strings.Repeat("{", 200<<10), fmt.Sprintf(`{"holderIdentity":%q}`, strings.Repeat("x", 2000)),
	} {
		p.scrawl(text)
		expectHolder(t, a, unreadable, "")
		update(t, a, "pod-0")
		expectHolder(t, a, "pod-0", "boot-a")
	}
}

func noRoom(p *place) {
	t := p.t
	if p.fill == nil {
		t.Skip("there is always room here")
	}
	p.fill()
	a := p.lock("pod-0", "boot-a")
	expectHolder(t, a, "", "")
	if err := a.Update(t.Context(), held("pod-0")); !apierrors.IsInvalid(err) || a.Away(err) {
		t.Errorf("Update: %v, away %t", err, a.Away(err))
	}
	expectHolder(t, a, "", "")
}

func deletedAndCreated(p *place) {
	t := p.t
	a := p.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	p.remove()
	if err := a.Update(t.Context(), held("pod-0")); !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		t.Errorf("Update of a lock that is gone: %v", err)
	}
	create(t, a, "pod-0")
	p.remove()
	create(t, p.lock("pod-1", "boot-b"), "pod-1")
	if err := a.Update(t.Context(), held("pod-0")); !apierrors.IsConflict(err) {
		t.Errorf("Update of a lock that is another's of the same name: %v", err)
	}
	expectHolder(t, a, "pod-1", "boot-b")
}

// next is the next holder that the watch sends which is not the one before.
func next(t *testing.T, holders <-chan string, before string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case holder, ok := <-holders:
			if !ok {
				t.Fatal("the watch has ended")
			}
			if holder != before {
				return holder
			}
		case <-timeout:
			t.Fatalf("the watch sends nothing but %q", before)
		}
	}
}

// awaitHolder waits until the watch sends this one: changes may be left out.
func awaitHolder(t *testing.T, holders <-chan string, want string) {
	t.Helper()
	for got := next(t, holders, "none"); got != want; {
		got = next(t, holders, got)
	}
}

func watches(p *place) {
	t := p.t
	a := p.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := p.lock("pod-1", "boot-b").Watch(t.Context())
	awaitHolder(t, holders, "pod-0")
	for _, holder := range []string{"pod-7", "", "pod-8"} {
		update(t, a, holder)
		awaitHolder(t, holders, holder)
	}
	p.foreign(held("stranger"))
	awaitHolder(t, holders, "stranger")
	p.remove()
	awaitHolder(t, holders, "")
}

func watchesAgain(p *place) {
	t := p.t
	if p.api == nil {
		t.Skip("no watch can be cut here")
	}
	a := p.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := p.lock("pod-1", "boot-b").Watch(t.Context())
	awaitHolder(t, holders, "pod-0")
	for _, mode := range []leasetest.Mode{leasetest.Unavailable, leasetest.Up} {
		if err := p.api.Set(mode); err != nil {
			t.Fatal(err)
		}
	}
	update(t, a, "") // maybe before the watch is there again
	awaitHolder(t, holders, "")
}

func watchEnds(p *place) {
	t := p.t
	ctx, cancel := context.WithCancel(t.Context())
	a := p.lock("pod-0", "boot-a")
	create(t, a, "pod-0")
	holders := a.Watch(ctx)
	awaitHolder(t, holders, "pod-0")
	cancel()
	for range holders {
		continue
	}
}

// What has been seen in the field. A duration that is not legible is 0, and the guard gives its holder as much time as we
// would have.
func TestRecordsOfOtherClientsAreRead(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text            string
		seconds         int
		acquired        string
		transitions     int
		holder, renewed string
	}{
		"client-go 0.27": {
			text:    `{"holderIdentity":"a_1f","leaseDurationSeconds":15,"acquireTime":"2026-03-07T10:13:03Z","renewTime":"2026-03-16T05:10:21Z","leaderTransitions":25}`,
			seconds: 15, acquired: "2026-03-07T10:13:03Z", renewed: "2026-03-16T05:10:21Z", transitions: 25, holder: "a_1f",
		},
		"Python": {
			text:    `{"holderIdentity": "a_1f", "leaseDurationSeconds": "17", "acquireTime": "2026-03-07 10:13:03.000417", "renewTime": "2026-03-16 05:10:21"}`,
			seconds: 17, acquired: "2026-03-07T10:13:03.000417Z", renewed: "2026-03-16T05:10:21Z", holder: "a_1f",
		},
		"Python, half seconds, ISO": {
			text:    `{"holderIdentity": "a_1f", "leaseDurationSeconds": "2.5", "acquireTime": "2026-03-07T10:13:03.5", "renewTime": "2026-03-16 05:10:21+00:00"}`,
			seconds: 3, acquired: "2026-03-07T10:13:03.5Z", renewed: "2026-03-16T05:10:21Z", holder: "a_1f",
		},
		"Java": {
			text:    `{"holderIdentity":"a_1f","leaseDurationSeconds":10,"acquireTime":"2026-03-07T10:13:03.417Z","renewTime":"2026-03-16T05:10:21.001Z","leaderTransitions":2}`,
			seconds: 10, acquired: "2026-03-07T10:13:03.417Z", renewed: "2026-03-16T05:10:21.001Z", transitions: 2, holder: "a_1f",
		},
		"C#": {
			text:    `{"holderIdentity":"a_1f","leaseDurationSeconds":15,"acquireTime":"2026-03-07T10:13:03.000417Z","renewTime":"2026-03-16T05:10:21.100000Z","leaderTransitions":0}`,
			seconds: 15, acquired: "2026-03-07T10:13:03.000417Z", renewed: "2026-03-16T05:10:21.1Z", holder: "a_1f",
		},
		"fabric8": {
			text:    `{"holderIdentity":"a_1f","leaseDuration":15.000000000,"acquireTime":"2026-03-07T10:13:03.000417Z","renewTime":"2026-03-16T05:10:21.100000Z","leaderTransitions":1}`,
			seconds: 15, acquired: "2026-03-07T10:13:03.000417Z", renewed: "2026-03-16T05:10:21.1Z", transitions: 1, holder: "a_1f",
		},
		"fabric8, durations as text": {
			text:    `{"holderIdentity":"a_1f","leaseDuration":"PT1M30S","acquireTime":"2026-03-07T10:13:03.000417Z","renewTime":"2026-03-16T05:10:21.100000Z"}`,
			seconds: 90, acquired: "2026-03-07T10:13:03.000417Z", renewed: "2026-03-16T05:10:21.1Z", holder: "a_1f",
		},
		"nothing but a holder": {text: `{"holderIdentity":"a_1f"}`, holder: "a_1f"},
		"nonsense beside a holder": {
			text:   `{"holderIdentity":"a_1f","leaseDurationSeconds":"NaN","acquireTime":12,"renewTime":{},"leaderTransitions":"x"}`,
			holder: "a_1f",
		},
		"a negative duration": {text: `{"holderIdentity":"a_1f","leaseDurationSeconds":-1}`, holder: "a_1f"},
		"a huge one":          {text: `{"holderIdentity":"a_1f","leaseDurationSeconds":1e300}`, holder: "a_1f", seconds: 1<<31 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decodeRecord([]byte(test.text))
			if got.HolderIdentity != test.holder || got.LeaseDurationSeconds != test.seconds || got.LeaderTransitions != test.transitions || got.BootID != "" {
				t.Errorf("%+v", got)
			}
			for want, at := range map[string]metav1.Time{test.acquired: got.AcquireTime, test.renewed: got.RenewTime} {
				if want == "" && at.IsZero() {
					continue
				}
				if text := at.UTC().Format(time.RFC3339Nano); text != want {
					t.Errorf("at %s, want %s", text, want)
				}
			}
		})
	}
}

// Python's client takes a record without a duration or without one of the times for free.
func TestARecordHasAllThatOtherClientsAskFor(t *testing.T) {
	t.Parallel()
	record := held("pod-0")
	record.AcquireTime = metav1.Time{}
	text, err := encodeRecord(record, "boot-a")
	if err != nil {
		t.Fatal(err)
	}
	read := decodeRecord(text)
	if read.AcquireTime.IsZero() || read.RenewTime.IsZero() || read.LeaseDurationSeconds != 15 || read.BootID != "boot-a" {
		t.Errorf("%s", text)
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("%s", text)
	}
}
