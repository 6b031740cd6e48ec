package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
)

// startTwoElections starts three replicas that hold the elections writes and jobs.
func startTwoElections(t *testing.T) *cluster {
	t.Helper()
	return startClusterWith(t, 3, "--elections", "writes,jobs")
}

// leaderOf waits until exactly one replica leads the election and all that run agree on it.
func (c *cluster) leaderOf(name string) *node {
	c.t.Helper()
	var leader *node
	eventually(c.t, func() error {
		leader = nil
		for _, n := range c.nodes {
			if r := n.running(); r != nil && r.leads(name) {
				if leader != nil {
					return fmt.Errorf("%s and %s lead %s", leader.cfg.name, n.cfg.name, name)
				}
				leader = n
			}
		}
		if leader == nil {
			return fmt.Errorf("nobody leads %s", name)
		}
		for _, n := range c.nodes {
			if r := n.running(); r != nil && r.leaderOf(name) != leader.cfg.name {
				return fmt.Errorf("%s thinks that %q leads %s, not %s", n.cfg.name, r.leaderOf(name), name, leader.cfg.name)
			}
		}
		return nil
	})
	return leader
}

// but are the replicas that run, without these.
func (c *cluster) but(these ...*node) (others []*node) {
	for _, n := range c.nodes {
		if n.running() != nil && !slices.Contains(these, n) {
			others = append(others, n)
		}
	}
	return others
}

// record is the leader record of an election, read linearizably.
func (n *node) record(name string) store.Leader {
	n.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e := n.running().held(name)
	if e == nil {
		n.cluster.t.Fatalf("%s does not hold %s", n.cfg.name, name)
	}
	l, err := e.store.ReadLeader(ctx)
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	return l
}

// lead has a replica lead an election, by a transfer if it does not yet.
func (n *node) lead(name string) {
	n.cluster.t.Helper()
	if n.cluster.leaderOf(name) != n {
		n.must(http.StatusOK, "POST", "/v1/leader/transfer?election="+name, fmt.Sprintf(`{"to": %q}`, n.cfg.name))
	}
	if now := n.cluster.leaderOf(name); now != n {
		n.cluster.t.Fatalf("%s leads %s after a transfer to %s", now.cfg.name, name, n.cfg.name)
	}
}

// goesOn waits until a job of the election has run once more, by itself, under that epoch or a later one.
func (n *node) goesOn(job, name string, epoch uint64) {
	n.cluster.t.Helper()
	before := n.status(job)
	eventually(n.cluster.t, func() error {
		now := n.status(job)
		if now.Election != name || now.Epoch < epoch || now.Runs <= before.Runs || now.Error != "" {
			return fmt.Errorf("%s has not run once more under epoch %d of %s: %+v, was %+v", job, epoch, name, now, before)
		}
		return nil
	})
}

// status is what is known of a job.
func (n *node) status(job string) jobs.Status {
	n.cluster.t.Helper()
	var b struct{ Jobs []jobs.Status }
	decodeInto(n.cluster.t, n.must(http.StatusOK, "GET", "/v1/jobs", "").body, &b)
	i := slices.IndexFunc(b.Jobs, func(s jobs.Status) bool { return s.Name == job })
	if i < 0 {
		n.cluster.t.Fatalf("there is no job %s: %+v", job, b.Jobs)
	}
	return b.Jobs[i]
}

// runs has a job run at once, whoever is asked, and expects it to run under that epoch of the election or a later one.
func (n *node) runs(job, name string, epoch uint64) {
	n.cluster.t.Helper()
	eventually(n.cluster.t, func() error {
		r, err := n.do("POST", "/v1/jobs/"+job+"/run", "")
		if err != nil || r.status != http.StatusOK { // it may be running by itself just now
			return fmt.Errorf("%d %s, %w", r.status, r.body, err)
		}
		var s jobs.Status
		decodeInto(n.cluster.t, r.body, &s)
		if s.Election != name || s.Epoch < epoch || s.Error != "" {
			return fmt.Errorf("%s has run as %+v, not under epoch %d of %s", job, s, epoch, name)
		}
		return nil
	})
}

// etcdElections counts how often etcd elects a leader from now on. On a machine that is too busy it does so by itself, and a leader of
// ours that loses its majority for that is no fault of an election.
func (n *node) etcdElections() func() int64 {
	m, ctx, elections := n.running().member, n.cluster.t.Context(), &atomic.Int64{}
	next := m.NewTerm()
	go func() {
		for {
			select {
			case <-next:
				elections.Add(1)
				next = m.NewTerm()
			case <-ctx.Done():
				return
			}
		}
	}()
	return elections.Load
}

