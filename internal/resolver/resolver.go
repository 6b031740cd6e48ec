// Package resolver finds the pods of a set, for every dial of the process, by asking where they are and not what DNS remembers of
// them: a cluster's DNS gives a pod's old address, or that there is none, for as long as it caches, 30 s as a rule.
//
// Its one invariant: what the lookup does not say for certain, DNS is asked, and it is asked just as without this package.
package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// ErrNoPod is what a Lookup returns where it is certain that there is no such pod.
var ErrNoPod = errors.New("there is no such pod")

// A Lookup returns the addresses of a pod; none if it has none. Any error but ErrNoPod means that it does not know. It must end with
// its context.
type Lookup func(ctx context.Context, pod string) ([]netip.Addr, error)

// exchangeLimit is longer than anybody waits for DNS: a query that is given up ends when its connection is closed.
const exchangeLimit = time.Minute

// New returns a resolver that knows the names of hosts, each with the pod that is there, by lookup, whatever search suffix they are
// tried with. For all other names, and where lookup does not know, it asks DNS.
func New(hosts map[string]string, lookup Lookup) *net.Resolver {
	r := &resolver{hosts: make(map[string]string, len(hosts)), pods: newDirectory(lookup)}
	for host, pod := range hosts {
		r.hosts[strings.ToLower(host)] = pod
	}
	return &net.Resolver{PreferGo: true, Dial: r.dial}
}

type resolver struct {
	hosts map[string]string // to pods; lower case
	pods  *directory
}

// dial returns a connection to nobody but this process: on it a query is answered here, or by the server that was to be dialed. It
// is no net.PacketConn, so messages are framed as over TCP.
func (r *resolver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	asks, answers := net.Pipe()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeLimit) // ctx is that of the dialing
	go func() {
		defer cancel()
		r.serve(ctx, answers, upstream{network, address})
	}()
	return &exchange{asks, cancel}, nil
}

// exchange is a connection whose end is the end of all that is done for it.
type exchange struct {
	net.Conn
	cancel context.CancelFunc
}

func (e *exchange) Close() error {
	e.cancel()
	return e.Conn.Close()
}

// serve answers one query: more are never asked on a connection.
func (r *resolver) serve(ctx context.Context, conn net.Conn, up upstream) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	query, err := readFramed(conn)
	if err != nil {
		return
	}
	answer, err := r.answer(ctx, query, up)
	if err != nil {
		return // it has no question
	}
	_ = writeFramed(conn, answer) // whoever has gone away needs none
}

// answer fails only if query has no question.
func (r *resolver) answer(ctx context.Context, query []byte, up upstream) ([]byte, error) {
	header, question, err := parseQuestion(query)
	if err != nil {
		return nil, err
	}
	if pod, ok := r.podOf(question); ok {
		addrs, err := r.pods.find(ctx, pod)
		switch {
		case err == nil:
			// No address, of this family or at all, is an answer without records: the pod's name exists. Either way a resolver tries its
			// other suffixes, which are answered from memory.
			return reply(header, question, dnsmessage.RCodeSuccess, addrs)
		case errors.Is(err, ErrNoPod):
			return reply(header, question, dnsmessage.RCodeNameError, nil)
		}
	}
	answer, err := up.ask(ctx, query)
	if err != nil {
		return reply(header, question, dnsmessage.RCodeServerFailure, nil)
	}
	return answer, nil
}

// podOf returns the pod whose address the question is about.
func (r *resolver) podOf(q dnsmessage.Question) (pod string, ok bool) {
	if q.Class != dnsmessage.ClassINET || q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		return "", false
	}
	name := strings.ToLower(q.Name.String())
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		if pod, ok = r.hosts[name[:i]]; ok { // what follows is a search suffix, or nothing
			return pod, true
		}
	}
	return "", false
}
