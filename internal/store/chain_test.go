package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAClaimCutsOffALeaderThatStillWrites(t *testing.T) {
	t.Parallel()
	a, b, d := newCluster(t).trio()
	term := a.lead()
	a.apply(request(put("k", "1")))
	b.lead()
	a.refuse(request(put("k", "2")), ErrNotLeading)
	if err := ended(t, term); !errors.Is(err, ErrNotLeading) {
		t.Errorf("the old term ended with %v", err)
	}
	a.refuse(request(put("k", "3")), ErrNotLeading)
	d.holds("k", "1")
	if o := b.apply(request(put("k", "4"))); o.Epoch != 2 {
		t.Errorf("epoch %d; want 2", o.Epoch)
	}
	d.holds("k", "4")
}

func TestAReplicaThatDoesNotLeadDoesNotWrite(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	b.refuse(request(put("k", "1")), ErrNotLeading)
	b.holds("k", "")
}

// Even a condition that fails is an answer that only the leader may give: a replaced one judges by old state.
func TestAReplacedLeaderDoesNotAnswerAFailedCondition(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	a.apply(request(put("k", "1")))
	b.lead()
	b.apply(request(del("k")))
	a.refuse(request(when("k", Exists), put("j", "1")), ErrNotLeading)
}

func TestAFrozenLeadersTransactionArrivesAfterANewClaim(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	late, frozen := newLatecomer(), newGate(t)
	a.wire.next(late.delay, frozen.hold)
	write := a.startAnytime(testContext(t), request(put("k", "old")))
	frozen.reached(t)
	b.lead()
	if late.arrive(t) {
		t.Error("a transaction of the old leader was applied after the new one's claim")
	}
	b.apply(request(put("k", "new")))
	frozen.open()
	write.fails(ErrNotLeading)
	b.holds("k", "new")
}

func TestALateCopyOfAnAppliedBatchChangesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0", func(cfg *Config) { cfg.Window = time.Nanosecond })
	term := a.lead()
	late := newLatecomer()
	a.wire.next(late.copied)
	a.apply(request(put("k", "1")))
	a.apply(request(put("k", "2")))
	if _, err := term.PruneJournal(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if c.get(position{1, 1}.journalKey()) != nil {
		t.Fatal("the batch's record has not been pruned")
	}
	if late.arrive(t) {
		t.Error("the copy was applied")
	}
	a.holds("k", "2")
}

// The control of the test before: without the head in its condition, the same transaction does harm.
func TestWithoutTheHeadALateCopyWouldUndoAWrite(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	b := newBatch(a.Store, position{1, 1})
	w := request(put("k", "1"))
	if !b.admit(&pending{ctx: testContext(t), write: w}) {
		t.Fatal("not admitted")
	}
	unchained := b.transaction(0)
	unchained.conditions = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(position{1, 1}.journalKey()), "=", 0)}
	a.apply(request(put("k", "2")))
	if _, err := c.client.Delete(testContext(t), position{1, 1}.journalKey()); err != nil { // pruned
		t.Fatal(err)
	}
	if _, err := a.repeat(testContext(t), unchained); err != nil {
		t.Fatal(err)
	}
	a.holds("k", "1")
}

func TestABatchIsAppliedOnceWhateverHappensToItsAttempts(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica("leasehold-0")
	a.lead()
	for name, faults := range map[string][]fault{
		"answer lost":                     {loseAnswer},
		"answer lost thrice":              {loseAnswer, loseAnswer, loseAnswer},
		"never sent":                      {loseRequest},
		"never sent, then answer lost":    {loseRequest, loseAnswer},
		"sent twice":                      {sendTwice},
		"sent twice, answer to the copy":  {answerTheCopy},
		"no space, although applied":      {outOfSpace},
		"no space, then the answer lost":  {outOfSpace, loseAnswer},
		"answer lost, the copy's as well": {answerTheCopy, sendTwice},
	} {
		a.wire.heal()
		a.wire.next(faults...)
		o := a.apply(request(put(name, "v")))
		if e := a.holds(name, "v"); e.Revision != o.Revision || o.Replayed {
			t.Errorf("%s: answered %+v; the entry has revision %d", name, o, e.Revision)
		}
		if n := c.writes(name); n != 1 {
			t.Errorf("%s: applied %d times", name, n)
		}
	}
	if term := a.term.Load(); term == nil {
		t.Error("the term has ended")
	}
}

