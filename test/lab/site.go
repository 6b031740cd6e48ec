package lab

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/leasehold/leasehold/internal/localports"
)

// Site is where the replicas run: on loopback, or each on a network of its own.
type Site struct {
	api       string // address of the stand-in for the API server
	addresses []addresses
	prefix    string // of the networks; "" on loopback
	release   func()
}

// addresses are a replica's.
type addresses struct {
	host                   string
	public, internal, peer int
}

func (a addresses) url() string { return "http://" + a.at(a.public) }

func (a addresses) at(port int) string { return net.JoinHostPort(a.host, strconv.Itoa(port)) }

// MaxOnLoopback is how many replicas a site on loopback has ports for.
const MaxOnLoopback = (localports.MaxPorts - 1) / 3

// LoopbackSite is a site for 1 to MaxOnLoopback replicas on 127.0.0.1, on ports that belong to it until Release.
func LoopbackSite(replicas int) (Site, error) {
	block, err := localports.Block(1 + replicas*3)
	if err != nil {
		return Site{}, fmt.Errorf("find ports for the replicas: %w", err)
	}
	ports := block.Ports()
	s := Site{api: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), release: block.Release}
	for i := range replicas {
		p := ports[1+3*i:]
		s.addresses = append(s.addresses, addresses{"127.0.0.1", p[0], p[1], p[2]})
	}
	return s, nil
}

// NetworkSite is the site on the networks in whose hub this program runs; not ok if it runs in none.
func NetworkSite() (s Site, ok bool) {
	prefix := os.Getenv(networkVariable)
	if prefix == "" {
		return Site{}, false
	}
	return networkSite(prefix), true
}

func networkSite(prefix string) Site {
	s := Site{api: net.JoinHostPort(apiAddress, "6443"), prefix: prefix, release: func() {}}
	for i := range ReplicaCount {
		s.addresses = append(s.addresses, addresses{replicaAddress(i), PublicPort, InternalPort, PeerPort})
	}
	return s
}

// Release gives up what the site occupies. Nothing runs there any more.
func (s Site) Release() { s.release() }

// OnNetworks tells whether each replica is on a network of its own.
func (s Site) OnNetworks() bool { return s.prefix != "" }

// Command is what runs args where the replica is.
func (s Site) Command(ordinal int, args ...string) []string {
	if s.prefix == "" {
		return args
	}
	return append([]string{"ip", "netns", "exec", replicaNetwork(s.prefix, ordinal)}, args...)
}

// About says where the replicas run, for a page.
func (s Site) About() string {
	if s.prefix == "" {
		return "all on loopback"
	}
	return "each on a network of its own (network namespaces, joined by a bridge)"
}
