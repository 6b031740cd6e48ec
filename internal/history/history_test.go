package history

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/leasehold/leasehold/internal/etcdtest"
	"github.com/leasehold/leasehold/internal/store"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// kept is a store with one term after another.
type kept struct {
	t     *testing.T
	store *store.Store
}

func newKept(t *testing.T) *kept {
	t.Helper()
	server := etcdtest.Start(t).Server
	client := v3client.New(server)
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	st, err := store.Open(ctx, store.Config{KV: client, Watcher: client, ClusterID: 1, Log: zaptest.NewLogger(t), Full: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return &kept{t, st}
}

func (k *kept) lead(epoch uint64) *Term {
	k.t.Helper()
	seen, err := k.store.ReadLeader(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	term, err := k.store.Claim(k.t.Context(), seen, store.Claimant{Pod: "leasehold-0", BootID: "b", ID: time.Now().String()})
	if err != nil || term.Epoch() != epoch {
		k.t.Fatalf("%+v, %v", term, err)
	}
	return &Term{Context: k.t.Context(), Entry: Entry{To: "leasehold-0", Epoch: epoch, At: term.Since(), Reason: "first"}, Write: term.Write}
}

func (k *kept) recorder() *Recorder {
	return New(Config{State: k.store.GetState, Log: zaptest.NewLogger(k.t)})
}

func (k *kept) read() []Entry {
	k.t.Helper()
	entries, err := Read(k.t.Context(), k.store.GetState)
	if err != nil {
		k.t.Fatal(err)
	}
	return entries
}

// Nothing is dropped but what is too old, in a store that is full as well.
func TestTheLastChangesAreKept(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	if got := k.read(); got == nil || len(got) != 0 {
		t.Errorf("before anybody has led: %#v", got)
	}
	r := k.recorder()
	for epoch := uint64(1); epoch <= Kept+3; epoch++ {
		r.record(t.Context(), k.lead(epoch))
	}
	got := k.read()
	if len(got) != Kept {
		t.Fatalf("%d entries", len(got))
	}
	for i, e := range got {
		if e.Epoch != uint64(Kept+3-i) || e.To != "leasehold-0" || e.At.IsZero() {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
}

func TestAnEpochHasOneEntry(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	term := k.lead(1)
	write, attempts := term.Write, 0
	term.Write = func(ctx context.Context, w *store.Write) (store.Outcome, error) {
		attempts++
		o, err := write(ctx, w)
		if attempts == 1 && err == nil {
			return o, store.ErrUnknown // applied, and the answer is lost
		}
		return o, err
	}
	r := k.recorder()
	r.record(t.Context(), term)
	r.record(t.Context(), term)
	if got := k.read(); len(got) != 1 || attempts != 1 {
		t.Errorf("after %d attempts: %+v", attempts, got)
	}
}

// An entry that comes late is not written under a newer epoch.
func TestATermThatIsOverWritesNothing(t *testing.T) {
	t.Parallel()
	k := newKept(t)
	old := k.lead(1)
	k.recorder().record(t.Context(), k.lead(2))
	if err := k.recorder().add(t.Context(), old); err != nil {
		t.Error(err) // there is a newer one: nothing to do
	}
	if _, err := old.Write(t.Context(), &store.Write{ID: store.NewID()}); !errors.Is(err, store.ErrNotLeading) {
		t.Errorf("the old term writes: %v", err)
	}
	if got := k.read(); len(got) != 1 || got[0].Epoch != 2 {
		t.Errorf("%+v", got)
	}
}

func TestARecorderTriesUntilTheTermEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		attempts, written := map[uint64]int{}, map[uint64]int{}
		leading := make(chan *Term, 1)
		newTerm := func(epoch uint64, failures int) (*Term, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			return &Term{Context: ctx, Entry: Entry{Epoch: epoch}, Write: func(context.Context, *store.Write) (store.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				if attempts[epoch]++; attempts[epoch] <= failures {
					return store.Outcome{}, store.ErrBusy
				}
				written[epoch]++
				return store.Outcome{Applied: true}, nil
			}}, cancel
		}
		changed := make(chan struct{}, 1)
		r := New(Config{
			Term: func() (*Term, <-chan struct{}) {
				select {
				case t := <-leading:
					return t, changed
				default:
					return nil, changed
				}
			},
			State: func(context.Context, string) ([]byte, error) { return nil, nil },
			Log:   zaptest.NewLogger(t),
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		begin := func(term *Term) { leading <- term; changed <- struct{}{} }

		first, endFirst := newTerm(1, 3)
		defer endFirst()
		begin(first)
		time.Sleep(10 * retry)
		second, endSecond := newTerm(2, 1000)
		begin(second)
		time.Sleep(5*retry + retry/2)
		endSecond()
		time.Sleep(10 * retry)
		stop()
		<-done
		if attempts[1] != 4 || written[1] != 1 || attempts[2] != 6 || written[2] != 0 {
			t.Errorf("attempts %v, written %v", attempts, written)
		}
	})
}
