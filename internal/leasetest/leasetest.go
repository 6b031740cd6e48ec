// Package leasetest stands in for a Kubernetes API server, as far as an election needs one: Leases, ConfigMaps and Secrets
// with their watches, and Events. It can be taken away and given back.
//
// The invariant: an object is written only on the condition that nobody has written it since the writer read it, if the
// writer says what it has read; a Lease only if he does. What came in while the server was away is never carried out later.
package leasetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Mode is how the server meets its clients.
type Mode string

// SlowBy is how long a slow server lets a request wait.
const SlowBy = 3 * time.Second

// The modes of a Server. All but Up, Slow and Conflict hold for connections and watches that are open as well.
const (
	Up          Mode = "up"
	Refused     Mode = "refused"     // connections are ended, and new ones refused
	Unavailable Mode = "unavailable" // every request is answered with 503, and watches end
	BlackHole   Mode = "black hole"  // requests are taken and never answered, and watches fall silent
	Slow        Mode = "slow"        // every request waits for SlowBy before it is carried out; one that waits when the mode changes never is
	Conflict    Mode = "conflict"    // every update is answered with 409
)

// Server is the stand-in. Its methods may be called from any goroutine.
type Server struct {
	address string
	objects *objects

	switching sync.Mutex // held while the mode changes

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed and replaced when the mode changes
	outages int           // how often a mode has been set that ends watches
	http    *http.Server  // nil while connections are refused
}

// Start starts a server at the address, which may have port 0.
func Start(address string) (*Server, error) {
	s := &Server{address: address, objects: newObjects(), mode: Up, changed: make(chan struct{})}
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the server and all connections.
func (s *Server) Close() { _ = s.Set(Refused) } // which cannot fail

// Set switches the server. It fails only where Refused ends and the port is taken; the server stays as it was, then.
func (s *Server) Set(mode Mode) error {
	s.switching.Lock()
	defer s.switching.Unlock()
	if mode != Refused {
		if err := s.listen(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.mode = mode
	if mode == Refused || mode == Unavailable {
		s.outages++
	}
	close(s.changed)
	s.changed = make(chan struct{})
	ended := s.http
	if mode == Refused {
		s.http = nil
	}
	s.mu.Unlock()
	if mode == Refused && ended != nil {
		_ = ended.Close() // nobody could act on the error
	}
	return nil
}

// listen does nothing if the server listens.
func (s *Server) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return fmt.Errorf("leasetest: %w", err)
	}
	s.address = listener.Addr().String()
	s.http = &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	go func(h *http.Server) {
		if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("leasetest: %v", err)) // a listener of our own that breaks
		}
	}(s.http)
	return nil
}

// state is the mode, and what is closed when it changes.
func (s *Server) state() (Mode, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mode, s.changed
}

// outagesSoFar counts what has ended watches: one that looks up late may find the server up again.
func (s *Server) outagesSoFar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outages
}

// URL is where the server is.
func (s *Server) URL() string { return "http://" + s.address }

// Config is a client's configuration for the server.
func (s *Server) Config() *rest.Config { return &rest.Config{Host: s.URL()} }

// WriteKubeconfig writes a file for $KUBECONFIG.
func (s *Server) WriteKubeconfig(path string) error {
	const name = "leasetest"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: s.URL()}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name}
	config.CurrentContext = name
	text, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("leasetest: %w", err)
	}
	return os.WriteFile(path, text, 0o600)
}