// hasEtcdsLeader waits until etcd's leader is on n.
func (n *node) hasEtcdsLeader() {
	n.cluster.t.Helper()
	eventually(n.cluster.t, func() error {
		if at := n.running().member.RaftLeader(); at != n.cfg.name {
			return fmt.Errorf("etcd's leader is on %q", at)
		}
		return nil
	})
}

func TestASetBeginsWithALeaderForEachElection(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	writer, worker := c.leaderOf(store.Writes), c.leaderOf("jobs")
	if writer == worker {
		t.Errorf("%s leads both", writer.cfg.name)
	}
	var listed struct{ Jobs []jobs.Status }
	decodeInto(t, writer.must(http.StatusOK, "GET", "/v1/jobs", "").body, &listed)
	var order []string
	for _, s := range listed.Jobs {
		order = append(order, s.Election+"/"+s.Name)
	}
	want := []string{"writes/heartbeat", "writes/expire", "writes/journal-prune", "writes/members", "jobs/compact", "jobs/journal-prune-jobs"}
	if !slices.Equal(order, want) {
		t.Errorf("the jobs are %v, want %v", order, want)
	}
	for _, n := range c.nodes {
		n.runs("compact", "jobs", 1)
		n.runs("members", store.Writes, 1)
	}
	c.nodes[0].goesOn("members", store.Writes, 1)
	c.nodes[0].goesOn("journal-prune-jobs", "jobs", 1)
	worker.must(http.StatusOK, "GET", "/leaderz?election=jobs", "")
	writer.must(http.StatusServiceUnavailable, "GET", "/leaderz?election=jobs", "")
}

// rounds has round try until it has shown what it is to: it returns false where a machine that is too busy has kept it from that, as
// where etcd has elected a leader by itself. Then the records say nothing.
func (c *cluster) rounds(round func(i int) (shown bool)) {
	c.t.Helper()
	const most = 5
	for i := range most {
		if round(i) {
			return
		}
		c.t.Logf("round %d has shown nothing", i)
	}
	c.t.Errorf("none of %d rounds has shown anything", most)
}

// apart returns the leader of the writes, which etcd's leader is on, and that of the jobs, which is another.
func (c *cluster) apart() (writer, worker *node) {
	c.t.Helper()
	writer = c.leaderOf(store.Writes)
	writer.hasEtcdsLeader()
	if c.leaderOf("jobs") == writer {
		c.but(writer)[0].lead("jobs")
	}
	return writer, c.leaderOf("jobs")
}

func TestTheJobsLeadersCrashCostsTheWritesNothing(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	c.rounds(func(i int) bool {
		writer, worker := c.apart()
		elections := writer.etcdElections()
		before, jobsBefore := writer.record(store.Writes), writer.record("jobs")
		l := startLoad(fmt.Sprintf("jobs-crash-%d", i), c.but(worker)...)
		l.waitMore(t, 50)
		worker.crash()
		now := c.but(worker)[0]
		eventually(t, func() error {
			if r := now.record("jobs"); r.Epoch <= jobsBefore.Epoch || r.Resigned {
				return fmt.Errorf("the jobs' record is %+v", r)
			}
			return nil
		})
		now.goesOn("journal-prune-jobs", "jobs", jobsBefore.Epoch+1)
		l.waitMore(t, 50)
		l.stop(t, now)
		after, shown := now.record(store.Writes), elections() == 0
		if shown && after != before {
			t.Errorf("the writes' record has become %+v, was %+v", after, before)
		}
		worker.shutdown()
		worker.start()
		c.waitReady()
		c.leaderOf("jobs")
		return shown
	})
}

func TestTheWritersCrashLeavesTheJobsWhereTheyAre(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	c.rounds(func(i int) bool {
		writer, worker := c.apart()
		elections := worker.etcdElections()
		before, jobsBefore := writer.record(store.Writes), writer.record("jobs")
		l := startLoad(fmt.Sprintf("writes-crash-%d", i), c.but(writer)...)
		l.waitMore(t, 50)
		writer.crash()
		l.waitMore(t, 50)
		l.stop(t, worker)
		after, jobsAfter := worker.record(store.Writes), worker.record("jobs")
		shown := elections() == 1
		if shown && after.Epoch != before.Epoch+1 {
			t.Errorf("the writes' record has become %+v, was %+v", after, before)
		}
		if shown && jobsAfter != jobsBefore {
			t.Errorf("the jobs' record has become %+v, was %+v", jobsAfter, jobsBefore)
		}
		worker.goesOn("journal-prune-jobs", "jobs", jobsBefore.Epoch)
		writer.shutdown()
		writer.start()
		c.waitReady()
		return shown
	})
}

