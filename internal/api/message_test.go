package api

import (
	"bytes"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/leasehold/leasehold/internal/store"
)

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	w := linkedWrite{
		method: http.MethodPut, uri: "/v1/kv/a%2Fb?ttl=1h", contentType: "text/css", ifMatch: `"1-a"`, ifNoneMatch: "*", key: "k",
		epoch: 1 << 63, deadline: time.UnixMilli(1_800_000_000_000), body: []byte{0, 255},
	}
	if got, err := decodeLinkedWrite(w.encode()); err != nil || !reflect.DeepEqual(got, w) {
		t.Errorf("%+v comes back as %+v, %v", w, got, err)
	}
	for _, o := range []linkedOutcome{
		{},
		{result: linkedDecided, outcome: store.Outcome{Applied: true, Revision: 1 << 62, Epoch: 7, Replayed: true}},
		{result: linkedNotLeading, leader: hint{"leasehold-0", 8}},
	} {
		if got, err := decodeLinkedOutcome(o.encode()); err != nil || got != o {
			t.Errorf("%+v comes back as %+v, %v", o, got, err)
		}
	}
}

func TestFieldsOfANewerVersionAreLeftOut(t *testing.T) {
	t.Parallel()
	newer := linkedOutcome{result: linkedAlone}.encode()
	newer = protowire.AppendFixed64(protowire.AppendTag(newer, 99, protowire.Fixed64Type), 1)
	newer = protowire.AppendString(protowire.AppendTag(newer, 100, protowire.BytesType), "more")
	if got, err := decodeLinkedOutcome(newer); err != nil || got.result != linkedAlone {
		t.Errorf("it is read as %+v, %v", got, err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(linkedWrite{method: http.MethodPut, uri: "/v1/kv/a", body: []byte("x")}.encode())
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, sent []byte) {
		if w, err := decodeLinkedWrite(sent); err == nil {
			if again, err := decodeLinkedWrite(w.encode()); err != nil || !bytes.Equal(again.encode(), w.encode()) {
				t.Errorf("%+v comes back as %+v, %v", w, again, err)
			}
		}
		_, _ = decodeLinkedOutcome(sent)
	})
}

// FuzzLinkedURI sends on what a client may ask for: the leader is to read the same in it.
func FuzzLinkedURI(f *testing.F) {
	for _, seed := range []string{"/v1/kv/a", "/v1/kv//a", "/v1/kv/a%2fb?ttl=1h", "/v1/kv/ü#?", "//a", "http://host/v1/kv/a", "/v1/kv/a?", "/v1/kv/a?ttl=1h#x", "*"} {
		f.Add(seed)
	}
	s := fuzzed()
	s.cfg.InternalURL = func(string) (string, error) { return "http://leader:7070", nil }
	rt := newRouter(s, Election{Name: store.Writes})
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil || !strings.HasPrefix(u.Path, "/v1/kv") {
			return // net/http refuses it, or there is nothing to write at it
		}
		r, err := linkedWrite{method: http.MethodPut, uri: u.RequestURI()}.request()
		if err != nil {
			t.Fatal(err)
		}
		own := &http.Request{Method: http.MethodPut, URL: u, Header: http.Header{}}
		if fingerprint(r, nil) != fingerprint(own, nil) {
			t.Errorf("%q is %q at the leader, over a link", uri, r.URL)
		}
		alone, err := rt.forwardRequest(t.Context(), submission{request: own}, target{})
		if err != nil {
			t.Fatal(err)
		}
		alone.URL, err = url.ParseRequestURI(alone.URL.RequestURI())
		if err != nil || fingerprint(alone, nil) != fingerprint(own, nil) {
			t.Errorf("%q is %q at the leader, over HTTP: %v", uri, alone.URL, err)
		}
	})
}
