package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
)

// lastEventLimit is how long the end of the process waits for its last Event to go out.
const lastEventLimit = time.Second

// events records Events by client-go's broadcaster, which queues them and sends them one after the other. It counts
// what was queued and what was sent, so that close can wait for the last one.
type events struct {
	record.EventSink
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder

	mu           sync.Mutex
	queued, sent int
	changed      chan struct{} // closed and replaced when one is sent
}

func newEvents(sink record.EventSink, pod string) *events {
	e := &events{EventSink: sink, broadcaster: record.NewBroadcaster(), changed: make(chan struct{})}
	e.broadcaster.StartRecordingToSink(e)
	e.recorder = e.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "leasehold", Host: pod})
	return e
}

// Eventf implements resourcelock.EventRecorder. It does not block.
func (e *events) Eventf(object runtime.Object, kind, reason, message string, args ...any) {
	e.mu.Lock()
	e.queued++
	e.mu.Unlock()
	e.recorder.Eventf(object, kind, reason, message, args...)
}

// Create implements record.EventSink.
func (e *events) Create(event *corev1.Event) (*corev1.Event, error) {
	defer e.done()
	return e.EventSink.Create(event)
}

// Patch implements record.EventSink.
func (e *events) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	defer e.done()
	return e.EventSink.Patch(event, data)
}

// done counts an attempt, failed or not: one is what the end of the process waits for.
func (e *events) done() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sent = min(e.sent+1, e.queued) // an attempt that is repeated stands for no other Event
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *events) pending() (bool, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sent < e.queued, e.changed
}

// close waits until every Event has been sent once, or until ctx is done, and sends no more.
func (e *events) close(ctx context.Context) {
	defer e.broadcaster.Shutdown()
	for {
		pending, changed := e.pending()
		if !pending {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
