package election

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/leasehold/leasehold/internal/leasetest"
)

// TestElectionsOverEveryLock holds elections among strangers, twins and vandals, over each lock as it is.
func TestElectionsOverEveryLock(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*place){
		"AStrangerIsWaitedOut":                      strangerWaitedOut,
		"AStrangersReleaseIsSeenAtOnce":             strangerReleases,
		"AStrangerThatTakesTheLockEndsTheTerm":      strangerTakes,
		"WhoeverDropsOurBootIDHasTakenTheLock":      bootDropped,
		"AHolderThatNamesNoDurationIsWaitedOut":     durationMissing,
		"GarbageEndsTheTermAndIsWaitedOut":          garbageWhileLeading,
		"OneOfTwoTwinsLeads":                        twins,
		"ASilentHolderIsReplacedWhenItsLockRunsOut": silentHolder,
		"ALockThatIsDeletedIsHeldAgain":             deletedWhileLeading,
		"AnOutageEndsNoTerm":                        outage,
		"AnOutageEndsTheTermOfAStrictLock":          strictOutage,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inPlaces(t, test)
		})
	}
}

// short is the shortest timing there is.
var short = Timing{LeaseDuration: 4 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 500 * time.Millisecond}

// candidate is an election that takes part over a real lock, with a store of the test.
type candidate struct {
	*Election
	t      *testing.T
	pod    string
	store  *storeClient
	probed atomic.Int32 // how often it has asked somebody whom it has not met
	met    map[string]Vitals
	first  bool // the store's leadership is with it
	stop   func()
}

func (c *candidate) probe(_ context.Context, pod string) (Vitals, error) {
	if v, ok := c.met[pod]; ok {
		return v, nil
	}
	c.probed.Add(1)
	return Vitals{}, errors.New("nobody of that name")
}

// campaign starts a candidate that would take over from anybody that is gone. It has met those who answer it.
func campaign(t *testing.T, l Lock, boot string, store *storeServer, met ...string) *candidate {
	t.Helper()
	return run(t, l, boot, store, true, met...)
}

// follow starts a candidate that would not.
func follow(t *testing.T, l Lock, boot string, store *storeServer) *candidate {
	t.Helper()
	return run(t, l, boot, store, false)
}

