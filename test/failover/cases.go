package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

const (
	hindered      = 6 * time.Second // how long a leader is frozen or cut off
	outage        = 30 * time.Second
	killedAfter   = 3 * time.Second  // into an outage
	outageAtMost  = 20 * time.Second // with a leader that was killed in it
	transferLimit = 30 * time.Second

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
	check func(*trial, view)
	// impossible says why the case cannot be run; "" if it can.
	impossible func(config, site) string
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

func always(config, site) string { return "" }

func needsFreezing(config, site) string {
	if !canFreeze {
		return "a process can be frozen on Linux only"
	}
	return ""
}

func needsNetworks(_ config, s site) string {
	if s.prefix == "" {
		return "the replicas have no networks of their own"
	}
	return ""
}

func needsOutages(cfg config, _ site) string {
	if cfg.real && cfg.hook == "" {
		return "a real API server is stopped by a -hook, which is not given"
	}
	return ""
}

func runSigterm(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.leader.do(terminate); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}

// restart starts the old leader again, which is ending or has ended.
func (t *trial) restart(ctx context.Context) error {
	if err := t.leader.awaitEnd(ctx); err != nil {
		t.wrong("%v", err)
		t.leader.destroy()
	}
	return t.leader.start()
}

func runTransfer(ctx context.Context, t *trial) error {
	body := map[string]string{}
	if t.rng.IntN(2) == 0 {
		body["to"] = t.others[t.rng.IntN(len(t.others))].name
		t.round.how = "named"
	}
	through := t.cluster.replicas[t.rng.IntN(replicaCount)]
	t.strike()
	a, err := t.transfer(ctx, through, body)
	switch {
	case err != nil:
		t.wrong("the transfer through %s: %v", through.name, err)
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		return errNotAvailable
	case a.status != http.StatusOK && a.status != http.StatusAccepted:
		t.wrong("the transfer through %s was answered with %s", through.name, a)
		t.heal() // nothing has happened
	}
	t.finish(ctx)
	return nil
}

func (t *trial) transfer(ctx context.Context, through *replica, body map[string]string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, through.url+"/v1/leader/transfer", strings.NewReader(string(text)))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	t.round.to = body["to"]
	return send(t.load.client, req)
}

func (t *trial) transferred(now view) {
	t.replaced(now)
	if t.round.to != "" && now.Leader != t.round.to {
		t.wrong("%s leads, not %s", now.Leader, t.round.to)
	}
}

func runKill(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.leader.do(kill); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}

func runFreeze(ctx context.Context, t *trial) error {
	t.strike()
	return t.hinder(ctx, func(context.Context) error { return t.leader.do(freeze) }, func(context.Context) error { return t.leader.do(thaw) })
}

func runCut(ctx context.Context, t *trial) error {
	t.strike()
	link := func(state string) func(context.Context) error {
		return func(ctx context.Context) error { return t.cluster.site.setLink(ctx, t.leader.ordinal, state) }
	}
	return t.hinder(ctx, link("down"), link("up"))
}

// hinder does something to the leader and undoes it after a while, also when ctx ends meanwhile.
func (t *trial) hinder(ctx context.Context, do, undo func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return err
	}
	pause(ctx, hindered)
	if err := undo(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	t.heal()
	t.finish(ctx)
	return nil
}

func (t *trial) deposed(now view) {
	t.replaced(now)
	t.spared(now)
}

func runOutage(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.away(ctx); err != nil {
		return err
	}
	pause(ctx, outage)
	if err := t.api.back(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	pause(ctx, hindered) // its return may cost as much as its absence
	t.heal()
	t.finish(ctx)
	return nil
}

func (t *trial) away(ctx context.Context) (err error) {
	t.round.how, err = t.api.away(ctx, t.rng.IntN(3))
	return err
}

func (t *trial) undisturbed(now view) {
	if now.Epoch != t.before.Epoch {
		t.wrong("leadership changed, to %s under epoch %d", now.Leader, now.Epoch)
	}
}

func runOutageKill(ctx context.Context, t *trial) error {
	t.strike()
	if err := t.away(ctx); err != nil {
		return err
	}
	pause(ctx, killedAfter)
	if err := t.leader.do(kill); err != nil {
		return err
	}
	t.awaitResumed(ctx, outageAtMost)
	if err := t.api.back(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	t.finish(ctx)
	return t.restart(ctx)
}