func TestAnAttemptIsRepeatedAtOnceWhenEtcdHasANewLeader(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	newTerm := make(chan struct{})
	a := newCluster(t).replica("leasehold-0", func(cfg *Config) {
		cfg.NewTerm = func() <-chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			return newTerm
		}
	})
	a.lead()
	a.wire.next(func(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
		mu.Lock()
		close(newTerm)
		newTerm = make(chan struct{})
		mu.Unlock()
		return silence(ctx, send)
	})
	start := time.Now()
	a.apply(request(put("k", "1")))
	if d := time.Since(start); d > firstAttempt*3/4 {
		t.Errorf("repeated after %s only", d)
	}
}

func TestAppliedThenClaimedByAnotherIsAnsweredAsApplied(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	term := a.lead()
	held := newGate(t)
	a.wire.next(loseAnswer, held.hold)
	write := a.startAnytime(testContext(t), request(put("k", "1")))
	held.reached(t)
	b.lead()
	b.apply(request(put("j", "1")))
	held.open()
	o := write.applied()
	if e := b.holds("k", "1"); o.Revision != e.Revision || o.Epoch != 1 {
		t.Errorf("answered %+v; the entry has revision %d", o, e.Revision)
	}
	if err := ended(t, term); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the term ended with %v", err)
	}
}

func TestNotAppliedThenClaimedByAnotherIsAnsweredAsNotApplied(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	term := a.lead()
	held := newGate(t)
	a.wire.next(loseRequest, held.hold)
	write := a.startAnytime(testContext(t), request(put("k", "1")))
	held.reached(t)
	b.lead()
	held.open()
	write.fails(ErrNotLeading)
	_ = ended(t, term)
	b.holds("k", "")
}

func TestANewLeaderRepeatsTheOutcomesOfABatchWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	a.lead()
	a.apply(request(put("k", "1")))
	fails, succeeds := request(when("k", Absent), put("k", "2")), request(put("j", "1"))
	held := newGate(t)
	calls := a.together([]fault{loseAnswer, held.hold}, fails, succeeds)
	held.reached(t)
	b.lead()
	b.apply(request(del("k"))) // now the condition would hold
	failed, applied := b.decide(again(fails)), b.apply(again(succeeds))
	if failed.Applied || !failed.Replayed || !applied.Replayed || failed.Revision != applied.Revision || applied.Epoch != 1 {
		t.Errorf("the new leader answers %+v and %+v", failed, applied)
	}
	held.open()
	if o, err := calls[0].wait(); err != nil || o.Applied || o.Revision != failed.Revision {
		t.Errorf("the old leader answers %+v, %v", o, err)
	}
	if o := calls[1].applied(); o.Revision != applied.Revision {
		t.Errorf("the old leader answers %+v", o)
	}
	b.holds("k", "")
}

func TestWithoutAnAnswerTheOutcomeIsUnknownUntilTheNewLeaderIsAsked(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]fault{"applied": loseAnswer, "never sent": loseRequest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			a, b, _ := c.trio(func(cfg *Config) { cfg.undecided = 100 * time.Millisecond })
			term := a.lead()
			w, waits := request(put("k", "1")), request(put("j", "1"))
			calls := a.together([]fault{first, silence}, w)
			a.wire.cut(silence)
			eventually(t, func() error {
				if a.wire.attempts() < 4 { // claim, plug, two of the batch
					return errors.New("the batch is not under way")
				}
				return nil
			})
			waiting := a.startAnytime(testContext(t), waits)
			calls[0].fails(ErrUnknown)
			waiting.fails(ErrNotLeading)
			if err := ended(t, term); !errors.Is(err, ErrUnknown) {
				t.Errorf("the term ended with %v", err)
			}
			b.lead()
			if o := b.apply(again(w)); o.Replayed != (name == "applied") {
				t.Errorf("the new leader answers %+v", o)
			}
			b.holds("j", "")
			if n := c.writes("k"); n != 1 {
				t.Errorf("applied %d times", n)
			}
		})
	}
}

func TestARepeatedClaimFindsThatItHasSucceeded(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	for i, f := range []fault{loseAnswer, answerTheCopy, sendTwice, outOfSpace, loseRequest} {
		r := []*replica{a, b}[i%2]
		r.wire.next(f)
		term := r.lead()
		if want := uint64(i + 1); term.Epoch() != want || r.record().Epoch != want {
			t.Fatalf("epoch %d; want %d", term.Epoch(), want)
		}
		r.apply(request(put("k", fmt.Sprint(i))))
	}
}

