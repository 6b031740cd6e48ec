package role

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// replica has a Labeler, and leads when a test says so.
type replica struct {
	*client
	labeler *Labeler
	logs    *observer.ObservedLogs

	mu      sync.Mutex
	term    *Term
	end     context.CancelFunc
	changed chan struct{}
}

// start runs the labeler of the pod with an ordinal. It ends with the test.
func (s *apiServer) start(ordinal int, options ...func(*Config)) *replica {
	core, logs := observer.New(zap.InfoLevel)
	r := &replica{client: &client{apiServer: s}, logs: logs, changed: make(chan struct{})}
	cfg := Config{
		Pod: podName(ordinal), Name: podName, Pods: r.client, Term: r.leads, Cluster: "3f2a", Log: zap.New(core),
		Replicas: func(context.Context) (int, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.replicas, nil
		},
	}
	for _, o := range options {
		o(&cfg)
	}
	r.labeler = New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.labeler.Run(ctx)
	}()
	s.t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

func (r *replica) leads() (*Term, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term, r.changed
}

// elect begins a term, and returns when the first pass is over or stuck.
func (r *replica) elect(epoch uint64) {
	r.begin(epoch)
	synctest.Wait()
}

// begin begins a term.
func (r *replica) begin(epoch uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	r.change(&Term{Context: ctx, Epoch: epoch}, cancel)
}

// depose ends the term as the election does: first nobody leads, then the context ends.
func (r *replica) depose() {
	end := r.end
	r.change(nil, nil)
	end()
	synctest.Wait()
}

func (r *replica) change(term *Term, end context.CancelFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.term, r.end = term, end
	close(r.changed)
	r.changed = make(chan struct{})
}

// nextPass waits for one more pass.
func nextPass() {
	time.Sleep(interval)
	synctest.Wait()
}

// bubble runs f in virtual time with a set of three pods.
func bubble(t *testing.T, f func(s *apiServer)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(newAPIServer(t, 3)) })
}

func roles(of ...string) map[string]string {
	m := map[string]string{}
	for i, role := range of {
		m[podName(i)] = role
	}
	return m
}

func TestTheNewLeaderClearsTheOthersFirst(t *testing.T) {
	bubble(t, func(s *apiServer) {
		old, r := s.start(2), s.start(0)
		old.elect(1)
		s.expect(roles(Follower, Follower, Leader))
		old.depose()
		s.load()
		r.elect(2)
		if _, patches := s.load(); !slices.Equal(patches, []string{"pod-1=follower", "pod-2=follower", "pod-0=leader"}) {
			s.t.Errorf("patched %v", patches)
		}
		s.expect(roles(Leader, Follower, Follower))
	})
}

func TestWhereAllIsRightItOnlyReads(t *testing.T) {
	bubble(t, func(s *apiServer) {
		s.start(0).elect(1)
		if gets, _ := s.load(); gets != MaxPods {
			s.t.Errorf("the first pass has read %d pods, want %d", gets, MaxPods)
		}
		for range 30 {
			nextPass()
			if gets, patches := s.load(); gets != 3 || len(patches) > 0 {
				s.t.Fatalf("%d reads, patched %v", gets, patches)
			}
		}
	})
}

func TestAChangedLabelIsPutRight(t *testing.T) {
	bubble(t, func(s *apiServer) {
		s.start(0).elect(1)
		s.create("pod-1") // a fresh pod has none
		s.mu.Lock()
		s.pods["pod-2"].Labels[Label] = Leader // somebody's kubectl
		delete(s.pods["pod-0"].Labels, Label)
		s.mu.Unlock()
		nextPass()
		s.expect(roles(Leader, Follower, Follower))
	})
}

func TestWhoDoesNotLeadDoesNothing(t *testing.T) {
	bubble(t, func(s *apiServer) {
		s.start(0)
		time.Sleep(time.Minute)
		if gets, patches := s.load(); gets > 0 || len(patches) > 0 {
			s.t.Errorf("%d reads, patched %v", gets, patches)
		}
	})
}

