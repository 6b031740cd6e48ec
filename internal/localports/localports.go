// Package localports hands out blocks of TCP ports on 127.0.0.1, for tests and for the local demo.
//
// A replica must know its ports, and its peers', before it listens on them, so "port 0" does not do. The invariant: until
// Release, nobody else who uses this package, in this process or another, gets a port of the block.
package localports

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The blocks lie below the ephemeral ports, so that no outgoing connection takes one of theirs.
const (
	first     = 10_000
	last      = 32_000
	blockSize = 20

	// MaxPorts is the most that one block holds: its first port is the lock.
	MaxPorts = blockSize - 1
)

// ErrNone is returned when every block is taken.
var ErrNone = errors.New("localports: no free block of ports left on 127.0.0.1")

// A Reservation is a block of ports that belong to its owner until Release.
type Reservation struct {
	lock  net.Listener
	ports []int
}

// Block reserves a block of n ports, 1 to MaxPorts, all of them free at that moment.
func Block(n int) (*Reservation, error) {
	if n < 1 || n > MaxPorts {
		return nil, fmt.Errorf("localports: %d ports asked for, a block has 1 to %d", n, MaxPorts)
	}
	const blocks = (last - first) / blockSize
	// A random start keeps processes that begin together from trying the same blocks one after another.
	start := rand.IntN(blocks)
	for i := range blocks {
		if b := take(first+(start+i)%blocks*blockSize, n); b != nil {
			return b, nil
		}
	}
	return nil, ErrNone
}

// Ports returns the block's ports, in ascending order.
func (b *Reservation) Ports() []int { return b.ports }

// Release gives the block back. Whoever listens on its ports must have stopped.
func (b *Reservation) Release() { _ = b.lock.Close() }

// take returns the block whose lock is port base, or nil if it or one of its ports is in use.
func take(base, n int) *Reservation {
	lock, err := listen(base)
	if err != nil {
		return nil
	}
	b := &Reservation{lock: lock}
	for port := base + 1; port <= base+n; port++ {
		l, err := listen(port)
		if err != nil {
			b.Release()
			return nil
		}
		_ = l.Close()
		b.ports = append(b.ports, port)
	}
	return b
}

func listen(port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}
