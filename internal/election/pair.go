package election

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// PairLock is two locks, both of which its holder has to hold, so that an election can go from one to the other: who
// knows the first alone, and who knows the second alone, are kept out alike. The first is taken before the second, by
// everybody who uses both. (client-go's MultiLock writes the second without a look at who holds it.)
//
// It is read as held by who holds either. Where two processes do, they are taken together for a stranger: each would have
// to be gone, and to wait for both is always right.
type PairLock struct {
	pod, bootID string
	halves      [2]*half
	boot        string // the holder's, as last read
	both        bool   // both were ours when last written, and nobody else's since

	// Since when, and why, the first was given back because the second could not be had.
	givenBack time.Time
	failure   error
}

// givenBackRest is how long a pod that has given the first half back leaves it to others.
const givenBackRest = 4 * time.Second

// half is one of the locks, as it was last read or written. While it is away, what was known of it stands.
type half struct {
	Lock
	record resourcelock.LeaderElectionRecord
	text   []byte
	absent bool
	holder process // nobody where it is free
	mine   bool
	err    error // of the last read
}

// NewPairLock makes a lock of two, for a pod under a boot ID. It talks to nobody yet.
func NewPairLock(first, second Lock, bootID string) *PairLock {
	return &PairLock{pod: first.Identity(), bootID: bootID, halves: [2]*half{{Lock: first}, {Lock: second}}}
}

// halfError keeps with an error which lock it is of, since they differ in what counts as away.
type halfError struct {
	half *half
	err  error
}

func (e halfError) Error() string { return e.half.Describe() + ": " + e.err.Error() }
func (e halfError) Unwrap() error { return e.err }

func (h *half) wrap(err error) error {
	if err == nil {
		return nil
	}
	return halfError{h, err}
}

// Away implements Lock.
func (l *PairLock) Away(err error) bool {
	var of halfError
	return errors.As(err, &of) && of.half.Away(of.err)
}

// Get implements resourcelock.Interface. It reads both at once. A lock that is away is no reason not to see that
// somebody else holds the other one.
func (l *PairLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	var reading sync.WaitGroup
	for _, h := range l.halves {
		reading.Go(func() { h.read(ctx, process{l.pod, l.bootID}) })
	}
	reading.Wait()
	first, second := l.halves[0], l.halves[1]
	if err := l.unread(); err != nil {
		return nil, nil, err
	}
	if first.absent && second.absent {
		return nil, nil, first.err
	}
	record, boot := combine(first, second)
	l.boot = boot
	l.both = l.both && !first.foreign() && !second.foreign()
	return &record, bytes.Join([][]byte{first.text, second.text}, []byte("\n")), nil
}

// unread is why the two are not known well enough to say who holds them; nil if they are.
func (l *PairLock) unread() error {
	var away error
	for _, h := range l.halves {
		switch err := h.wrap(h.err); {
		case err == nil || h.absent:
		case !h.Away(h.err):
			return err
		default:
			away = err
		}
	}
	if l.halves[0].foreign() || l.halves[1].foreign() {
		return nil
	}
	return away
}

func (h *half) read(ctx context.Context, self process) {
	record, text, err := h.Get(ctx)
	h.err, h.absent = err, apierrors.IsNotFound(err)
	switch {
	case err == nil:
		h.record, h.text, h.holder = *record, text, process{}
	case h.absent:
		h.record, h.text, h.holder = resourcelock.LeaderElectionRecord{}, nil, process{}
	default:
		return
	}
	if h.record.HolderIdentity != "" {
		h.holder = process{h.record.HolderIdentity, h.HolderBoot()}
	}
	h.mine = h.holder == self
}

// foreign tells whether somebody else was seen to hold it.
func (h *half) foreign() bool { return h.holder.pod != "" && !h.mine }

// combine is the record of both, and its holder's boot ID.
func combine(first, second *half) (resourcelock.LeaderElectionRecord, string) {
	main, other := first, second
	if (second.foreign() && !first.foreign()) || (!first.foreign() && !first.mine && second.mine) {
		main, other = second, first
	}
	record, boot := main.record, main.holder.boot
	record.LeaderTransitions = max(record.LeaderTransitions, other.record.LeaderTransitions)
	if main.foreign() && other.foreign() {
		record.LeaseDurationSeconds = longer(record.LeaseDurationSeconds, other.record.LeaseDurationSeconds)
		if main.holder != other.holder {
			record.HolderIdentity, boot = fmt.Sprintf("%s and %s", first.holder.pod, second.holder.pod), ""
		}
	}
	return record, boot
}

