package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/store"
)

// fakeStore is a map of entries, a belief about who leads, and a function that decides writes.
type fakeStore struct {
	mu      sync.Mutex
	entries map[string]store.Entry
	leader  store.Leader
	changed chan struct{}
	reads   []store.ReadOptions
	ids     map[store.ID]int // how often a write came

	decide  func(ctx context.Context, w *store.Write) (store.Outcome, error)
	changes chan store.Changes
}

const fakeTag = "fake"

func newFakeStore() *fakeStore {
	return &fakeStore{
		entries: map[string]store.Entry{}, changed: make(chan struct{}), ids: map[store.ID]int{},
		changes: make(chan store.Changes),
	}
}

// believing is a fake that takes pod for the leader under epoch, and leads nothing itself.
func believing(pod string, epoch uint64) *fakeStore {
	f := newFakeStore()
	f.leader = store.Leader{Pod: pod, Epoch: epoch}
	return f
}

// leadingAs is a fake that leads under epoch and applies every write.
func leadingAs(pod string, epoch uint64) *fakeStore {
	f := believing(pod, epoch)
	f.decide = func(context.Context, *store.Write) (store.Outcome, error) {
		return store.Outcome{Applied: true, Revision: 7, Epoch: epoch}, nil
	}
	return f
}

// learn changes the belief.
func (f *fakeStore) learn(pod string, epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = store.Leader{Pod: pod, Epoch: epoch}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeStore) Get(_ context.Context, key string, o store.ReadOptions) (store.Entry, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, o)
	e, ok := f.entries[key]
	if !ok {
		return e, 7, store.ErrNotFound
	}
	return e, 7, nil
}

func (f *fakeStore) List(_ context.Context, _, _ string, _ int, o store.ReadOptions) (store.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, o)
	return store.Page{}, errTest
}

func (f *fakeStore) Watch(_ context.Context, _ string, after int64) (int64, <-chan store.Changes, error) {
	return max(after, 7), f.changes, nil
}

func (f *fakeStore) Write(ctx context.Context, w *store.Write) (store.Outcome, error) {
	f.mu.Lock()
	f.ids[w.ID]++
	decide := f.decide
	f.mu.Unlock()
	if decide == nil {
		return store.Outcome{}, store.ErrNotLeading
	}
	return decide(ctx, w)
}

// written returns how many different writes came, and how many in all.
func (f *fakeStore) written() (different, all int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.ids {
		all += n
	}
	return len(f.ids), all
}

func (f *fakeStore) Leader() (store.Leader, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader, f.changed
}

func (f *fakeStore) Revision(context.Context) (int64, error) { return f.Reached(), nil }

func (f *fakeStore) Reached() int64 { return 7 }

func (f *fakeStore) FormatRevision(rev int64) string { return fmt.Sprintf("%d-%s", rev, fakeTag) }

func (f *fakeStore) ParseRevision(token string) (int64, error) {
	number, tag, _ := strings.Cut(token, "-")
	rev, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil || rev < 1 || tag == "":
		return 0, fmt.Errorf("%w: %q", store.ErrBadRevision, token)
	case tag != fakeTag:
		return 0, fmt.Errorf("%w: %q", store.ErrForeignRevision, token)
	}
	return rev, nil
}

// fakeJobs knows the jobs "sweep", "busy", which is running already, and "broken".
type fakeJobs struct {
	pod     string
	leading func() bool

	mu   sync.Mutex
	runs int64
}

func (f *fakeJobs) ElectionOf(name string) (string, bool) {
	return store.Writes, name == "sweep" || name == "busy" || name == "broken"
}

func (f *fakeJobs) Statuses(context.Context) ([]jobs.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []jobs.Status{{Name: "sweep", Every: "1s", Runs: f.runs}}, nil
}

func (f *fakeJobs) RunNow(_ context.Context, name string) (jobs.Status, error) {
	switch {
	case !f.leading():
		return jobs.Status{}, jobs.ErrNotLeading
	case name == "busy":
		return jobs.Status{}, fmt.Errorf("%w: %s", jobs.ErrRunning, name)
	case name == "broken":
		return jobs.Status{}, errTest
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs++
	return jobs.Status{Name: name, Every: "1s", Pod: f.pod, Runs: f.runs, Result: "swept"}, nil
}
