package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// sink takes Events as an API server would, after a while.
type sink struct {
	after time.Duration
	err   error

	mu       sync.Mutex
	messages []string
}

func (s *sink) Create(event *corev1.Event) (*corev1.Event, error) {
	time.Sleep(s.after)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, event.Message)
	return event, s.err
}

func (s *sink) Update(event *corev1.Event) (*corev1.Event, error) { return s.Create(event) }

func (s *sink) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

func (s *sink) Patch(event *corev1.Event, _ []byte) (*corev1.Event, error) { return s.Create(event) }

func TestTheLastEventGoesOutWithoutHoldingUpTheEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after time.Duration
		err   error
		sent  []string
		takes time.Duration
	}{
		"sent":        {50 * time.Millisecond, nil, []string{"one", "two"}, 100 * time.Millisecond},
		"API-is-away": {50 * time.Millisecond, errors.New("refused"), []string{"one", "two"}, lastEventLimit},
		"API-hangs":   {time.Minute, nil, nil, lastEventLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &sink{after: test.after, err: test.err}
				e := newEvents(s, "leasehold-0")
				lease := &corev1.ObjectReference{Kind: "Lease", Name: "leasehold", Namespace: "default"}
				for _, message := range []string{"one", "two"} {
					e.Eventf(lease, corev1.EventTypeNormal, "LeaderElected", "%s", message)
				}
				ctx, cancel := context.WithTimeout(t.Context(), lastEventLimit)
				defer cancel()
				start := time.Now()
				e.close(ctx)
				took, sent := time.Since(start), s.sent()
				if took > test.takes || (test.err == nil && !slices.Equal(sent, test.sent)) {
					t.Errorf("sent %q in %s, want %q in %s", sent, took, test.sent, test.takes)
				}
				time.Sleep(3 * test.after) // for the sink to return
			})
		})
	}
}

func TestWithoutEventsTheEndWaitsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		newEvents(&sink{}, "leasehold-0").close(t.Context())
		var none *kubernetesClients
		none.close()
		if took := time.Since(start); took > 0 {
			t.Errorf("took %s", took)
		}
	})
}

// An Event that took several attempts stands for itself alone: the last one is waited for all the same.
func TestARepeatedEventDoesNotStandForTheLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sink{after: 50 * time.Millisecond}
		e := newEvents(s, "leasehold-0")
		e.recorder.Eventf(&corev1.ObjectReference{Kind: "Lease", Name: "leasehold", Namespace: "default"}, corev1.EventTypeNormal, "Other", "not counted")
		synctest.Wait()
		time.Sleep(time.Second) // it has been sent
		e.Eventf(&corev1.ObjectReference{Kind: "Lease", Name: "leasehold", Namespace: "default"}, corev1.EventTypeNormal, "Last", "last")
		ctx, cancel := context.WithTimeout(t.Context(), lastEventLimit)
		defer cancel()
		e.close(ctx)
		if got := s.sent(); !slices.Contains(got, "last") {
			t.Errorf("sent %q", got)
		}
	})
}
