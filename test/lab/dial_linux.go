package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects to an IP address of a network.
func dialIn(ctx context.Context, network, address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocks: the thread is of no use to anybody else, and ends with the goroutine
		conn, err = dialHere(ctx, network, address)
	}()
	<-done
	return conn, err
}

// dialHere moves the thread that it runs on.
func dialHere(ctx context.Context, network, address string) (net.Conn, error) {
	file, err := os.Open(filepath.Join("/run/netns", network))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the network %s: %w", network, err)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}