func TestACrashOfWhoLeadsBoth(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	both := c.leaderOf(store.Writes)
	both.lead("jobs")
	jobsBefore := both.record("jobs")
	survivors := c.but(both)
	l := startLoad("both-crash", survivors...)
	l.waitMore(t, 50)
	both.crash()
	l.waitMore(t, 50)
	survivors[0].goesOn("journal-prune-jobs", "jobs", jobsBefore.Epoch+1)
	survivors[0].runs("compact", "jobs", jobsBefore.Epoch+1)
	l.stop(t, survivors[0])
}

func TestATransferOfEachElection(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	l := startLoad("two-transfers", c.nodes...)
	for _, name := range []string{"jobs", store.Writes} {
		for _, next := range c.nodes {
			l.waitMore(t, 30)
			c.rounds(func(int) bool { return c.leaderOf(name) == next || c.transferred(name, next) })
		}
	}
	// The best one for the jobs is one that leads nothing else.
	c.rounds(func(int) bool {
		writer := c.leaderOf(store.Writes)
		writer.lead("jobs")
		writer.must(http.StatusOK, "POST", "/v1/leader/transfer?election=jobs", "")
		return c.leaderOf("jobs") != c.leaderOf(store.Writes)
	})
	l.waitMore(t, 30)
	l.stop(t, c.nodes[0])
}

// transferred has an election's leader give it up to next, through another replica, and tells whether next leads then and the other
// election is as it was: another pod may have been faster than one that hears of its name late, and where etcd has elected a leader
// of its own accord the writes have followed it.
func (c *cluster) transferred(name string, next *node) bool {
	c.t.Helper()
	other := map[string]string{"jobs": store.Writes, store.Writes: "jobs"}[name]
	old, kept, before := c.leaderOf(name), next.record(other), next.record(name)
	a := c.but(old)[0].must(http.StatusOK, "POST", "/v1/leader/transfer?election="+name, fmt.Sprintf(`{"to": %q}`, next.cfg.name))
	var b struct {
		From, To string
		Epoch    uint64
	}
	decodeInto(c.t, a.body, &b)
	return b.From == old.cfg.name && b.To == next.cfg.name && b.Epoch == before.Epoch+1 && c.leaderOf(name) == next && next.record(other) == kept
}

func TestATransferOfTheJobsLeavesEtcdsLeaderWhereItIs(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	c.rounds(func(int) bool {
		writer, worker := c.apart()
		c.but(writer, worker)[0].lead("jobs")
		return writer.running().member.RaftLeader() == writer.cfg.name
	})
}

func TestAHandoverGivesBothUp(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	c.rounds(func(i int) bool {
		both := c.leaderOf(store.Writes)
		both.lead("jobs")
		before, jobsBefore := both.record(store.Writes), both.record("jobs")
		survivors := c.but(both)
		writer, worker := survivors[0].successor(store.Writes), survivors[0].successor("jobs")
		l := startLoad(fmt.Sprintf("both-handover-%d", i), survivors...)
		l.waitMore(t, 50)
		both.shutdown()
		l.waitMore(t, 50)
		for name, was := range map[string]store.Leader{store.Writes: before, "jobs": jobsBefore} {
			now := c.leaderOf(name)
			began := now.running().held(name).election.Leadership().Began
			if began.Reason != election.Graceful || began.Epoch != was.Epoch+1 || began.From != both.cfg.name {
				t.Errorf("%s began with %+v", name, began)
			}
		}
		eventually(t, func() error {
			h := survivors[0].history()
			if h[0].Reason != election.Graceful || h[0].GapMS == nil {
				return fmt.Errorf("the history begins with %+v", h[0])
			}
			t.Logf("the writes waited for %d ms", *h[0].GapMS)
			return nil
		})
		l.stop(t, survivors[0])
		both.start()
		c.waitReady()
		writes, jobs := writer(), worker()
		if writes != "" && writes == jobs {
			t.Errorf("%s was to lead both", writes)
		}
		return writes != "" && jobs != ""
	})
}

