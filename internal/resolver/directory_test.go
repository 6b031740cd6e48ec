package resolver

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// apiServer is what a directory asks: it answers as it is told to, after a while, and counts.
type apiServer struct {
	lookup Lookup
	takes  time.Duration
	asked  int
}

func (s *apiServer) find(ctx context.Context, pod string) ([]netip.Addr, error) {
	s.asked++
	select {
	case <-time.After(s.takes):
		return s.lookup(ctx, pod)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// directoryTest is a directory and what it asks, in virtual time.
type directoryTest struct {
	*testing.T
	*apiServer
	directory *directory
}

func testDirectory(t *testing.T, run func(d directoryTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &apiServer{lookup: at(now)}
		run(directoryTest{t, s, newDirectory(s.find)})
	})
}

// expect finds the pod and says what that has to come to: an address, or an error.
func (d directoryTest) expect(want string, wantErr error) {
	d.Helper()
	addrs, err := d.directory.find(d.Context(), pod)
	got := ""
	if len(addrs) > 0 {
		got = addrs[0].String()
	}
	if got != want || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		d.Fatalf("the pod is at %q, %v; want %q, %v", got, err, want, wantErr)
	}
}

func TestAnAnswerIsUsedForASecond(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lookup Lookup
		addr   string
		err    error
	}{"an address": {at(stale), stale, nil}, "no address": {at(), "", nil}, "no pod": {failing(ErrNoPod), "", ErrNoPod}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDirectory(t, func(d directoryTest) {
				d.lookup = tt.lookup
				d.expect(tt.addr, tt.err)
				d.lookup = at(now)
				time.Sleep(fresh - 1)
				d.expect(tt.addr, tt.err)
				time.Sleep(time.Nanosecond)
				d.expect(now, nil)
				if d.asked != 2 {
					t.Errorf("the API server was asked %d times, want 2", d.asked)
				}
			})
		})
	}
}

func TestConcurrentLookupsAreOne(t *testing.T) {
	t.Parallel()
	testDirectory(t, func(d directoryTest) {
		d.takes = 100 * time.Millisecond
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { d.expect(now, nil) })
		}
		all.Wait()
		if d.asked != 1 {
			t.Errorf("the API server was asked %d times, want once", d.asked)
		}
	})
}

func TestAnOutageDelaysOneDialOnly(t *testing.T) {
	t.Parallel()
	testDirectory(t, func(d directoryTest) {
		d.takes = time.Hour
		start := time.Now()
		d.expect("", context.DeadlineExceeded)
		if took := time.Since(start); took != lookupLimit {
			t.Errorf("an API server that does not answer costs %s, want %s", took, lookupLimit)
		}
		d.takes = 0
		time.Sleep(pause - 1)
		d.expect("", context.DeadlineExceeded)
		if d.asked != 1 || time.Since(start) != lookupLimit+pause-1 {
			t.Errorf("asked %d times within %s, want once", d.asked, time.Since(start))
		}
		time.Sleep(time.Nanosecond)
		d.expect(now, nil)
	})
}

func TestALateAddressBeatsDNSOnlyWhileDNSMayBeOlder(t *testing.T) {
	t.Parallel()
	testDirectory(t, func(d directoryTest) {
		learned := time.Now()
		d.expect(now, nil)
		d.lookup = failing(errAway)
		for time.Sleep(fresh); time.Since(learned) < dnsMemory; time.Sleep(pause) {
			d.expect(now, nil)
		}
		d.expect("", errAway)
	})
}

// That a pod had no address is nothing to go by: DNS may know one.
func TestOnlyAddressesAreKeptThroughAnOutage(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]Lookup{"no address": at(), "no pod": failing(ErrNoPod)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDirectory(t, func(d directoryTest) {
				d.lookup = before
				_, _ = d.directory.find(d.Context(), pod)
				d.lookup = failing(errAway)
				time.Sleep(fresh)
				d.expect("", errAway)
			})
		})
	}
}

// The bubble does not end before all its goroutines have.
func TestNothingIsLeftOfAConnection(t *testing.T) {
	t.Parallel()
	for name, query := range map[string][]byte{"nothing was asked": nil, "a lookup is under way": newQuery(t, podHost+".")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testDirectory(t, func(d directoryTest) {
				d.takes = time.Hour
				r := &resolver{hosts: hosts, pods: d.directory}
				conn, err := r.dial(d.Context(), "udp", "127.0.0.1:1")
				if err != nil {
					t.Fatal(err)
				}
				if query != nil {
					if err := writeFramed(conn, query); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				_ = conn.Close()
				time.Sleep(lookupLimit) // a lookup is for others too, and ends by itself
			})
		})
	}
}

func TestAConnectionThatIsForgottenEnds(t *testing.T) {
	t.Parallel()
	testDirectory(t, func(d directoryTest) {
		r := &resolver{hosts: hosts, pods: d.directory}
		conn, err := r.dial(d.Context(), "udp", "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection on which nothing is asked does not end")
		}
	})
}
