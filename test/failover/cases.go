package main

import (
	"context"
	"net/http"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	hindered     = 6 * time.Second // how long a leader is frozen or cut off
	outage       = 30 * time.Second
	killedAfter  = 3 * time.Second  // into an outage
	outageAtMost = 20 * time.Second // with a leader that was killed in it

	lossyCase = "lossy"
)

// scenario is a case: what happens to the leader in each round.
type scenario struct {
	name  string
	about string
	bar   bar
	// run strikes, finishes, and mends.
	run func(context.Context, *trial) error
	// check looks at the cluster when it is healthy again; it may be nil.
	check func(*trial, lab.View)
	// impossible says why the case cannot be run; "" if it can.
	impossible func(config, lab.Site) string
}

func scenarios() []scenario {
	handover := bar{100 * time.Millisecond, 250 * time.Millisecond}
	hindrance := bar{1500 * time.Millisecond, 3 * time.Second}
	return []scenario{
		{"sigterm", "SIGTERM to the leader", handover, runSigterm, (*trial).replaced, always},
		{"transfer", "`POST /v1/leader/transfer`, half of them to a named replica", handover, runTransfer, (*trial).transferred, always},
		{"kill", "`kill -9` of the leader", bar{time.Second, 2 * time.Second}, runKill, nil, always},
		{"freeze", "SIGSTOP to the leader, SIGCONT after 6 s", hindrance, runFreeze, (*trial).deposed, needsFreezing},
		{"cut", "the leader's network cut, healed after 6 s", hindrance, runCut, (*trial).deposed, needsNetworks},
		{
			"outage", "the API server away for 30 s; the leader lives",
			bar{0, 250 * time.Millisecond},
			runOutage, (*trial).undisturbed, needsOutages,
		},
		{
			"outage-kill", "the API server away, `kill -9` of the leader 3 s later, and the API server back once there is a new one (20 s at most)",
			bar{0, 3 * time.Second},
			runOutageKill, nil, needsOutages,
		},
	}
}

func caseNames() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func always(config, lab.Site) string { return "" }

func needsFreezing(config, lab.Site) string {
	if !lab.CanFreeze {
		return "a process can be frozen on Linux only"
	}
	return ""
}

func needsNetworks(_ config, s lab.Site) string {
	if !s.OnNetworks() {
		return "the replicas have no networks of their own"
	}
	return ""
}

func needsOutages(cfg config, _ lab.Site) string {
	if cfg.real && cfg.hook == "" {
		return "a real API server is stopped by a -hook, which is not given"
	}
	return ""
}

func runSigterm(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.leader.Do(lab.Terminate); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}

// restart starts the old leader again, which is ending or has ended.
func (t *trial) restart(ctx context.Context) error {
	if err := t.leader.AwaitEnd(ctx); err != nil {
		t.wrong("%v", err)
		t.leader.Destroy()
	}
	return t.leader.Start()
}

func runTransfer(ctx context.Context, t *trial) error {
	if t.rng.IntN(2) == 0 {
		t.round.to = t.others[t.rng.IntN(len(t.others))].Name
		t.round.how = "named"
	}
	through := t.cluster.Replicas[t.rng.IntN(lab.ReplicaCount)]
	t.strike()
	a, err := lab.Transfer(ctx, t.load.client, through, t.round.to)
	switch {
	case err != nil:
		t.wrong("the transfer through %s: %v", through.Name, err)
	case a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed:
		return errNotAvailable
	case a.Status != http.StatusOK && a.Status != http.StatusAccepted:
		t.wrong("the transfer through %s was answered with %s", through.Name, a)
		t.heal() // nothing has happened
	}
	t.finish(ctx)
	return nil
}

func (t *trial) transferred(now lab.View) {
	t.replaced(now)
	if t.round.to != "" && now.Leader != t.round.to {
		t.wrong("%s leads, not %s", now.Leader, t.round.to)
	}
}

func runKill(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.leader.Do(lab.Kill); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}

func runFreeze(ctx context.Context, t *trial) error {
	t.strike()
	return t.hinder(ctx, func(context.Context) error { return t.leader.Do(lab.Freeze) }, func(context.Context) error { return t.leader.Do(lab.Thaw) })
}

func runCut(ctx context.Context, t *trial) error {
	t.strike()
	link := func(state string) func(context.Context) error {
		return func(ctx context.Context) error { return t.site.SetLink(ctx, t.leader.Ordinal, state) }
	}
	return t.hinder(ctx, link("down"), link("up"))
}

// hinder does something to the leader and undoes it after a while, also when ctx ends meanwhile.
func (t *trial) hinder(ctx context.Context, do, undo func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return err
	}
	lab.Pause(ctx, hindered)
	if err := undo(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	t.heal()
	t.finish(ctx)
	return nil
}

func (t *trial) deposed(now lab.View) {
	t.replaced(now)
	t.spared(now)
}

func runOutage(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.away(ctx); err != nil {
		return err
	}
	lab.Pause(ctx, outage)
	if err := t.api.back(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	lab.Pause(ctx, hindered) // its return may cost as much as its absence
	t.heal()
	t.finish(ctx)
	return nil
}

func (t *trial) away(ctx context.Context) (err error) {
	t.round.how, err = t.api.away(ctx, t.rng.IntN(3))
	return err
}

func (t *trial) undisturbed(now lab.View) {
	if now.Epoch != t.before.Epoch {
		t.wrong("leadership changed, to %s under epoch %d", now.Leader, now.Epoch)
	}
}

func runOutageKill(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.away(ctx); err != nil {
		return err
	}
	lab.Pause(ctx, killedAfter)
	if err := t.leader.Do(lab.Kill); err != nil {
		return err
	}
	t.awaitResumed(ctx, outageAtMost)
	if err := t.api.back(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}
