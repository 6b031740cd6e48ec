package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/leasehold/leasehold/internal/localports"
)

const replicaCount = 3

// site is where the replicas run: on loopback, or each on a network of its own.
type site struct {
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

func loopbackSite() (site, error) {
	block, err := localports.Block(1 + replicaCount*3)
	if err != nil {
		return site{}, fmt.Errorf("find ports for the replicas: %w", err)
	}
	ports := block.Ports()
	s := site{api: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), release: block.Release}
	for i := range replicaCount {
		p := ports[1+3*i:]
		s.addresses = append(s.addresses, addresses{"127.0.0.1", p[0], p[1], p[2]})
	}
	return s, nil
}

// networkSite is the site on the networks that makeNetwork has made, as seen from their hub.
func networkSite(prefix string) site {
	s := site{api: net.JoinHostPort(hubAddress, "6443"), prefix: prefix, release: func() {}}
	for i := range replicaCount {
		s.addresses = append(s.addresses, addresses{replicaAddress(i), 8080, 7070, 2380})
	}
	return s
}

// command is what runs args where the replica is.
func (s site) command(ordinal int, args ...string) []string {
	if s.prefix == "" {
		return args
	}
	return append([]string{"ip", "netns", "exec", replicaNetwork(s.prefix, ordinal)}, args...)
}

// about says where the replicas run, for the page.
func (s site) about() string {
	if s.prefix == "" {
		return "all on loopback"
	}
	return "each on a network of its own (network namespaces, joined by a bridge)"
}
