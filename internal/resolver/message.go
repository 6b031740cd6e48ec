package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxPacket is more than a resolver lets a server send over UDP.
const maxPacket = 4096

// readFramed reads a message with its length before it.
func readFramed(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// writeFramed writes a message with its length before it.
func writeFramed(w io.Writer, message []byte) error {
	if len(message) > math.MaxUint16 {
		return fmt.Errorf("a message of %d bytes", len(message))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

func parseQuestion(message []byte) (dnsmessage.Header, dnsmessage.Question, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil {
		return header, dnsmessage.Question{}, err
	}
	question, err := p.Question()
	return header, question, err
}

// reply answers a question with those of addrs that it asks for. They must not be kept: hence no time to live.
func reply(query dnsmessage.Header, question dnsmessage.Question, code dnsmessage.RCode, addrs []netip.Addr) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: query.ID, Response: true, RCode: code,
		RecursionDesired: query.RecursionDesired, RecursionAvailable: true,
	})
	header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class}
	err := errors.Join(b.StartQuestions(), b.Question(question), b.StartAnswers())
	for _, addr := range addrs {
		switch {
		case addr.Is4() && question.Type == dnsmessage.TypeA:
			err = errors.Join(err, b.AResource(header, dnsmessage.AResource{A: addr.As4()}))
		case addr.Is6() && question.Type == dnsmessage.TypeAAAA:
			err = errors.Join(err, b.AAAAResource(header, dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// upstream is the DNS server that was to be dialed.
type upstream struct{ network, address string }

// ask passes a query on, and returns the answer as it is; a truncated one over UDP has the resolver dial again, for TCP.
func (u upstream) ask(ctx context.Context, query []byte) ([]byte, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, u.network, u.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, ok := conn.(net.PacketConn); ok {
		return askPacket(conn, query)
	}
	if err := writeFramed(conn, query); err != nil {
		return nil, err
	}
	return readFramed(conn)
}

// askPacket skips what is no answer to query: anybody can send a packet.
func askPacket(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	packet := make([]byte, maxPacket)
	for {
		n, err := conn.Read(packet)
		if err != nil {
			return nil, err
		}
		if answers(query, packet[:n]) {
			return packet[:n], nil
		}
	}
}

// answers says whether an answer is one to query.
func answers(query, answer []byte) bool {
	asked, question, err := parseQuestion(query)
	given, repeated, err2 := parseQuestion(answer)
	return err == nil && err2 == nil && given.Response && given.ID == asked.ID &&
		repeated.Type == question.Type && repeated.Class == question.Class && strings.EqualFold(repeated.Name.String(), question.Name.String())
}