func TestNothingIsDoneAfterTheTerm(t *testing.T) {
	bubble(t, func(s *apiServer) {
		r := s.start(0)
		r.elect(1)
		s.load()
		r.depose()
		s.create("pod-1")
		time.Sleep(time.Minute)
		if gets, patches := s.load(); gets > 0 || len(patches) > 0 {
			s.t.Errorf("%d reads, patched %v", gets, patches)
		}
	})
}

func TestATermThatEndsInAPassStopsIt(t *testing.T) {
	bubble(t, func(s *apiServer) {
		r := s.start(0)
		r.onPatch(func(_ context.Context, name string) error {
			if name == "pod-1" {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.end() // the answer comes all the same
			}
			return nil
		})
		r.elect(1)
		s.expect(roles("", Follower, ""))
		r.depose()
		if r.logs.Len() > 0 {
			s.t.Errorf("that is nothing to log: %v", r.logs.All())
		}
	})
}

func TestAConflictIsPutRightByTheNextPass(t *testing.T) {
	for _, name := range []string{"pod-0", "pod-1"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *apiServer) {
				r := s.start(0)
				r.onPatch(func(_ context.Context, n string) error {
					if n == name {
						s.touch(n)
					}
					return nil
				})
				r.elect(1)
				if role := s.roles()["pod-0"]; role != "" {
					s.t.Errorf("the leader's label is %q although not all is done", role)
				}
				r.onPatch(nil)
				nextPass()
				s.expect(roles(Leader, Follower, Follower))
				if r.logs.Len() > 0 {
					s.t.Errorf("that is nothing to log: %v", r.logs.All())
				}
			})
		})
	}
}

// What a leader has under way when it is paused must not land once another one has labeled the pods.
func TestALatePatchOfAReplacedLeaderIsRefused(t *testing.T) {
	for _, name := range []string{"pod-0", "pod-1", "pod-2"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *apiServer) {
				before, old, next := s.start(2), s.start(0), s.start(1)
				before.elect(1) // so every pod has a label already, and old's own is follower
				before.depose()
				thaw := make(chan struct{})
				old.onPatch(func(_ context.Context, n string) error {
					if n == name {
						<-thaw
					}
					return nil
				})
				old.elect(2)
				next.elect(3)
				s.expect(roles(Follower, Leader, Follower))
				close(thaw)
				synctest.Wait()
				s.expect(roles(Follower, Leader, Follower))
				if !slices.Equal(s.late(), []string{name}) {
					s.t.Errorf("refused were %v", s.late())
				}
				time.Sleep(time.Minute) // and it still believes to lead
				s.expect(roles(Follower, Leader, Follower))
				old.depose()
			})
		})
	}
}

// A pass of a replaced leader that begins late sees that it is too late.
func TestAReplacedLeaderThatDoesNotKnowItChangesNothing(t *testing.T) {
	bubble(t, func(s *apiServer) {
		old, next := s.start(0), s.start(1)
		next.elect(3)
		s.create("pod-0") // a twin: the pod is another by now
		old.elect(2)
		s.expect(roles("", Leader, Follower))
		nextPass()
		s.expect(roles(Follower, Leader, Follower))
		if got := old.logs.FilterMessageSnippet("cannot be labeled").Len(); got != 1 {
			s.t.Errorf("logged %d times: %v", got, old.logs.All())
		}
	})
}

// A store that begins anew begins with epoch 1, whatever the pods are marked with.
func TestTheMarkOfAnotherClusterDoesNotCount(t *testing.T) {
	bubble(t, func(s *apiServer) {
		for i, mark := range []string{"57-ffff", "garbage", "-3f2a"} {
			s.pods[podName(i)].Annotations = map[string]string{EpochAnnotation: mark}
		}
		s.start(0).elect(1)
		s.expect(roles(Leader, Follower, Follower))
	})
}