// longer is the longer of two durations. One that is not named may be any; whoever reads it has a limit.
func longer(a, b int) int {
	if a <= 0 || b <= 0 {
		return math.MaxInt32
	}
	return max(a, b)
}

// HolderBoot implements Lock.
func (l *PairLock) HolderBoot() string { return l.boot }

// Create implements resourcelock.Interface.
func (l *PairLock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.take(ctx, record)
}

// Update implements resourcelock.Interface.
func (l *PairLock) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == "" {
		return l.release(ctx, record)
	}
	return l.take(ctx, record)
}

// take takes or renews both. To have one is to have none: where the second cannot be had, the first is given back, and
// left to others for a while. Only a pod that had both keeps the first while the second is away. What is not ours has to have
// been read just before.
func (l *PairLock) take(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	first, second := l.halves[0], l.halves[1]
	if first.mine && second.mine {
		return l.renew(ctx, record)
	}
	for _, h := range l.halves {
		if !h.mine && h.err != nil && !h.absent {
			return h.wrap(h.err)
		}
	}
	if !first.mine && time.Since(l.givenBack) < givenBackRest {
		return fmt.Errorf("given back for a while: %w", l.failure)
	}
	if err := first.write(ctx, record); err != nil {
		return first.wrap(err)
	}
	err := second.wrap(second.write(ctx, record))
	switch {
	case err == nil:
		l.both = true
	case !l.both || !l.Away(err):
		first.giveBack(ctx, record)
		l.both, l.givenBack, l.failure = false, time.Now(), err
	}
	return err
}

// renew writes both at once. That one is away counts for less than that the other is lost.
func (l *PairLock) renew(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	var (
		writing sync.WaitGroup
		errs    [2]error
		away    error
	)
	for i, h := range l.halves {
		writing.Go(func() { errs[i] = h.write(ctx, record) })
	}
	writing.Wait()
	for i, h := range l.halves {
		switch err := errs[i]; {
		case err != nil && !h.Away(err):
			return h.wrap(err)
		case err != nil:
			away = h.wrap(err)
		}
	}
	return away
}

func (h *half) write(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	do := h.Update
	if h.absent {
		do = h.Create
	}
	if err := do(ctx, record); err != nil {
		return err
	}
	h.err, h.absent, h.mine = nil, false, record.HolderIdentity != ""
	return nil
}

// giveBack releases what was just taken. If that fails, it runs out by itself.
func (h *half) giveBack(ctx context.Context, taken resourcelock.LeaderElectionRecord) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockLimit)
	defer cancel()
	now := metav1.NewTime(time.Now())
	_ = h.write(ctx, resourcelock.LeaderElectionRecord{
		LeaseDurationSeconds: 1, AcquireTime: now, RenewTime: now, LeaderTransitions: taken.LeaderTransitions,
	})
}

// release frees what is ours of the two, and nothing else.
func (l *PairLock) release(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	var failed error
	l.both = false
	for _, h := range []*half{l.halves[1], l.halves[0]} {
		if !h.mine {
			continue
		}
		if err := h.write(ctx, record); err != nil && failed == nil {
			failed = h.wrap(err)
		}
	}
	return failed
}

// Watch implements Lock. Nobody holds the lock when nobody holds either of the two.
func (l *PairLock) Watch(ctx context.Context) <-chan string {
	holders := make(chan string)
	var (
		mu      sync.Mutex
		last    [2]string
		sending sync.WaitGroup
	)
	for i, h := range l.halves {
		sending.Go(func() {
			for holder := range h.Watch(ctx) {
				mu.Lock()
				last[i] = holder
				if holder == "" {
					holder = last[1-i]
				}
				mu.Unlock()
				sendHolder(ctx, holders, holder)
			}
		})
	}
	go func() {
		sending.Wait()
		close(holders)
	}()
	return holders
}

// Announce implements Lock.
func (l *PairLock) Announce(c Change) {
	l.halves[0].Announce(c)
	l.halves[1].Announce(c)
}

// Identity implements resourcelock.Interface.
func (l *PairLock) Identity() string { return l.pod }

// Describe implements resourcelock.Interface.
func (l *PairLock) Describe() string {
	return l.halves[0].Describe() + " and " + l.halves[1].Describe()
}

// RecordEvent implements resourcelock.Interface. Announce says more.
func (l *PairLock) RecordEvent(string) {}