func TestOfTwoClaimsOnTheSameRecordOneWins(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	for round := range 10 {
		seen := a.record()
		errs := make(chan error, 2)
		for _, r := range []*replica{a, b} {
			go func() {
				_, err := r.claimOn(seen, r.who())
				errs <- err
			}()
		}
		first, second := <-errs, <-errs
		if (first == nil) == (second == nil) {
			t.Fatalf("round %d: %v and %v", round, first, second)
		}
		if err := errors.Join(first, second); !errors.Is(err, ErrSuperseded) {
			t.Fatalf("round %d: %v", round, err)
		}
		if l := a.record(); l.Epoch != seen.Epoch+1 {
			t.Fatalf("round %d: epoch %d after %d", round, l.Epoch, seen.Epoch)
		}
	}
}

func TestADelayedClaimLosesAgainstEverythingThatHasHappenedSince(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(a *replica){
		"nobody had ever led": func(*replica) {},
		"the last one had resigned": func(a *replica) {
			if err := a.lead().Resign(testContext(a.t), "", ""); err != nil {
				a.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, _ := newCluster(t).trio()
			prepare(a)
			_, late := ghostClaim(t, a)
			if err := b.lead().Resign(testContext(t), "", ""); err != nil {
				t.Fatal(err)
			}
			after := b.record() // nobody leads, as before
			if late.arrive(t) {
				t.Error("a delayed claim was applied although another replica had led meanwhile")
			}
			if l := b.record(); l != after || l.Current() != "" {
				t.Errorf("%+v; want %+v", l, after)
			}
		})
	}
}

// ghostClaim has r claim, and give up before its claim has landed.
func ghostClaim(t *testing.T, r *replica) (claimID string, late *latecomer) {
	t.Helper()
	seen, who := r.record(), r.who()
	late = newLatecomer()
	ctx, cancel := context.WithCancel(testContext(t))
	r.wire.next(late.delay, func(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
		cancel()
		return silence(ctx, send)
	})
	if _, err := r.Claim(ctx, seen, who); !errors.Is(err, context.Canceled) {
		t.Fatalf("the claim returns %v", err)
	}
	return who.ID, late
}

func TestAClaimThatLandsWhenItsRoundIsOverIsGivenUp(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	claimID, late := ghostClaim(t, a)
	// As long as it is on its way there is nothing to give up.
	if err := a.ResignClaim(testContext(t), claimID, "resigned"); err != nil {
		t.Fatal(err)
	}
	if !late.arrive(t) {
		t.Fatal("the claim has not landed")
	}
	eventually(t, func() error { // the replica sees its own ghost
		if l, _ := a.Leader(); l.ClaimID != claimID {
			return fmt.Errorf("leader record %+v", l)
		}
		return nil
	})
	a.refuse(request(put("k", "1")), ErrNotLeading)
	if err := b.ResignClaim(testContext(t), "another claim", "resigned"); err != nil || b.record().Current() != "leasehold-0" {
		t.Fatalf("another claim's resignation: %v, %+v", err, b.record())
	}
	a.wire.next(loseAnswer)
	if err := a.ResignClaim(testContext(t), claimID, "resigned"); err != nil {
		t.Fatal(err)
	}
	if l := b.record(); l.Current() != "" || l.Epoch != 1 {
		t.Fatalf("after the resignation: %+v", l)
	}
	if term := b.lead(); term.Epoch() != 2 {
		t.Errorf("epoch %d", term.Epoch())
	}
}

func TestAClaimThatWasResignedBeforeItWasHeardOfGivesNoTerm(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	seen, who, held := a.record(), a.who(), newGate(t)
	a.wire.next(loseAnswer, held.hold)
	result := make(chan error, 1)
	go func() {
		_, err := a.claimOn(seen, who)
		result <- err
	}()
	held.reached(t)
	if err := b.ResignClaim(testContext(t), who.ID, "resigned"); err != nil {
		t.Fatal(err)
	}
	held.open()
	if err := <-result; !errors.Is(err, ErrSuperseded) {
		t.Errorf("the claim returns %v although the record says that nobody leads", err)
	}
	a.refuse(request(put("k", "1")), ErrNotLeading)
}

// A claim ID belongs to one term. Should it be used for a second one, that term's batches have the positions
// of the first one's: their records must not be taken for its own.
func TestABatchIsNotTakenForAnotherOneAtItsPosition(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	seen, who := a.record(), a.who()
	if _, err := a.claimOn(seen, who); err != nil {
		t.Fatal(err)
	}
	a.apply(request(put("k", "1")))
	if _, err := a.claimOn(seen, who); err != nil {
		return // refused: as good
	}
	a.refuse(request(put("j", "1")), ErrNotLeading)
	b.holds("j", "")
}

