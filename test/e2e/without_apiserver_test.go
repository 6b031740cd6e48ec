//go:build e2e

package e2e

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// The leader goes on without the API server, on the store's word. This comes last: a scheduler or a controller that does
// not survive the outage is not ours to repair.
func TestAPIServerOutage(t *testing.T) {
	ownSet(t)
	fullOnly(t)
	needHook(t)
	l := beginAbrupt(t, inOrder)
	var before []started
	for _, p := range pods(t) {
		before = append(before, start(t, p.Name))
	}
	bringBack := sync.OnceFunc(func() { mustHook(t, "apiserver", "start") })
	t.Cleanup(bringBack)
	mustHook(t, "apiserver", "stop")
	if _, err := set.pods(t.Context()); err == nil {
		t.Fatal("the API server still answers")
	}
	time.Sleep(away)
	if set.route.direct { // else the clients' way is cut as well
		l.more(t, 10*clients)
	}
	for _, b := range before { // reads are answered all the while
		a, err := set.route.get(t.Context(), set.podURL(b.pod)+"/v1/leader")
		if set.route.direct && (err != nil || a.status != http.StatusOK) {
			t.Errorf("%s does not answer a read: %d %v", b.pod.Name, a.status, err)
		}
	}
	bringBack()
	l.more(t, 10*clients)
	for _, b := range before {
		b.mustStillRun(t)
	}
	l.finish(t)
}
