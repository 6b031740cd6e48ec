package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/leasehold/leasehold/internal/api"
)

// serverLimits are the timeouts and bounds of an http.Server.
type serverLimits struct {
	read, write, idle time.Duration
	connections       int
}

var (
	// probeReserve more connections than the API serves are taken, so that probes and metrics get through.
	publicServer = serverLimits{
		read: 30 * time.Second, write: time.Minute, idle: 2 * time.Minute,
		connections: api.DefaultLimits.Connections + probeReserve,
	}
	internalServer = serverLimits{read: 30 * time.Second, write: time.Minute, idle: 2 * time.Minute, connections: 16384}
)

const (
	probeReserve   = 256
	maxHeaderBytes = 16 << 10
)

// listener is an open port whose handler can be exchanged once the parts behind it have started.
type listener struct {
	net.Listener
	server    *http.Server
	handler   atomic.Pointer[http.Handler]
	connState atomic.Pointer[func(net.Conn, http.ConnState)]
}

// listen opens address and serves starting on it. An error of the server that comes later is sent to failed.
func listen(address string, starting http.Handler, limits serverLimits, failed chan<- error) (*listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the address %s is taken by another process: stop that one, or choose another address", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	l := &listener{Listener: netutil.LimitListener(ln, limits.connections)}
	l.handler.Store(&starting)
	l.server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*l.handler.Load()).ServeHTTP(w, r) }),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       limits.read,
		WriteTimeout:      limits.write,
		IdleTimeout:       limits.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState: func(c net.Conn, state http.ConnState) {
			if f := l.connState.Load(); f != nil {
				(*f)(c, state)
			}
		},
	}
	go func() {
		if err := l.server.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve on %s: %w", address, err)
		}
	}()
	return l, nil
}

func (l *listener) address() string { return l.Addr().String() }

// serve exchanges the handler.
func (l *listener) serve(h http.Handler, connState func(net.Conn, http.ConnState)) {
	if connState != nil {
		l.connState.Store(&connState)
	}
	l.handler.Store(&h)
}

// shutdown takes no new connections and waits for the requests under way.
func (l *listener) shutdown(ctx context.Context) error { return l.server.Shutdown(ctx) }

// close ends what shutdown has left.
func (l *listener) close() { _ = l.server.Close() }

// startingPublic answers on the public port before the store is open: the process lives, and that is all.
func startingPublic() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/livez" {
			_, _ = w.Write([]byte("ok\n")) // a prober that is gone cannot be told
			return
		}
		api.Starting(w)
	})
}

// startingInternal answers the other replicas before the store is open: who this is, and what its disk holds.
func (r *replica) startingInternal() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/internal/v1/", r.member.Handler())
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { api.StartingInternal(w) })
	return mux
}