func TestAResignationDecidesWhatIsUndecided(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]fault{"applied": loseAnswer, "never sent": loseRequest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, _ := newCluster(t).trio()
			term := a.lead()
			held := newGate(t)
			a.wire.next(first, held.hold)
			write := a.startAnytime(testContext(t), request(put("k", "1")))
			held.reached(t)
			if err := term.Resign(testContext(t), "", ""); err != nil {
				t.Fatal(err)
			}
			held.open()
			if name == "applied" {
				write.applied()
				b.holds("k", "1")
			} else {
				write.fails(ErrNotLeading)
				b.holds("k", "")
			}
			if l := b.record(); l.Current() != "" {
				t.Errorf("%s leads", l.Current())
			}
		})
	}
}

func TestAResignationLetsTheBatchUnderWayFinish(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	term := a.lead()
	held := newGate(t)
	a.wire.next(held.hold)
	write := a.startAnytime(testContext(t), request(put("k", "1")))
	held.reached(t)
	resigned := make(chan error, 1)
	go func() { resigned <- term.Resign(testContext(t), "", "") }()
	_ = ended(t, term)
	held.open()
	write.applied()
	if err := <-resigned; err != nil {
		t.Fatal(err)
	}
	b.holds("k", "1")
	eventually(t, func() error {
		if l, _ := b.Leader(); !l.Resigned {
			return fmt.Errorf("leader record %+v", l)
		}
		return nil
	})
}

func TestResigningATermThatIsOverHarmsNobody(t *testing.T) {
	t.Parallel()
	a, b, _ := newCluster(t).trio()
	old := a.lead()
	b.lead()
	if err := old.Resign(testContext(t), "", ""); err != nil {
		t.Fatal(err)
	}
	b.apply(request(put("k", "1")))
	if l := b.record(); l.Current() != "leasehold-1" {
		t.Errorf("%q leads", l.Current())
	}
}

func TestASecondClaimOfTheSameReplicaReplacesItsTerm(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	first := a.lead()
	second := a.lead()
	if err := ended(t, first); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the first term ended with %v", err)
	}
	if _, err := first.Write(testContext(t), request(put("k", "1"))); !errors.Is(err, ErrNotLeading) {
		t.Errorf("the first term answers %v", err)
	}
	if o := a.apply(request(put("k", "2"))); o.Epoch != second.Epoch() {
		t.Errorf("written under epoch %d", o.Epoch)
	}
}

// Callbacks can be late: the one of an earlier round must not end the term of a newer one.
func TestALateReturnOfAnOldClaimDoesNotEndTheNewTerm(t *testing.T) {
	t.Parallel()
	a := newCluster(t).replica("leasehold-0")
	seen, who, held := a.record(), a.who(), newGate(t)
	a.wire.next(func(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
		resp, err := send(ctx)
		_, _ = held.hold(ctx, func(context.Context) (*clientv3.TxnResponse, error) { return nil, nil })
		return resp, err
	})
	result := make(chan error, 1)
	go func() {
		_, err := a.claimOn(seen, who)
		result <- err
	}()
	held.reached(t)
	newer := a.lead()
	held.open()
	if err := <-result; !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old claim returns %v", err)
	}
	if err := newer.Err(); err != nil {
		t.Errorf("the newer term has ended: %v", err)
	}
	a.apply(request(put("k", "1")))
}

func TestANewLeaderKnowsTheOutcomesOfTheOldOneAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, _ := c.trio()
	from, to := a, b
	from.lead()
	for i := range 20 {
		w := request(put(fmt.Sprintf("k%d", i), "v"))
		o := from.apply(w)
		to.lead()
		if got := to.apply(again(w)); !got.Replayed || got.Revision != o.Revision {
			t.Fatalf("round %d: %+v after %+v", i, got, o)
		}
		from, to = to, from
	}
}

