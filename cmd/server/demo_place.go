package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/leasehold/leasehold/internal/localports"
)

// place is what a demo occupies on this machine: a folder, and ports of 127.0.0.1. The replicas' private ports
// belong to the folder: its members know each other by them.
type place struct {
	dir       string
	temporary bool
	public    []int // one a replica
	private   []int // a guard, which the demo itself holds, and two a replica

	held []func()
}

const (
	portsFile    = "ports.json"
	privatePorts = 1 + 2*demoReplicas
)

// occupy finds out, before anything is started, whether there is room for the demo.
func occupy(cfg demoConfig) (*place, error) {
	p := &place{dir: cfg.dataDir, temporary: cfg.dataDir == ""}
	for i := range demoReplicas {
		p.public = append(p.public, cfg.port+i)
	}
	// Held until the private ports are chosen, so that they are others.
	held, err := holdPorts(p.public)
	defer closeAll(held)
	if err != nil {
		return nil, fmt.Errorf("%w; stop what uses it, or choose three other ports with --port", err)
	}
	if err := p.openFolder(); err != nil {
		return nil, err
	}
	if err := p.reservePorts(); err != nil {
		p.vacate(p.temporary)
		return nil, err
	}
	return p, nil
}

func (p *place) openFolder() (err error) {
	if p.temporary {
		if p.dir, err = os.MkdirTemp("", "leasehold-demo-"); err != nil {
			return fmt.Errorf("make a temporary folder: %w; choose one with --data-dir", err)
		}
		return nil
	}
	if p.dir, err = filepath.Abs(p.dir); err == nil {
		err = os.MkdirAll(p.dir, 0o700)
	}
	var probe *os.File
	if err == nil {
		probe, err = os.CreateTemp(p.dir, ".writable-")
	}
	if err != nil {
		return fmt.Errorf("the folder %s cannot be written to (%w); choose another one with --data-dir", p.dir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// reservePorts takes the ports that the folder names, or names some in it.
func (p *place) reservePorts() error {
	path := filepath.Join(p.dir, portsFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.choosePorts(path)
	case err != nil:
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := json.Unmarshal(text, &p.private); err != nil || len(p.private) != privatePorts {
		return fmt.Errorf("%s is damaged; choose another folder with --data-dir", path)
	}
	held, err := holdPorts(p.private)
	if err != nil {
		closeAll(held)
		return fmt.Errorf("%w, and the data in %s is bound to it; stop what uses it, perhaps another demo, or choose another --data-dir", err, p.dir)
	}
	p.guardWith(held)
	return nil
}

func (p *place) choosePorts(path string) error {
	block, err := localports.Block(privatePorts)
	if err != nil {
		return fmt.Errorf("find ports for the replicas: %w", err)
	}
	p.held = append(p.held, block.Release)
	p.private = block.Ports()
	held, err := holdPorts(p.private[:1])
	if err != nil {
		return err
	}
	p.guardWith(held)
	text, err := json.Marshal(p.private)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// guardWith keeps the first of the ports. As the first of its block it keeps others from getting the block,
// also in a later run, which cannot reserve that block again; and it keeps a second demo out of the folder.
func (p *place) guardWith(held []net.Listener) {
	guard := held[0]
	p.held = append(p.held, func() { _ = guard.Close() })
	closeAll(held[1:])
}

// internal and peer are the private ports of a replica.
func (p *place) internal(ordinal int) int { return p.private[1+2*ordinal] }
func (p *place) peer(ordinal int) int     { return p.private[2+2*ordinal] }

// leave gives everything back. A temporary folder is removed, unless something went wrong, which it may tell.
func (p *place) leave(s *screen, wrong bool) {
	remove := p.temporary && !wrong
	p.vacate(remove)
	if !remove {
		s.kept(p.dir)
	}
}

func (p *place) vacate(remove bool) {
	for _, release := range p.held {
		release()
	}
	if remove {
		_ = os.RemoveAll(p.dir) // what cannot be removed is in the system's temporary folder
	}
}

// holdPorts listens on all of the ports. On an error it returns those that it holds all the same.
func holdPorts(ports []int) (held []net.Listener, err error) {
	var lc net.ListenConfig
	for _, port := range ports {
		l, err := lc.Listen(context.Background(), "tcp", loopback(port))
		if errors.Is(err, syscall.EADDRINUSE) {
			return held, fmt.Errorf("port %d of 127.0.0.1 is taken", port)
		}
		if err != nil {
			return held, fmt.Errorf("port %d of 127.0.0.1 cannot be used (%w)", port, err)
		}
		held = append(held, l)
	}
	return held, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
