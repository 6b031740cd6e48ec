package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/store"
)

type heartbeat struct {
	Leader string    `json:"leader"`
	Epoch  uint64    `json:"epoch"`
	Count  int64     `json:"count"`
	At     time.Time `json:"at"`
}

func (r *replica) heartbeat() (b heartbeat) {
	r.t.Helper()
	e, _, err := r.store.Get(testContext(r.t), HeartbeatKey, store.ReadOptions{Linearizable: true})
	if errors.Is(err, store.ErrNotFound) {
		return heartbeat{}
	}
	if err == nil {
		err = json.Unmarshal(e.Value, &b)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func TestTheHeartbeatNeverGoesBack(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	beats := func(st *store.Store) []Job {
		j := Heartbeat(st.GetState)
		j.Interval = time.Millisecond
		return []Job{j}
	}
	replicas := []*replica{start(t, etcd, "leasehold-0", beats), start(t, etcd, "leasehold-1", beats)}
	var last heartbeat
	for i := range 6 {
		r := replicas[i%2]
		r.lead() // the other one's flag stays on: it has not heard of it yet
		eventually(t, func() error {
			b := r.heartbeat()
			if b.Count < last.Count || b.Epoch < last.Epoch {
				t.Fatalf("after %+v came %+v", last, b)
			}
			if last = b; b.Leader != r.pod || b.Epoch != uint64(i)+1 {
				return fmt.Errorf("the heartbeat is %+v", b)
			}
			return nil
		})
		replicas[(i+1)%2].stop()
	}
	if s := replicas[0].status("heartbeat"); !strings.HasPrefix(s.Result, "count ") {
		t.Errorf("it says %q", s.Result)
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	r := start(t, etcdtest.Start(t), "leasehold-0", these(Expire()))
	l := r.lead()
	expires := time.Now().Add(300 * time.Millisecond).Truncate(time.Millisecond)
	w := &store.Write{ID: store.NewID()}
	w.Put(store.Entry{Key: "brief", Expires: expires})
	w.Put(store.Entry{Key: "long", Expires: expires.Add(time.Hour)})
	w.Put(store.Entry{Key: "for ever"})
	if _, err := l.leader.Term.Write(testContext(t), w); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, _, err := r.store.Get(testContext(t), "brief", store.ReadOptions{})
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return fmt.Errorf("it is still there: %w", err)
	})
	if now := time.Now(); now.Before(expires) || now.After(expires.Add(3*time.Second)) {
		t.Errorf("it was gone %s after it was due", now.Sub(expires))
	}
	for _, key := range []string{"long", "for ever"} {
		if _, _, err := r.store.Get(testContext(t), key, store.ReadOptions{}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	r.shows("expire", func(s Status) bool { return s.Result == "1 deleted" || s.Runs > 1 })
}

func TestJournalPrune(t *testing.T) {
	t.Parallel()
	r := start(t, etcdtest.Start(t), "leasehold-0", these(JournalPrune(store.Writes)))
	r.lead()
	if s := r.shows("journal-prune", ran(1)); s.Result != "0 records pruned" || s.Error != "" {
		t.Errorf("the run is %+v", s)
	}
}

func TestMembersPromotesFirst(t *testing.T) {
	t.Parallel()
	var did []string
	step := func(name string, err error) func(context.Context) error {
		return func(context.Context) error {
			did = append(did, name)
			return err
		}
	}
	broken := errors.New("broken")
	for _, c := range []struct{ promote, remove, want error }{{nil, nil, nil}, {broken, nil, broken}, {nil, broken, broken}} {
		_, err := Members(step("promote", c.promote), step("remove", c.remove)).Run(testContext(t), Leader{})
		if !errors.Is(err, c.want) {
			t.Errorf("%v; want %v", err, c.want)
		}
	}
	if got := strings.Join(did, " "); got != "promote remove promote promote remove" {
		t.Errorf("it did %s", got)
	}
}

// history is a store that grows by one revision a look, and a clock that is set by hand.
type history struct {
	revision  int64
	compacted []int64
	err       error
	halfFull  bool
}

func (h *history) compactor(retention time.Duration) *compactor {
	return &compactor{cfg: CompactConfig{
		Retention: retention, HalfFull: func() bool { return h.halfFull },
		Revision: func(context.Context) (int64, error) { h.revision++; return h.revision, h.err },
		Compact:  func(_ context.Context, rev int64) error { h.compacted = append(h.compacted, rev); return nil },
	}}
}

func TestCompactKeepsTheRetention(t *testing.T) {
	t.Parallel()
	c := (&history{}).compactor(time.Minute)
	start := time.Now()
	for i := range 20 {
		c.notes = append(c.notes, note{start.Add(time.Duration(i) * 10 * time.Second), int64(100 + i)})
	}
	for _, step := range []struct {
		after time.Duration
		want  int64
	}{{0, 0}, {59 * time.Second, 0}, {60 * time.Second, 100}, {61 * time.Second, 0}, {95 * time.Second, 103}, {time.Hour, 119}, {2 * time.Hour, 0}} {
		if got := c.target(start.Add(step.after)); got != step.want {
			t.Errorf("after %s it compacts to %d, not %d", step.after, got, step.want)
		}
	}
}

func TestCompactKeepsLessWhenSpaceIsShort(t *testing.T) {
	t.Parallel()
	h := &history{halfFull: true}
	c := h.compactor(time.Hour)
	now := time.Now()
	c.notes = []note{{now.Add(-20 * time.Second), 5}, {now.Add(-crampedRetention), 6}, {now.Add(-time.Second), 7}}
	if got := c.target(now); got != 6 {
		t.Errorf("it compacts to %d", got)
	}
	short := h.compactor(time.Second)
	short.notes = []note{{now.Add(-2 * time.Second), 5}}
	if got := short.target(now); got != 5 {
		t.Errorf("a retention that is shorter anyway becomes longer: %d", got)
	}
}

func TestCompactForgetsItsNotesBetweenTerms(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t)
	a := start(t, etcd, "leasehold-0", these())
	b := start(t, etcd, "leasehold-1", these())
	h := &history{}
	c := h.compactor(0)
	for _, r := range []*replica{a, b, a} {
		l := r.lead()
		c.notes = append(c.notes, note{time.Now().Add(-time.Hour), 1 << 40}) // of the term before
		got, err := c.run(testContext(t), l.leader)
		if err != nil || got != fmt.Sprintf("history before %d dropped", h.revision) {
			t.Errorf("%s, %v", got, err)
		}
	}
	if got := fmt.Sprint(h.compacted); got != "[1 2 3]" {
		t.Errorf("compacted to %s", got)
	}
	h.err = errors.New("no answer")
	if _, err := c.run(testContext(t), a.leads.Load().leader); !errors.Is(err, h.err) {
		t.Errorf("%v", err)
	}
}

func TestCompactOverTheStore(t *testing.T) {
	t.Parallel()
	r := start(t, etcdtest.Start(t), "leasehold-0", func(st *store.Store) []Job {
		return []Job{Compact(CompactConfig{Retention: 0, Revision: st.Revision, Compact: st.Compact, HalfFull: func() bool { return false }})}
	})
	r.lead()
	s := r.shows("compact", ran(1))
	if s.Error != "" || !strings.HasPrefix(s.Result, "history before ") {
		t.Errorf("the run is %+v", s)
	}
	r.settles("compact")
	if _, err := r.RunNow(testContext(t), "compact"); err != nil {
		t.Error(err)
	}
	if _, _, err := r.store.Get(testContext(t), "a", store.ReadOptions{Revision: 1}); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("old history: %v", err)
	}
}
