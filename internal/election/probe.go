package election

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// Vitals is what a replica answers when it is asked whether it leads.
type Vitals struct {
	BootID string
	// Epoch is that under which it leads; 0 if it does not.
	Epoch uint64
	// Claiming says that it has won the lock and is about to lead.
	Claiming bool
	// Parting is why it is giving leadership up, Graceful or Transfer, while the record does not say so yet.
	Parting string
	// Undecided is how long its batch under way has waited for an answer of the store.
	Undecided time.Duration
}

const (
	// probeInterval is how often a leader that answers is asked.
	probeInterval = 300 * time.Millisecond
	// probeEvery is how often one that does not is asked anew, each time on a connection of its own: where packets are lost,
	// TCP makes up for the loss of a connection's first one only after a second.
	probeEvery = 50 * time.Millisecond
	// probePatience is how long it may be silent, and answeredPatience how long if it has answered since the store's
	// leadership moved: then it did not move because the leader is gone.
	probePatience    = 450 * time.Millisecond
	answeredPatience = 1500 * time.Millisecond
	// maxUndecided is how long a leader's batch may wait for the store before another replica takes over. A disk that
	// stalls keeps its process from neither answering nor renewing.
	maxUndecided = 2 * time.Second
)

// probe asks whether p leads, or is about to, and returns "" if it does. An answer in the affirmative counts at once, and so
// does one of another process in its place; the others have to be given twice, one after the other.
func (e *Election) probe(ctx context.Context, p process, record Record, patience time.Duration) (evidence string) {
	if p.pod == e.cfg.Pod {
		return Crash // this is the process in its place
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := make(chan finding)
	again := time.NewTicker(probeEvery)
	defer again.Stop()
	asked, against := 1, 0 // against counts the probes that had been started when one spoke against p
	go e.ask(asking, asked, p, record, found)
	for {
		select {
		case f := <-found:
			switch {
			case f.sure:
				return f.evidence
			case f.evidence == Frozen: // the next one may get through
			case against == 0:
				against, evidence = asked, f.evidence
			case f.probe > against:
				return f.evidence
			}
		case <-again.C:
			asked++
			go e.ask(asking, asked, p, record, found)
		case <-asking.Done():
			switch {
			case ctx.Err() != nil:
				return ""
			case evidence != "":
				return evidence
			}
			return Frozen
		}
	}
}

// finding is what one probe came to: who answers is sure to be there, and so is who has been replaced to be gone.
type finding struct {
	probe    int
	evidence string
	sure     bool
}

// ask makes one probe. Its finding is lost if nobody waits for it any more.
func (e *Election) ask(ctx context.Context, probe int, p process, record Record, found chan<- finding) {
	vitals, err := e.cfg.Probe(ctx, p.pod)
	f := judge(vitals, err, p, record)
	f.probe = probe
	select {
	case found <- f:
	case <-ctx.Done():
	}
}

func judge(v Vitals, err error, p process, record Record) finding {
	leads := v.Epoch > 0 && v.Epoch >= record.Epoch
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return finding{evidence: Crash}
	case err != nil:
		return finding{evidence: Frozen}
	case v.BootID != p.boot:
		return finding{evidence: Crash, sure: true}
	case leads && v.Undecided <= maxUndecided, v.Claiming:
		return finding{sure: true}
	case v.Parting == Graceful || v.Parting == Transfer:
		return finding{evidence: v.Parting}
	}
	return finding{evidence: Fenced}
}
