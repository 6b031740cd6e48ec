package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// respond makes a server's answers to a query that came over a network.
type respond func(network string, header dnsmessage.Header, q dnsmessage.Question) [][]byte

// gives answers every question with an IPv4 address.
func gives(addr string) respond {
	return func(_ string, header dnsmessage.Header, q dnsmessage.Question) [][]byte {
		return [][]byte{must(reply(header, q, dnsmessage.RCodeSuccess, []netip.Addr{netip.MustParseAddr(addr)}))}
	}
}

func refuses(code dnsmessage.RCode) respond {
	return func(_ string, header dnsmessage.Header, q dnsmessage.Question) [][]byte {
		return [][]byte{must(reply(header, q, code, nil))}
	}
}

// afterForgeries sends packets before the answer that are none: noise, another's answer, an answer to another question.
func afterForgeries(then respond) respond {
	return func(network string, header dnsmessage.Header, q dnsmessage.Question) [][]byte {
		if network != "udp" {
			return then(network, header, q)
		}
		forged := refuses(dnsmessage.RCodeNameError)
		others, elsewhere := header, q
		others.ID++
		elsewhere.Name = dnsmessage.MustNewName("forged.example.")
		packets := append([][]byte{[]byte("noise")}, forged(network, others, q)...)
		packets = append(packets, forged(network, header, elsewhere)...)
		return append(packets, then(network, header, q)...)
	}
}

// onlyTCP says over UDP that the answer is too large for it.
func onlyTCP(then respond) respond {
	return func(network string, header dnsmessage.Header, q dnsmessage.Question) [][]byte {
		if network == "tcp" {
			return then(network, header, q)
		}
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: header.ID, Response: true, Truncated: true, RecursionAvailable: true})
		if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
			panic(err)
		}
		return [][]byte{must(b.Finish())}
	}
}

func must(message []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return message
}

// dnsServer is a DNS server on 127.0.0.1, until the test ends.
type dnsServer struct {
	respond respond
	udp     net.PacketConn
	tcp     net.Listener

	mu    sync.Mutex
	names []string
}

func startDNS(t *testing.T, respond respond) *dnsServer {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dnsServer{respond: respond, udp: udp, tcp: listenTCP(t)}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = s.udp.Close()
		_ = s.tcp.Close()
		serving.Wait()
	})
	serving.Go(s.servePackets)
	serving.Go(s.serveStreams)
	return s
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// resolver is a resolver that has only this DNS server to ask.
func (s *dnsServer) resolver(lookup Lookup) *net.Resolver {
	res := New(hosts, lookup)
	dial := res.Dial
	res.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		address := s.udp.LocalAddr()
		if network == "tcp" {
			address = s.tcp.Addr()
		}
		return dial(ctx, network, address.String())
	}
	return res
}

// asked returns the names that the server was asked for.
func (s *dnsServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names
}

func (s *dnsServer) servePackets() {
	packet := make([]byte, maxPacket)
	for {
		n, from, err := s.udp.ReadFrom(packet)
		if err != nil {
			return
		}
		for _, answer := range s.answer("udp", packet[:n]) {
			_, _ = s.udp.WriteTo(answer, from)
		}
	}
}

func (s *dnsServer) serveStreams() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		if query, err := readFramed(conn); err == nil {
			for _, answer := range s.answer("tcp", query) {
				_ = writeFramed(conn, answer)
			}
		}
		_ = conn.Close()
	}
}

func (s *dnsServer) answer(network string, query []byte) [][]byte {
	header, q, err := parseQuestion(query)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.names = append(s.names, q.Name.String())
	s.mu.Unlock()
	return s.respond(network, header, q)
}

// newQuery is a query for an IPv4 address.
func newQuery(t *testing.T, name string) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return query
}
