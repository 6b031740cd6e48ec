package election

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// reply is what becomes of one probe.
type reply struct {
	after  time.Duration
	vitals Vitals
	err    error
}

func TestWhatProbesComeTo(t *testing.T) {
	t.Parallel()
	const each = probeEvery
	yes, no := reply{vitals: Vitals{BootID: "b", Epoch: 3}}, reply{vitals: Vitals{BootID: "b"}}
	silent := reply{after: time.Hour}
	refused, unreachable := reply{err: syscall.ECONNREFUSED}, reply{err: syscall.EHOSTUNREACH}
	for name, c := range map[string]struct {
		replies []reply // the last one again and again
		want    string
		after   time.Duration
	}{
		"it leads":                            {[]reply{yes}, "", 0},
		"it leads under a newer epoch":        {[]reply{{vitals: Vitals{BootID: "b", Epoch: 4}}}, "", 0},
		"it is about to lead":                 {[]reply{{vitals: Vitals{BootID: "b", Claiming: true}}}, "", 0},
		"it led under an older epoch":         {[]reply{{vitals: Vitals{BootID: "b", Epoch: 2}}}, Fenced, each},
		"its batch waits for too long":        {[]reply{{vitals: Vitals{BootID: "b", Epoch: 3, Undecided: maxUndecided + 1}}}, Fenced, each},
		"another process in its place":        {[]reply{{vitals: Vitals{BootID: "c"}}}, Crash, 0},
		"silent":                              {[]reply{silent}, Frozen, probePatience},
		"silent but for the last one":         {[]reply{silent, silent, silent, silent, silent, silent, silent, silent, yes}, "", 8 * each},
		"slow":                                {[]reply{{after: 7 * each, vitals: yes.vitals}}, "", 7 * each},
		"refused":                             {[]reply{refused}, Crash, each},
		"refused once":                        {[]reply{refused, yes}, "", each},
		"out of reach":                        {[]reply{unreachable}, Frozen, probePatience},
		"out of reach for a moment":           {[]reply{unreachable, unreachable, yes}, "", 2 * each},
		"no, and again":                       {[]reply{no, silent, no}, Fenced, 2 * each},
		"no, but then it leads":               {[]reply{no, silent, yes}, "", 2 * each},
		"no, and then silent":                 {[]reply{no, silent}, Fenced, probePatience},
		"no, to those asked before the first": {[]reply{{after: each + each/2, vitals: no.vitals}, {after: each, vitals: no.vitals}, silent, yes}, "", 3 * each},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				e := &Election{cfg: Config{Pod: "pod-0", Probe: func(ctx context.Context, _ string) (Vitals, error) {
					r := c.replies[min(int(asked.Add(1)), len(c.replies))-1]
					waitChanged(ctx, nil, r.after)
					return r.vitals, errors.Join(ctx.Err(), r.err)
				}}}
				began := time.Now()
				got := e.probe(t.Context(), process{"pod-1", "b"}, Record{Pod: "pod-1", BootID: "b", Epoch: 3}, probePatience)
				if took := time.Since(began); got != c.want || took != c.after {
					t.Errorf("%q after %s; want %q after %s", got, took, c.want, c.after)
				}
			})
		})
	}
}

// The bubble fails if a goroutine is left.
func TestAProbeThatIsCalledOffSaysNothingAgainstALeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &Election{cfg: Config{Pod: "pod-0", Probe: func(ctx context.Context, _ string) (Vitals, error) {
			<-ctx.Done()
			return Vitals{}, ctx.Err()
		}}}
		ctx, cancel := context.WithTimeout(t.Context(), probePatience/2)
		defer cancel()
		if evidence := e.probe(ctx, process{"pod-1", "b"}, Record{Pod: "pod-1", BootID: "b", Epoch: 3}, probePatience); evidence != "" {
			t.Errorf("%q", evidence)
		}
	})
}

func TestALeaderThatHasAnsweredIsGivenMoreTime(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		time.Sleep(time.Second)
		old.vanish()
		always(c.t, time.Second, old.leads)
		within(c.t, later-time.Second+probeInterval, next.leads)
	})
}

// When it has been elsewhere, that it comes back speaks against the leader anew.
func TestThatALeaderHasAnsweredCountsUntilTheStoresLeadershipMoves(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		time.Sleep(time.Second)
		next.first.Store(false)
		time.Sleep(probeInterval + followTick)
		old.vanish()
		next.first.Store(true)
		within(c.t, soon+followTick, next.leads)
	})
}

func TestWhoLosesTheStoresLeadershipWhileItAsksDoesNotTakeOver(t *testing.T) {
	bubble(t, 3, func(c *cluster) {
		old, next := c.elect()
		time.Sleep(time.Second)
		old.answers.set(hanging)
		time.Sleep(answeredPatience / 2)
		next.first.Store(false)
		always(c.t, time.Minute, old.leads)
	})
}
