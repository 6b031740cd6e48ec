package resolver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	pod     = "leasehold-1"
	podHost = "leasehold-1.leasehold.here.svc"
	foreign = "example.org."

	now   = "10.0.0.5" // where the pod is
	stale = "10.0.0.9" // where DNS says that it is
)

var (
	hosts   = map[string]string{podHost: pod, "leasehold-2.leasehold.here.svc": "leasehold-2"}
	errAway = errors.New("the API server is away")
)

// at is a lookup that finds every pod at these addresses.
func at(addrs ...string) Lookup {
	return func(context.Context, string) (found []netip.Addr, _ error) {
		for _, addr := range addrs {
			found = append(found, netip.MustParseAddr(addr))
		}
		return found, nil
	}
}

func failing(err error) Lookup {
	return func(context.Context, string) ([]netip.Addr, error) { return nil, err }
}

func TestPodsAreFoundInSpiteOfDNS(t *testing.T) {
	t.Parallel()
	for name, dns := range map[string]respond{"an old address": gives(stale), "no such name": refuses(dnsmessage.RCodeNameError)} {
		server := startDNS(t, dns)
		res := server.resolver(at(now))
		for _, host := range []string{
			podHost + ".",
			strings.ToUpper(podHost) + ".",
			podHost + ".here.svc.cluster.local.",
			podHost + ".cluster.local.",
		} {
			got, err := res.LookupHost(t.Context(), host)
			if err != nil || !slices.Equal(got, []string{now}) {
				t.Errorf("%s: %s is at %v, %v; want %s", name, host, got, err, now)
			}
		}
		if asked := server.asked(); len(asked) > 0 {
			t.Errorf("%s: DNS was asked %v", name, asked)
		}
	}
}

func TestBothFamiliesAreAnswered(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lookup   Lookup
		network  string
		want     []string
		notFound bool
	}{
		"both":              {at(now, "fd00::5"), "ip", []string{now, "fd00::5"}, false},
		"one of two":        {at(now, "fd00::5"), "ip6", []string{"fd00::5"}, false},
		"the only one":      {at("fd00::5"), "ip", []string{"fd00::5"}, false},
		"not the other":     {at(now), "ip6", nil, true},
		"no address yet":    {at(), "ip", nil, true},
		"no pod":            {failing(ErrNoPod), "ip", nil, true},
		"two of one family": {at(now, "10.0.0.6"), "ip4", []string{now, "10.0.0.6"}, false},
	} {
		server := startDNS(t, gives(stale))
		addrs, err := server.resolver(tt.lookup).LookupNetIP(t.Context(), tt.network, podHost+".")
		var got []string
		for _, addr := range addrs {
			got = append(got, addr.Unmap().String())
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		dnsErr, _ := errors.AsType[*net.DNSError](err)
		if !slices.Equal(got, tt.want) || tt.notFound != (dnsErr != nil && dnsErr.IsNotFound) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
		if asked := server.asked(); len(asked) > 0 {
			t.Errorf("%s: DNS was asked %v", name, asked)
		}
	}
}

func TestDNSAnswersForTheRest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lookup Lookup
		host   string
		dns    respond
	}{
		"a foreign name":        {at(now), foreign, gives(stale)},
		"a name of no pod":      {at(now), "leasehold-3.leasehold.here.svc.", gives(stale)},
		"the Service":           {at(now), "leasehold.here.svc.", gives(stale)},
		"another's pod":         {at(now), "leasehold-1.leasehold.there.svc.", gives(stale)},
		"a lookup that fails":   {failing(errAway), podHost + ".", gives(stale)},
		"forged packets first":  {at(now), foreign, afterForgeries(gives(stale))},
		"too large for UDP":     {at(now), foreign, onlyTCP(gives(stale))},
		"an error of the cache": {failing(context.DeadlineExceeded), podHost + ".", gives(stale)},
	} {
		server := startDNS(t, tt.dns)
		got, err := server.resolver(tt.lookup).LookupHost(t.Context(), tt.host)
		if err != nil || !slices.Equal(got, []string{stale}) {
			t.Errorf("%s: %s is at %v, %v; want what DNS says, %s", name, tt.host, got, err, stale)
		}
	}
}

func TestErrorsOfDNSArePassedOn(t *testing.T) {
	t.Parallel()
	missing := startDNS(t, refuses(dnsmessage.RCodeNameError)).resolver(at(now))
	_, err := missing.LookupHost(t.Context(), foreign)
	if dnsErr, ok := errors.AsType[*net.DNSError](err); !ok || !dnsErr.IsNotFound {
		t.Errorf("a name that DNS does not know: %v, want that it is not found", err)
	}
	away := New(hosts, at(now))
	dial := away.Dial
	away.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "no network", "") }
	_, err = away.LookupHost(t.Context(), foreign)
	if dnsErr, ok := errors.AsType[*net.DNSError](err); !ok || !dnsErr.IsTemporary || dnsErr.IsNotFound {
		t.Errorf("DNS is away: %v, want a temporary error", err)
	}
}

func TestOnlyAddressesOfPodsAreAnswered(t *testing.T) {
	t.Parallel()
	r := &resolver{hosts: hosts}
	for _, tt := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{podHost + ".", dnsmessage.TypeA, pod},
		{podHost + ".", dnsmessage.TypeAAAA, pod},
		{podHost + ".here.svc.cluster.local.", dnsmessage.TypeA, pod},
		{"Leasehold-1.LEASEHOLD.here.Svc.", dnsmessage.TypeA, pod},
		{"leasehold-2.leasehold.here.svc.svc.cluster.local.", dnsmessage.TypeA, "leasehold-2"},
		{podHost + ".", dnsmessage.TypeTXT, ""},
		{podHost + "x.", dnsmessage.TypeA, ""},
		{"x" + podHost + ".", dnsmessage.TypeA, ""},
		{"x." + podHost + ".", dnsmessage.TypeA, ""},
		{"leasehold-01.leasehold.here.svc.", dnsmessage.TypeA, ""},
		{"leasehold-1.leasehold.here.", dnsmessage.TypeA, ""},
		{"leasehold-1.", dnsmessage.TypeA, ""},
		{".", dnsmessage.TypeA, ""},
	} {
		q := dnsmessage.Question{Name: dnsmessage.MustNewName(tt.name), Type: tt.kind, Class: dnsmessage.ClassINET}
		if got, ok := r.podOf(q); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %s is of pod %q, want %q", tt.kind, tt.name, got, tt.want)
		}
		q.Class = dnsmessage.ClassCHAOS
		if got, ok := r.podOf(q); ok {
			t.Errorf("%s of another class is of pod %q", tt.name, got)
		}
	}
}

// The server sees the connection end, and so does everything in between.
func TestAQueryThatIsGivenUpEnds(t *testing.T) {
	t.Parallel()
	ln := listenTCP(t)
	conn, err := New(hosts, at(now)).Dial(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	query := newQuery(t, foreign)
	if err := writeFramed(conn, query); err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if got, err := readFramed(server); err != nil || !slices.Equal(got, query) {
		t.Fatalf("DNS is asked %x, %v; want %x", got, err, query)
	}
	_ = conn.Close()
	if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after it was given up the server reads %d bytes, %v", n, err)
	}
}

func TestWhatIsNoQueryEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string][]byte{"nothing": {0, 0}, "half a header": {0, 4, 1, 2, 3, 4}, "no question": append([]byte{0, 12}, make([]byte, 12)...)} {
		conn, err := New(hosts, at(now)).Dial(t.Context(), "udp", "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, %v; want the end", name, n, err)
		}
	}
}
