package sidecar

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/leasehold/leasehold/internal/election"
)

// maxDurations caps the lease duration that a foreign holder names, in own ones.
const maxDurations = 4

// tenure is the Lease as the API server's answers and events have shown it, the newest of them by its resource version,
// and by which write of its own this process holds it.
type tenure struct {
	pod, boot string
	timing    election.Timing
	quiet     func(ctx context.Context) error // before a release
	mayTake   func() error                    // before the Lease is acquired

	mu       sync.Mutex
	version  string // the newest seen
	holder   process
	former   process       // the last holder that was seen
	seen     time.Time     // when version was
	duration time.Duration // that the holder names

	acquired string // the version by which this process holds the Lease, "" while it does not
	claimed  bool   // there has been a term under it
	written  string // the version of the last write
	renewed  time.Time
	changed  chan struct{} // closed and replaced when any of this is another
}

// process is a pod under a boot ID.
type process struct{ pod, boot string }

func newTenure(pod, boot string, timing election.Timing) *tenure {
	return &tenure{pod: pod, boot: boot, timing: timing, changed: make(chan struct{})}
}

// note takes in the Lease as it was seen. An older one than is known changes nothing.
func (t *tenure) note(lease *coordinationv1.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !newer(lease.ResourceVersion, t.version) {
		return
	}
	t.version = lease.ResourceVersion
	holder, duration := process{}, t.timing.LeaseDuration
	if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		holder = process{*lease.Spec.HolderIdentity, election.BootOf(lease)}
	}
	if s := lease.Spec.LeaseDurationSeconds; s != nil && *s > 0 {
		duration = min(time.Duration(*s)*time.Second, maxDurations*t.timing.LeaseDuration)
	}
	t.set(holder, duration)
}

// newer tells whether version a is newer than b. What cannot be compared counts as newer.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

// gone takes in that there is no Lease.
func (t *tenure) gone(version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version != "" && !newer(version, t.version) {
		return
	}
	if version != "" {
		t.version = version
	}
	t.set(process{}, 0)
}

// set is called with mu held.
func (t *tenure) set(holder process, duration time.Duration) {
	t.holder, t.duration, t.seen = holder, duration, time.Now()
	if holder.pod != "" {
		t.former = holder
	}
	if !t.mine() {
		t.acquired, t.claimed, t.renewed = "", false, time.Time{}
	}
	t.tell()
}

func (t *tenure) mine() bool { return t.holder == process{t.pod, t.boot} }

func (t *tenure) tell() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// wrote takes in the answer to a write of this process that began at start.
func (t *tenure) wrote(lease *coordinationv1.Lease, start time.Time) {
	t.note(lease)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.mine() {
		return // a release, or somebody has been quicker than the answer
	}
	if t.acquired == "" {
		t.acquired, t.claimed = lease.ResourceVersion, false
	}
	t.written, t.renewed = lease.ResourceVersion, start
	t.tell()
}

// takes returns why the Lease must not be written with this process as its holder.
func (t *tenure) takes() error {
	t.mu.Lock()
	held := t.acquired != ""
	t.mu.Unlock()
	if held {
		return nil
	}
	return t.mayTake()
}

// claim returns the epoch of a new term: the resource version by which the Lease was acquired or, where there has been
// a term since, by which it was last renewed.
func (t *tenure) claim() (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.acquired == "" {
		return 0, errLost
	}
	if t.claimed {
		t.acquired = t.written
	}
	t.claimed = true
	epoch, err := strconv.ParseUint(t.acquired, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the Lease's resource version is %q: an epoch has to be a number: %w", t.acquired, err)
	}
	return epoch, nil
}

// heldUnder tells whether the Lease is still held as it was for the term of that epoch, and when the last renewal began.
func (t *tenure) heldUnder(epoch uint64) (renewed time.Time, held bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.renewed, t.acquired == strconv.FormatUint(epoch, 10), t.changed
}

func (t *tenure) whyLost() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder.pod == "" || t.mine() {
		return errLost
	}
	return fmt.Errorf("%w: %q holds it", errLost, t.holder.pod)
}

// until is until when nobody else can hold the Lease, whatever happens; zero while it is not known to be this process's.
func (t *tenure) until() (time.Time, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.acquired == "" {
		return time.Time{}, t.changed
	}
	return t.renewed.Add(t.timing.Validity()), t.changed
}

// heldBy is the pod that the Lease names, and until when its lease runs for all that is known here: "" if it has run out.
func (t *tenure) heldBy() (pod string, until time.Time, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	until = t.seen.Add(t.duration)
	if t.holder.pod == "" || !time.Now().Before(until) {
		return "", time.Time{}, t.changed
	}
	return t.holder.pod, until, t.changed
}

// lastHeld is who holds the Lease, or did last and has given it up, in the form of a record without a claim.
func (t *tenure) lastHeld() election.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return election.Record{Pod: t.former.pod, BootID: t.former.boot, Resigned: t.former.pod != "" && t.holder.pod == ""}
}