func TestAPodThatIsReplacedBeforeThePatchIsNotMeant(t *testing.T) {
	bubble(t, func(s *apiServer) {
		r := s.start(0)
		r.onPatch(func(_ context.Context, name string) error {
			if name == "pod-1" {
				version := s.pods[name].ResourceVersion
				s.create(name)
				s.pods[name].ResourceVersion = version // so that the UID alone tells
			}
			return nil
		})
		r.elect(1)
		s.expect(roles("", "", ""))
		r.onPatch(nil)
		nextPass()
		s.expect(roles(Leader, Follower, Follower))
		if r.logs.Len() > 0 {
			s.t.Errorf("that is nothing to log: %v", r.logs.All())
		}
	})
}

func TestAPodThatIsGoneIsSkipped(t *testing.T) {
	for name, prepare := range map[string]func(s *apiServer, r *replica){
		"before-the-read": func(s *apiServer, _ *replica) { s.remove("pod-1") },
		"before-the-patch": func(s *apiServer, r *replica) {
			r.onPatch(func(_ context.Context, name string) error {
				if name == "pod-1" {
					s.remove(name)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *apiServer) {
				r := s.start(0)
				prepare(s, r)
				r.elect(1)
				s.expect(map[string]string{"pod-0": Leader, "pod-2": Follower})
				if r.logs.Len() > 0 {
					s.t.Errorf("that is nothing to log: %v", r.logs.All())
				}
			})
		})
	}
}

// The old leader was scaled away: its pod is beyond the replicas, and goes on for a while.
func TestAPodBeyondTheReplicasIsClearedWhileItExists(t *testing.T) {
	bubble(t, func(s *apiServer) {
		s.create("pod-4")
		old, r := s.start(4), s.start(0)
		old.elect(1)
		old.depose()
		r.elect(2)
		want := roles(Leader, Follower, Follower)
		want["pod-4"] = Follower
		s.expect(want)
		s.load()
		nextPass()
		if gets, _ := s.load(); gets != 5 {
			s.t.Errorf("%d reads, want those up to the pod that is beyond", gets)
		}
		s.remove("pod-4")
		nextPass()
		s.load()
		nextPass()
		if gets, _ := s.load(); gets != 3 {
			s.t.Errorf("%d reads, want the replicas'", gets)
		}
	})
}

func TestAMissingPermissionIsLoggedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		get, patch []string
		want       map[string]string
	}{
		"to-read-one":  {get: []string{"pod-1"}, want: roles(Leader, "", Follower)},
		"to-label-one": {patch: []string{"pod-1"}, want: roles(Leader, "", Follower)},
		"to-label-own": {patch: []string{"pod-0"}, want: roles("", Follower, Follower)},
		"to-do-any":    {get: []string{"pod-0", "pod-1", "pod-2"}, want: roles("", "", "")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *apiServer) {
				r := s.start(0)
				r.onGet(forbidden(test.get...))
				r.onPatch(forbidden(test.patch...))
				r.elect(1)
				time.Sleep(time.Minute)
				r.depose()
				r.elect(2)
				s.expect(test.want)
				if got := r.logs.FilterMessageSnippet("may not be labeled").Len(); got != 1 || r.logs.Len() != 1 {
					s.t.Errorf("logged %v", r.logs.All())
				}
			})
		})
	}
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	bubble(t, func(s *apiServer) {
		r := s.start(0)
		away := func(context.Context, string) error { return errors.New("connection refused") }
		for range 2 {
			r.onGet(away)
			r.elect(1)
			time.Sleep(time.Minute)
			r.onGet(nil)
			nextPass()
			s.expect(roles(Leader, Follower, Follower))
			r.depose()
		}
		var logged []string
		for _, entry := range r.logs.All() {
			logged = append(logged, fmt.Sprint(entry.Level))
		}
		if want := []string{"warn", "info", "warn", "info"}; !slices.Equal(logged, want) {
			s.t.Errorf("logged %v, want %v", r.logs.All(), want)
		}
	})
}
