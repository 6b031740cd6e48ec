package api

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/leasehold/leasehold/internal/store"
)

// What goes over a link has the format of Protocol Buffers' messages: fields with numbers, of which one that is not known is left out, so that
// replicas of two versions understand each other. A number never changes its meaning.

var errMessage = errors.New("malformed message")

// linkedWrite is a write on its way over a link: what the leader needs of the request.
type linkedWrite struct {
	method, uri                       string // the latter with its query, as the client has sent it
	contentType, ifMatch, ifNoneMatch string
	key                               string
	epoch                             uint64
	deadline                          time.Time
	body                              []byte
}

func (w linkedWrite) encode() []byte {
	m := make(message, 0, 128+len(w.uri)+len(w.contentType)+len(w.key)+len(w.body))
	for i, text := range []string{w.method, w.uri, w.contentType, w.ifMatch, w.ifNoneMatch, w.key} {
		m.text(protowire.Number(i+1), text)
	}
	m.number(7, w.epoch)
	m.number(8, uint64(w.deadline.UnixMilli())) //nolint:gosec // back again where it is read
	return protowire.AppendBytes(protowire.AppendTag(m, 9, protowire.BytesType), w.body)
}

func decodeLinkedWrite(b []byte) (w linkedWrite, err error) {
	err = fields(b, func(field protowire.Number, number uint64, text []byte) {
		switch field {
		case 1:
			w.method = string(text)
		case 2:
			w.uri = string(text)
		case 3:
			w.contentType = string(text)
		case 4:
			w.ifMatch = string(text)
		case 5:
			w.ifNoneMatch = string(text)
		case 6:
			w.key = string(text)
		case 7:
			w.epoch = number
		case 8:
			w.deadline = time.UnixMilli(int64(number)) //nolint:gosec // as it was written
		case 9:
			w.body = text
		}
	})
	return w, err
}

// request is the client's, as far as it decides what is written.
func (w linkedWrite) request() (*http.Request, error) {
	u, err := url.ParseRequestURI(w.uri)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Method: w.method, URL: u, Header: make(http.Header, 3)}
	for name, value := range map[string]string{"Content-Type": w.contentType, "If-Match": w.ifMatch, "If-None-Match": w.ifNoneMatch} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return r, nil
}

// linkedOutcome is what comes back: what became of the write, but not the answer to its client, which the replica makes that has the client.
type linkedOutcome struct {
	result  linkedResult
	outcome store.Outcome // where it was decided
	leader  hint          // else
}

type linkedResult uint64

const (
	linkedUnknown linkedResult = iota // nobody knows what became of it
	linkedDecided
	linkedNotLeading
	linkedAlone // refused, for a reason that the leader is to be asked for over HTTP
)

func (o linkedOutcome) encode() []byte {
	m := make(message, 0, 64)
	m.number(1, uint64(o.result))
	m.number(2, protowire.EncodeBool(o.outcome.Applied))
	m.number(3, uint64(o.outcome.Revision)) //nolint:gosec // never negative
	m.number(4, o.outcome.Epoch)
	m.number(5, protowire.EncodeBool(o.outcome.Replayed))
	m.text(6, o.leader.pod)
	m.number(7, o.leader.epoch)
	return m
}

func decodeLinkedOutcome(b []byte) (o linkedOutcome, err error) {
	err = fields(b, func(field protowire.Number, number uint64, text []byte) {
		switch field {
		case 1:
			o.result = linkedResult(number)
		case 2:
			o.outcome.Applied = protowire.DecodeBool(number)
		case 3:
			o.outcome.Revision = int64(number) //nolint:gosec // as it was written
		case 4:
			o.outcome.Epoch = number
		case 5:
			o.outcome.Replayed = protowire.DecodeBool(number)
		case 6:
			o.leader.pod = string(text)
		case 7:
			o.leader.epoch = number
		}
	})
	return o, err
}

type message []byte

func (m *message) number(field protowire.Number, n uint64) {
	if n != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), n)
	}
}

func (m *message) text(field protowire.Number, text string) {
	if text != "" {
		*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), text)
	}
}

// fields hands over the fields of a message, each with its number or its text.
func fields(b []byte, take func(field protowire.Number, number uint64, text []byte)) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		var number uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		take(field, number, text)
	}
	return nil
}
