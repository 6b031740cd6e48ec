package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// HeartbeatKey is where the heartbeat job writes who leads, for everybody to read.
const HeartbeatKey = "leasehold/heartbeat"

// Election is the one whose leader does the work that need not be done by the leader that writes the data. Where it is not held,
// the latter does that too.
const Election = "jobs"

// Expire deletes the entries whose time to live is over.
func Expire() Job {
	return Job{Name: "expire", Interval: time.Second, Run: func(ctx context.Context, l Leader) (string, error) {
		n, err := l.Term.Expire(ctx, time.Now())
		return fmt.Sprintf("%d deleted", n), err
	}}
}

// JournalPrune drops the outcomes of writes that nobody can ask for any more, from the journal of an election: what its terms
// write, if only the state of jobs, leaves records there. That of store.Writes has the plain name.
func JournalPrune(election string) Job {
	name := "journal-prune"
	if election != store.Writes {
		name += "-" + election
	}
	return Job{Name: name, Interval: 5 * time.Second, Election: election, Run: func(ctx context.Context, l Leader) (string, error) {
		n, err := l.Term.PruneJournal(ctx)
		return fmt.Sprintf("%d records pruned", n), err
	}}
}

// Heartbeat writes who leads, under which epoch, and a count that never goes back: proof that one leader
// works.
func Heartbeat(state func(ctx context.Context, name string) ([]byte, error)) Job {
	type beat struct {
		Leader string    `json:"leader"`
		Epoch  uint64    `json:"epoch"`
		Count  int64     `json:"count"`
		At     time.Time `json:"at"`
	}
	return Job{Name: "heartbeat", Interval: 2 * time.Second, Run: func(ctx context.Context, l Leader) (string, error) {
		var b beat
		last, err := state(ctx, "heartbeat")
		if err != nil {
			return "", err
		}
		if last != nil {
			if err := json.Unmarshal(last, &b); err != nil {
				return "", fmt.Errorf("malformed heartbeat: %w", err)
			}
		}
		b = beat{Leader: l.Pod, Epoch: l.Term.Epoch(), Count: b.Count + 1, At: time.Now().UTC()}
		value, err := json.Marshal(b)
		if err != nil {
			return "", err
		}
		w := &store.Write{ID: store.NewID()}
		w.PutState("heartbeat", value)
		w.Put(store.Entry{Key: HeartbeatKey, Value: value, ContentType: "application/json"})
		_, err = l.Term.Write(ctx, w)
		return fmt.Sprintf("count %d", b.Count), err
	}}
}

// Members promotes learners that have caught up and removes members whose pods are gone for good. The leader of store.Writes runs it:
// no leader removes its own member, so that of the writes stays until it has handed over.
func Members(promote, removeGone func(context.Context) error) Job {
	return Job{Name: "members", Interval: 2 * time.Second, Run: func(ctx context.Context, _ Leader) (string, error) {
		if err := promote(ctx); err != nil {
			return "", fmt.Errorf("promote: %w", err)
		}
		if err := removeGone(ctx); err != nil {
			return "", fmt.Errorf("remove: %w", err)
		}
		return "ok", nil
	}}
}
