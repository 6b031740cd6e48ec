package localports_test

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/leasehold/leasehold/internal/localports"
)

func TestBlocksAreDisjoint(t *testing.T) {
	t.Parallel()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		seen = map[int]bool{}
	)
	for range 20 {
		wg.Go(func() {
			b, err := localports.Block(5)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(b.Release)
			mu.Lock()
			defer mu.Unlock()
			for _, port := range b.Ports() {
				if seen[port] {
					t.Errorf("port %d handed out twice", port)
				}
				seen[port] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 100 {
		t.Errorf("%d different ports, want 100", len(seen))
	}
}

func TestPortsCanBeListenedOn(t *testing.T) {
	t.Parallel()
	b, err := localports.Block(localports.MaxPorts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	for _, port := range b.Ports() {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}

func TestBoundsAreChecked(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 0, localports.MaxPorts + 1} {
		if _, err := localports.Block(n); err == nil {
			t.Errorf("Block(%d): no error", n)
		}
	}
}