// successor returns whom the leader of an election will have named when it resigns; "" if that was not seen, for another led at once.
func (n *node) successor(name string) func() string {
	ctx, st, before := n.cluster.t.Context(), n.running().held(name).store, n.record(name)
	named := make(chan string, 1)
	go func() {
		for {
			l, changed := st.Leader()
			if l.Revision > before.Revision {
				named <- l.Successor
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() string { return <-named }
}

// A leader of the jobs that has been replaced behind its back writes nothing more, and what it writes is nothing to the writes.
func TestAReplacedJobsLeaderIsFenced(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startTwoElections(t)
	worker := c.leaderOf("jobs")
	rival := c.but(worker)[0]
	before := rival.record(store.Writes)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	term, ok := worker.running().held("jobs").election.Leadership().Term.(*store.Term)
	if !ok {
		t.Fatal("the term is not the store's")
	}
	write := func(value string) error {
		w := &store.Write{ID: store.NewID()}
		w.PutState("marked", []byte(value))
		_, err := term.Write(ctx, w)
		return err
	}
	if err := write("in its term"); err != nil {
		t.Fatal(err)
	}
	seen := rival.record("jobs")
	claimant := store.Claimant{Pod: rival.cfg.name, BootID: "a rival's", ID: "a rival's claim"}
	if _, err := rival.running().held("jobs").store.Claim(ctx, seen, claimant); err != nil {
		t.Fatal(err)
	}
	if err := write("after its term"); err == nil {
		t.Error("the replaced leader wrote")
	}
	if got, err := rival.running().held("jobs").store.GetState(ctx, "marked"); err != nil || string(got) != "in its term" {
		t.Errorf("there is %q, %v", got, err)
	}
	data := &store.Write{ID: store.NewID()}
	data.Put(store.Entry{Key: "k", Value: []byte("v")})
	if _, err := term.Write(ctx, data); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("data under a term of the jobs: %v", err)
	}
	// The rival has no elector behind it, so the others find a leader again.
	eventually(t, func() error {
		if now := rival.record("jobs"); now.Epoch <= seen.Epoch+1 || now.Resigned {
			return fmt.Errorf("the newest claim is that of %s under epoch %d", now.Pod, now.Epoch)
		}
		return nil
	})
	if after := rival.record(store.Writes); after != before {
		t.Errorf("the writes' record has become %+v, was %+v", after, before)
	}
}

// Replicas that hold one election more than the others, or no longer, keep that from nobody.
func TestFromOneElectionToTwoAndBack(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	for _, elections := range []string{"writes,jobs", "writes"} {
		for i, n := range c.nodes {
			others := c.but(n)
			l := startLoad(fmt.Sprintf("rolling-%s-%d", elections, i), others...)
			n.shutdown()
			n.cfg.elections = elections
			n.start()
			c.waitReady()
			l.waitMore(t, 20)
			l.stop(t, n)
			switch {
			case i == 1 && elections == "writes":
				c.nodes[2].leadsAmong(c.nodes[0])
			case i == 1:
				c.nodes[0].leadsAmong(c.nodes[2])
			}
		}
		switch elections {
		case "writes":
			c.nodes[0].goesOn("compact", store.Writes, c.nodes[0].record(store.Writes).Epoch)
		default:
			c.nodes[0].goesOn("compact", "jobs", c.nodes[0].record("jobs").Epoch)
		}
	}
}

// leadsAmong expects the jobs to have a leader that goes on leading, where n holds their election and another replica does not.
func (n *node) leadsAmong(without *node) {
	t := n.cluster.t
	t.Helper()
	eventually(t, func() error {
		if n.record("jobs").Current() == "" {
			return errors.New("nobody leads the jobs")
		}
		return nil
	})
	n.goesOn("journal-prune-jobs", "jobs", 1)
	n.runs("compact", "jobs", 1)
	// Whoever asks the other one hears nothing of the election.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := n.running().probe("jobs")(ctx, without.cfg.name)
	if want := (election.Vitals{BootID: without.running().bootID}); err != nil || v != want {
		t.Errorf("it says %+v, %v, want %+v", v, err, want)
	}
	first, quiet := n.record("jobs"), time.Now().Add(2*time.Second)
	eventually(t, func() error {
		if now := n.record("jobs"); now != first {
			t.Errorf("the record has become %+v, was %+v", now, first)
		}
		if time.Now().Before(quiet) {
			return errors.New("not long enough")
		}
		return nil
	})
}
