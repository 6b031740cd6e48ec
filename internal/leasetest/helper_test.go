package leasetest_test

import (
	"context"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// events watches, and describes each event by its type and its resource version. The channel is closed at the end.
func events(t *testing.T, begin func(context.Context, metav1.ListOptions) (watch.Interface, error), o metav1.ListOptions) <-chan string {
	t.Helper()
	w, err := begin(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	described := make(chan string, 100)
	go func() {
		defer close(described)
		for e := range w.ResultChan() {
			described <- describe(e)
		}
	}()
	return described
}

func describe(e watch.Event) string {
	switch object := e.Object.(type) {
	case *coordinationv1.Lease:
		return string(e.Type) + " " + object.ResourceVersion
	case *metav1.Status:
		return string(e.Type) + " " + string(object.Reason)
	}
	return string(e.Type)
}

func expect(t *testing.T, described <-chan string, want string) {
	t.Helper()
	if got := next(t, described); got != want {
		t.Errorf("the watch says %q, want %q", got, want)
	}
}

// next is the next event; "" is the end of the watch.
func next(t *testing.T, described <-chan string) string {
	t.Helper()
	return receive(t, described, "an event")
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(waitLimit):
		t.Fatalf("%s did not come", what)
		panic("not reached")
	}
}
