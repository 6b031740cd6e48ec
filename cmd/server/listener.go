package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
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
	server      *http.Server
	handler     atomic.Pointer[http.Handler]
	connections atomic.Int64 // open
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
		ConnState:         l.count,
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
func (l *listener) serve(h http.Handler) { l.handler.Store(&h) }

func (l *listener) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		l.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		l.connections.Add(-1)
	}
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
	return r.internalHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { api.StartingInternal(w) }))
}

// internalHandler shares the internal listener between the member and what the leader is asked. It is no
// http.ServeMux, which would clean the paths: a key may contain // and dots.
func (r *replica) internalHandler(forwarded http.Handler) http.Handler {
	member := r.member.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/internal/v1/") && req.URL.Path != api.StatusPath {
			member.ServeHTTP(w, req)
			return
		}
		forwarded.ServeHTTP(w, req)
	})
}