// Three replicas claim leadership from each other at random while their wires lose, double and delay what
// they can. Every worker moves a register on by compare-and-set and asks until it has a certain answer.
func TestNothingIsLostOrAppliedTwiceUnderRandomFaults(t *testing.T) {
	t.Parallel()
	const workers, moves = 6, 25
	c := newCluster(t)
	a, b, d := c.trio(func(cfg *Config) { cfg.undecided = 50 * time.Millisecond })
	replicas := []*replica{a, b, d}
	a.lead()
	register := a.apply(request(put("register", "start"))).Revision
	late := make(chan sender, 1<<12)
	for i, r := range replicas {
		r.wire.cut(randomFaults(uint64(i), late))
	}
	done := make(chan struct{})
	var churn, work sync.WaitGroup
	churn.Go(func() { claimAtRandom(replicas, late, done) })
	var mu sync.Mutex
	next := map[int64]int64{} // what each state of the register was replaced by
	for n := range workers {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			for range moves {
				e, _, err := replicas[rng.IntN(3)].Get(testContext(t), "register", ReadOptions{Linearizable: true})
				if err != nil {
					t.Error(err)
					return
				}
				o := insist(t, rng, replicas, request(when("register", e.Revision), put("register", fmt.Sprint(n))))
				if !o.Applied {
					continue
				}
				mu.Lock()
				if other, ok := next[e.Revision]; ok {
					t.Errorf("revision %d was replaced by %d and by %d", e.Revision, other, o.Revision)
				}
				next[e.Revision] = o.Revision
				mu.Unlock()
			}
		})
	}
	work.Wait()
	close(done)
	churn.Wait()
	for _, r := range replicas {
		r.wire.heal()
	}
	moved := 0
	for rev, ok := next[register]; ok; rev, ok = next[register] {
		register, moved = rev, moved+1
	}
	final, _, err := a.Get(testContext(t), "register", ReadOptions{Linearizable: true})
	if err != nil || final.Revision != register || moved != len(next) {
		t.Errorf("the register is at %d, %v; %d of %d acknowledged moves lead to %d", final.Revision, err, moved, len(next), register)
	}
	if n := c.writes("register"); n != int64(len(next))+1 {
		t.Errorf("%d writes for %d acknowledged moves", n, len(next))
	}
	if len(next) < 10 {
		t.Errorf("only %d moves: the test shows nothing", len(next))
	}
	t.Logf("%d moves, epoch %d", len(next), a.record().Epoch)
}

// insist asks the replicas in turn until one gives a certain answer.
func insist(t *testing.T, rng *rand.Rand, replicas []*replica, w *Write) Outcome {
	t.Helper()
	for ctx := testContext(t); ; pause(ctx, time.Millisecond) {
		o, err := replicas[rng.IntN(len(replicas))].Write(ctx, again(w))
		switch {
		case err == nil:
			return o
		case ctx.Err() != nil || !errors.Is(err, ErrNotLeading) && !errors.Is(err, ErrUnknown):
			t.Errorf("%s: %v", describe(w), err)
			return Outcome{}
		}
	}
}

func randomFaults(seed uint64, late chan<- sender) fault {
	rng, mu := rand.New(rand.NewPCG(42, seed)), sync.Mutex{}
	faults := []fault{loseAnswer, loseRequest, sendTwice, answerTheCopy, outOfSpace}
	return func(ctx context.Context, send sender) (*clientv3.TxnResponse, error) {
		mu.Lock()
		n, delay := rng.IntN(20), rng.IntN(8) == 0
		mu.Unlock()
		if delay {
			late <- send
		}
		if n < len(faults) {
			return faults[n](ctx, send)
		}
		return send(ctx)
	}
}

func claimAtRandom(replicas []*replica, late <-chan sender, done <-chan struct{}) {
	rng := rand.New(rand.NewPCG(1, 2))
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		}
		r := replicas[rng.IntN(len(replicas))]
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if seen, err := r.ReadLeader(ctx); err == nil {
			_, _ = r.claimOn(seen, r.who())
		}
		for range rng.IntN(10) {
			select {
			case send := <-late:
				_, _ = send(ctx)
			default:
			}
		}
		cancel()
	}
}

// The elector reads the record before it writes its lock. Between the two the old leader may resign.
func TestAClaimGoesOnWhereTheLeaderThatWasSeenHasResigned(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"": pass, "the answer is lost": loseAnswer, "answered by the copy": answerTheCopy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, d := newCluster(t).trio()
			old := a.lead()
			seen := b.record()
			if err := old.Resign(testContext(t), "", ""); err != nil {
				t.Fatal(err)
			}
			b.wire.next(f, f)
			term, err := b.claimOn(seen, b.who())
			if err != nil || term.Epoch() != 2 {
				t.Fatalf("%v", err)
			}
			b.apply(request(put("k", "1")))
			if _, err := d.claimOn(seen, d.who()); !errors.Is(err, ErrSuperseded) {
				t.Errorf("a second claim on the same record returns %v", err)
			}
		})
	}
}
