package main

import (
	"context"
	"time"

	"github.com/leasehold/leasehold/internal/api"
	"github.com/leasehold/leasehold/internal/election"
	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/jobs"
	"github.com/leasehold/leasehold/internal/role"
	"github.com/leasehold/leasehold/internal/store"
)

// electionStore is the store as the election sees it.
type electionStore struct {
	*store.Store
	pod, bootID string
}

func recordOf(l store.Leader) election.Record {
	return election.Record{
		Pod: l.Pod, BootID: l.BootID, ClaimID: l.ClaimID, Epoch: l.Epoch, Revision: l.Revision,
		Resigned: l.Resigned, Reason: l.Reason, Successor: l.Successor,
	}
}

func (s electionStore) ReadRecord(ctx context.Context) (election.Record, error) {
	l, err := s.ReadLeader(ctx)
	return recordOf(l), err
}

func (s electionStore) Record() (election.Record, <-chan struct{}) {
	l, changed := s.Leader()
	return recordOf(l), changed
}

func (s electionStore) Claim(ctx context.Context, seen election.Record, claimID string) (election.Term, error) {
	l := store.Leader{
		Pod: seen.Pod, BootID: seen.BootID, ClaimID: seen.ClaimID, Epoch: seen.Epoch, Resigned: seen.Resigned, Revision: seen.Revision,
	}
	term, err := s.Store.Claim(ctx, l, store.Claimant{Pod: s.pod, BootID: s.bootID, ID: claimID})
	if err != nil {
		return nil, err
	}
	return term, nil
}

// leadershipOf gives jobs the term under which they run.
func leadershipOf(e *election.Election, pod string) func() (context.Context, jobs.Leader, bool) {
	return func() (context.Context, jobs.Leader, bool) {
		l := e.Leadership()
		if l == nil {
			return nil, jobs.Leader{}, false
		}
		term, ok := l.Term.(*store.Term)
		return l.Context, jobs.Leader{Pod: pod, Term: term}, ok
	}
}

// changeOf gives the recorder of the history the term under which it writes, and how that came about.
func changeOf(e *election.Election) func() (*history.Term, <-chan struct{}) {
	return func() (*history.Term, <-chan struct{}) {
		l, changed := e.Watch()
		if l == nil {
			return nil, changed
		}
		term, ok := l.Term.(*store.Term)
		if !ok {
			return nil, changed
		}
		b := l.Began
		entry := history.Entry{From: b.From, To: b.To, Epoch: b.Epoch, At: term.Since(), Reason: b.Reason, Why: b.Why}
		if gap, known := term.Gap(); known {
			ms := gap.Milliseconds()
			entry.GapMS = &ms
		}
		return &history.Term{Context: l.Context, Entry: entry, Write: term.Write}, changed
	}
}

// historyOf reads the history of leaders from the local member.
func historyOf(st *store.Store) func(context.Context) ([]history.Entry, error) {
	return func(ctx context.Context) ([]history.Entry, error) { return history.Read(ctx, st.GetState) }
}

// termOf gives the labeler the term under which it labels.
func termOf(e *election.Election) func() (*role.Term, <-chan struct{}) {
	return func() (*role.Term, <-chan struct{}) {
		l, changed := e.Watch()
		if l == nil {
			return nil, changed
		}
		return &role.Term{Context: l.Context, Epoch: l.Term.Epoch()}, changed
	}
}

// vitalsOf is what this replica answers when it is asked whether it leads.
func vitalsOf(e *election.Election, st *store.Store) func() api.Vitals {
	return func() api.Vitals {
		epoch, claiming, parting := e.Vitals()
		return api.Vitals{Epoch: epoch, Claiming: claiming, Parting: parting, UndecidedMillis: st.Undecided().Milliseconds()}
	}
}

// probe asks another replica whether it leads an election. One that does not take part in it says nothing of it: its boot ID tells that
// it is another process than the one that led, and no process changes its elections.
func (r *replica) probe(name string) func(ctx context.Context, pod string) (election.Vitals, error) {
	return func(ctx context.Context, pod string) (election.Vitals, error) {
		st, err := r.api.Ask(ctx, pod)
		v := st.Vitals
		if name != store.Writes {
			v = st.Elections[name]
		}
		return election.Vitals{
			BootID: st.BootID, Epoch: v.Epoch, Claiming: v.Claiming, Parting: v.Parting,
			Undecided: time.Duration(v.UndecidedMillis) * time.Millisecond,
		}, err
	}
}