func run(t *testing.T, l Lock, boot string, store *storeServer, first bool, met ...string) *candidate {
	t.Helper()
	c := &candidate{t: t, first: first, pod: l.Identity(), store: store.client(l.Identity(), boot), met: map[string]Vitals{}}
	for _, pod := range met { // each stands still, and says that it is about to lead
		c.met[pod] = Vitals{BootID: "boot-of-" + pod, Claiming: true}
	}
	election, err := New(Config{
		Pod: c.pod, BootID: boot, Lock: l, Store: c.store, Timing: short,
		Voter: func() bool { return true }, First: func() bool { return c.first }, TakesOver: func() bool { return c.first }, Others: func() []string { return nil },
		Probe: c.probe,
		PrepareMove: func(context.Context, string) (string, func(context.Context) error, error) {
			return "", nil, errors.New("the store stays where it is")
		},
		StoreElsewhere: func() bool { return false }, FetchStore: func(context.Context) error { return nil },
		Log: zaptest.NewLogger(t).Named(c.pod + "/" + boot), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Election = election
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		election.Run(ctx)
	}()
	c.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(c.stop)
	return c
}

func (c *candidate) leads() error {
	if !c.Leading() {
		return fmt.Errorf("%s does not lead", c.pod)
	}
	return nil
}

func (c *candidate) idle() error {
	if c.Leading() {
		return fmt.Errorf("%s leads", c.pod)
	}
	return nil
}

// heldShortly is a record of a holder that keeps to the short timing.
func heldShortly(pod string) (r lockRecord) {
	r.LeaderElectionRecord = held(pod)
	r.LeaseDurationSeconds = int(short.LeaseDuration / time.Second)
	return r
}

// waitsOut checks that c does not lead until a lease has run out since then, and does lead after it.
func (c *candidate) waitsOut(since time.Time) {
	c.t.Helper()
	always(c.t, time.Until(since.Add(short.LeaseDuration)), c.idle)
	within(c.t, 30*time.Second, c.leads)
	if n := c.probed.Load(); n > 0 {
		c.t.Errorf("who cannot be asked was asked %d times", n)
	}
}

func strangerWaitedOut(p *place) {
	p.foreign(heldShortly("stranger").LeaderElectionRecord)
	since := time.Now()
	campaign(p.t, p.lock("pod-0", "boot-a"), "boot-a", &storeServer{}).waitsOut(since)
}

func strangerReleases(p *place) {
	t := p.t
	p.foreign(heldShortly("stranger").LeaderElectionRecord)
	c := campaign(t, p.lock("pod-0", "boot-a"), "boot-a", &storeServer{})
	eventually(t, func() error {
		if !c.takeover.strangerHolds() {
			return errors.New("the stranger was not seen yet")
		}
		return nil
	})
	p.foreign(heldShortly("").LeaderElectionRecord)
	within(t, short.LeaseDuration, c.leads)
}

// leader starts a candidate and waits until it leads.
func leader(p *place, wrap func(Lock) Lock) *candidate {
	p.t.Helper()
	c := campaign(p.t, wrap(p.lock("pod-0", "boot-a")), "boot-a", &storeServer{})
	within(p.t, 30*time.Second, c.leads)
	return c
}

func asItIs(l Lock) Lock { return l }

// overwritten does something to the lock of a leader, which then has to give up and to wait.
func overwritten(p *place, do func()) {
	t := p.t
	t.Helper()
	c := leader(p, asItIs)
	term := c.Leadership()
	do()
	since := time.Now()
	within(t, 4*short.RetryPeriod, c.idle)
	within(t, short.RetryPeriod, func() error { // it is canceled right after the flag
		if term.Context.Err() == nil {
			return errors.New("the term's context goes on")
		}
		return nil
	})
	c.waitsOut(since)
}

func strangerTakes(p *place) {
	overwritten(p, func() { p.foreign(heldShortly("stranger").LeaderElectionRecord) })
}

func bootDropped(p *place) {
	overwritten(p, func() { p.foreign(heldShortly("pod-0").LeaderElectionRecord) })
}

func garbageWhileLeading(p *place) {
	if p.scrawl == nil {
		p.t.Skip("a record here is no text")
	}
	overwritten(p, func() { p.scrawl("{") })
}

func durationMissing(p *place) {
	record := heldShortly("stranger")
	record.LeaseDurationSeconds = 0
	p.foreign(record.LeaderElectionRecord)
	since := time.Now()
	campaign(p.t, p.lock("pod-0", "boot-a"), "boot-a", &storeServer{}).waitsOut(since)
}

func twins(p *place) {
	t := p.t
	store := &storeServer{}
	first := campaign(t, p.lock("pod-0", "boot-a"), "boot-a", store)
	within(t, 30*time.Second, first.leads)
	twin := follow(t, p.lock("pod-0", "boot-b"), "boot-b", store)
	always(t, short.LeaseDuration+2*time.Second, func() error { return errors.Join(first.leads(), twin.idle()) })
	first.stop()
	within(t, 30*time.Second, twin.leads)
}

func silentHolder(p *place) {
	t := p.t
	gone := p.lock("pod-9", "boot-of-pod-9")
	create(t, gone, "")
	if err := gone.Update(t.Context(), heldShortly("pod-9").LeaderElectionRecord); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	c := campaign(t, p.lock("pod-0", "boot-a"), "boot-a", &storeServer{}, "pod-9")
	always(t, time.Until(since.Add(short.LeaseDuration)), c.idle)
	within(t, 30*time.Second, c.leads)
}

func deletedWhileLeading(p *place) {
	t := p.t
	c := leader(p, asItIs)
	term := c.Leadership()
	p.remove()
	other := p.lock("pod-1", "boot-b")
	within(t, 30*time.Second, func() error {
		record, _, err := other.Get(t.Context())
		if err == nil && (record.HolderIdentity != "pod-0" || other.HolderBoot() != "boot-a") {
			err = fmt.Errorf("held by %q", record.HolderIdentity)
		}
		return err
	})
	if err := c.leads(); err != nil || c.Leadership() != term {
		t.Errorf("another term: %v", err)
	}
}

func outage(p *place) {
	t := p.t
	if p.api == nil {
		t.Skip("no API server can be taken away here")
	}
	p.at.clients, p.at.objects = p.at.hasty, p.at.hastyObjects
	c := leader(p, asItIs)
	term := c.Leadership()
	for _, mode := range []leasetest.Mode{leasetest.Unavailable, leasetest.BlackHole, leasetest.Refused} {
		if err := p.api.Set(mode); err != nil {
			t.Fatal(err)
		}
		always(t, short.LeaseDuration+time.Second, c.leads)
	}
	if err := p.api.Set(leasetest.Up); err != nil {
		t.Fatal(err)
	}
	always(t, 2*time.Second, c.leads)
	if c.Leadership() != term {
		t.Error("another term")
	}
}

func strictOutage(p *place) {
	t := p.t
	if p.api == nil {
		t.Skip("no API server can be taken away here")
	}
	c := leader(p, NewStrictLock)
	if err := p.api.Set(leasetest.Unavailable); err != nil {
		t.Fatal(err)
	}
	within(t, short.LeaseDuration, c.idle)
	always(t, short.LeaseDuration, c.idle)
	if err := p.api.Set(leasetest.Up); err != nil {
		t.Fatal(err)
	}
	within(t, 30*time.Second, c.leads)
}

// A stranger cannot be asked whether it is there, and that nobody answers in its name says nothing.
func TestAStrangersLockIsOnlyWaitedOut(t *testing.T) {
	for name, stranger := range map[string]string{"another client": "python-1f", "one under our own name": "pod-0"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(c *cluster) {
				t := c.t
				c.locks.overwrite(c.heldBy(stranger, "", c.timing.LeaseDuration))
				since := time.Now()
				for _, r := range c.all() {
					r.first.Store(true) // either might take over from one that is gone
					r.asks.set(func(_ context.Context, _ call, do func() error) error {
						if c.locks.holder() == stranger+"/" {
							t.Error("a stranger was asked")
						}
						return do()
					})
				}
				c.start()
				c.leader()
				if waited := time.Since(since); waited < c.timing.LeaseDuration {
					t.Errorf("a stranger's lock was taken before it had run out, after %s", waited)
				}
			})
		})
	}
}

// Where the lock cannot be reached, the store's word counts in its place; but not against a stranger that had it.
func TestAStrangerThatHadTheLockIsNotReplacedOnTheStoresWord(t *testing.T) {
	bubble(t, 2, func(c *cluster) {
		t := c.t
		c.start()
		old := c.leader()
		next := c.but(old)[0]
		next.first.Store(true)
		c.locks.overwrite(c.heldBy("stranger", "", c.timing.LeaseDuration))
		within(t, c.timing.RetryPeriod+poll, old.idle)
		time.Sleep(3 * c.timing.RetryPeriod) // all have seen it
		c.lockAway(away)
		always(t, 5*time.Minute, func() error { return errors.Join(old.idle(), next.idle()) })
		c.lockAway(nil)
		c.leader()
	})
}
