package member

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// MaxReplicas bounds the ordinals: the highest that is accepted is MaxReplicas-1.
const MaxReplicas = 64

// ErrUnknownPod is returned for a name that is not one of the set's pods.
var ErrUnknownPod = errors.New("not a pod of this set")

// Address is where one replica listens for the others.
type Address struct {
	Host         string
	InternalPort int
	PeerPort     int
}

// Peers says where the replicas of a set are. Pods are named <Set>-<ordinal>.
type Peers struct {
	Set string
	// Locate answers for any ordinal that Ordinal accepts.
	Locate func(ordinal int) Address

	limit int // how many pods there can be; 0 means MaxReplicas
}

// StatefulSetPeers finds the pods of a StatefulSet by the stable DNS names that its headless service gives them.
func StatefulSetPeers(set, service, namespace string, internalPort, peerPort int) Peers {
	return Peers{Set: set, Locate: func(ordinal int) Address {
		host := fmt.Sprintf("%s-%d.%s.%s.svc", set, ordinal, service, namespace)
		return Address{Host: host, InternalPort: internalPort, PeerPort: peerPort}
	}}
}

// ParsePeers reads a comma-separated list of NAME=HOST:INTERNALPORT:PEERPORT, which must name the pods 0 to n-1, each once.
func ParsePeers(set, list string) (Peers, error) {
	p := Peers{Set: set}
	entries := strings.Split(list, ",")
	if len(entries) > MaxReplicas {
		return Peers{}, fmt.Errorf("peers: %d pods, the most is %d", len(entries), MaxReplicas)
	}
	addresses := make([]Address, len(entries))
	for _, entry := range entries {
		name, text, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok {
			return Peers{}, fmt.Errorf("peers: %q is not NAME=HOST:INTERNALPORT:PEERPORT", entry)
		}
		ordinal, err := p.Ordinal(name)
		if err != nil {
			return Peers{}, fmt.Errorf("peers: %w", err)
		}
		if ordinal >= len(addresses) {
			return Peers{}, fmt.Errorf("peers: %q in a list of %d: the ordinals must be 0 to %d", name, len(entries), len(entries)-1)
		}
		if addresses[ordinal] != (Address{}) {
			return Peers{}, fmt.Errorf("peers: %q is named twice", name)
		}
		if addresses[ordinal], err = parseAddress(text); err != nil {
			return Peers{}, fmt.Errorf("peers: %s: %w", name, err)
		}
	}
	p.limit = len(addresses)
	p.Locate = func(ordinal int) Address { return addresses[ordinal] }
	return p, nil
}

func parseAddress(text string) (Address, error) {
	rest, peer, ok := cutLast(text)
	host, internal, ok2 := cutLast(rest)
	if !ok || !ok2 {
		return Address{}, fmt.Errorf("%q is not HOST:INTERNALPORT:PEERPORT", text)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.ContainsAny(host, "/@?# ") {
		return Address{}, fmt.Errorf("%q has no valid host", text)
	}
	internalPort, err := parsePort(internal)
	if err != nil {
		return Address{}, err
	}
	peerPort, err := parsePort(peer)
	if err != nil {
		return Address{}, err
	}
	return Address{Host: host, InternalPort: internalPort, PeerPort: peerPort}, nil
}

// cutLast cuts at the last colon, so that the host may be an IPv6 address.
func cutLast(text string) (before, after string, ok bool) {
	i := strings.LastIndex(text, ":")
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port (1 to 65535)", text)
	}
	return int(port), nil
}

// Name returns the name of the pod with this ordinal.
func (p Peers) Name(ordinal int) string { return fmt.Sprintf("%s-%d", p.Set, ordinal) }

// Ordinal returns the ordinal of a pod. Any text that is not exactly the name of a pod of this set is ErrUnknownPod, so a
// name that has passed is safe to build a URL from.
func (p Peers) Ordinal(name string) (int, error) {
	digits, ok := strings.CutPrefix(name, p.Set+"-")
	ordinal, err := strconv.Atoi(digits)
	if !ok || err != nil || ordinal < 0 || ordinal >= p.bound() || p.Name(ordinal) != name {
		return 0, fmt.Errorf("%q: %w (%s-0 to %s)", name, ErrUnknownPod, p.Set, p.Name(p.bound()-1))
	}
	return ordinal, nil
}

// InternalURL returns the base URL of a pod's internal port: a template filled with a name that Ordinal has accepted.
func (p Peers) InternalURL(name string) (string, error) {
	ordinal, err := p.Ordinal(name)
	if err != nil {
		return "", err
	}
	a := p.Locate(ordinal)
	return httpURL(a.Host, a.InternalPort), nil
}

// PeerURL returns the URL at which the pod's etcd member listens for the others. The ordinal must be one that Ordinal returns.
func (p Peers) PeerURL(ordinal int) string {
	a := p.Locate(ordinal)
	return httpURL(a.Host, a.PeerPort)
}

// at returns the ordinal of the pod whose etcd member is at this peer URL.
func (p Peers) at(peerURL string) (int, bool) {
	for ordinal := range p.bound() {
		if p.PeerURL(ordinal) == peerURL {
			return ordinal, true
		}
	}
	return 0, false
}

func (p Peers) bound() int {
	if p.limit > 0 {
		return p.limit
	}
	return MaxReplicas
}

func httpURL(host string, port int) string {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	return u.String()
}
