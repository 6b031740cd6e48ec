package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/store"
)

// fuzzed is a Server that decodes, and does nothing with it.
func fuzzed() *Server {
	st := newFakeStore()
	return New(Config{Store: st, Elections: []Election{{Name: store.Writes, Leader: st.Leader}}, Jobs: &fakeJobs{}, Limits: Limits{}, Connections: func() int64 { return 0 }, Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
}

// isExplained expects an error of decoding to be the client's doing, and to be put into a sentence.
func isExplained(t *testing.T, err error) {
	t.Helper()
	p := problemOf(err)
	if p.Status < 400 || p.Status >= 500 || p.Title == "" || !isSentence(p.Detail) {
		t.Errorf("%v is answered %+v", err, p)
	}
}

func FuzzPathKey(f *testing.F) {
	for _, seed := range []string{"a", "a/b", "a%2Fb", "a%2fb", "%", "%zz", "ü", "%C3%BC", "%FF", "..", "/", "a b", "a+b", "%00", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/v1/kv/" + path)
		if err != nil {
			return // net/http refuses it
		}
		key, err := pathKey(&http.Request{URL: u})
		if err != nil {
			isExplained(t, err)
			return
		}
		if key == "" || len(key) > store.MaxKeyBytes || !utf8.ValidString(key) {
			t.Errorf("%q is taken for the key %q", path, key)
		}
		// What is sent on to the leader is read there as the same key.
		again, err := url.ParseRequestURI(u.EscapedPath())
		if err != nil {
			t.Fatal(err)
		}
		if k, err := pathKey(&http.Request{URL: again}); k != key || err != nil {
			t.Errorf("%q is %q here and %q, %v at the leader", path, key, k, err)
		}
	})
}

func FuzzTransaction(f *testing.F) {
	for _, seed := range []string{
		`{"then":[{"put":{"key":"a","value":"x"}}]}`,
		`{"if":[{"key":"a","revision":"1-fake"}],"then":[{"delete":{"key":"a"}}]}`,
		`{"then":[{"put":{"key":"a","value":"/w==","encoding":"base64","ttl":"1s","content_type":"a/b"}}]}`,
		`{"then":[{}]}`, `{"then":[null]}`, `null`, `[]`, `{}{}`, "\xff", `{"then":[{"put":{"key":"\ud800"}}]}`,
	} {
		f.Add(seed)
	}
	s := fuzzed()
	f.Fuzz(func(t *testing.T, body string) {
		c, err := s.decodeTransaction(httptest.NewRequest(http.MethodPost, "/v1/kv", http.NoBody), []byte(body))
		if err != nil {
			isExplained(t, err)
			return
		}
		if w, ok := c.(writeCommand); ok {
			w.fill(&store.Write{}, time.Now())
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("*", "", "key", "30s", "1-fake")
	f.Add(`"1-fake"`, "", "leasehold-00112233445566778899aabbccddeeff", "", "")
	f.Add("", "*", "leasehold-0", "-1s", "1-other")
	f.Add(`W/"1-fake"`, `"1-fake"`, " ", "1e9h", "-")
	s := fuzzed()
	f.Fuzz(func(t *testing.T, match, none, key, ttl, revision string) {
		r := httptest.NewRequest(http.MethodPut, "/v1/kv/a", http.NoBody)
		r.URL.RawQuery = url.Values{"ttl": {ttl}, "revision": {revision}}.Encode()
		for name, value := range map[string]string{"If-Match": match, "If-None-Match": none, headerMinRevision: revision, "Last-Event-ID": revision} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if _, err := s.decodePut(r, nil); err != nil {
			isExplained(t, err)
		}
		if _, err := s.readOptions(r); err != nil {
			isExplained(t, err)
		}
		if _, err := s.resumeAfter(r); err != nil {
			isExplained(t, err)
		}
		id, client, sent, err := idempotencyKey(key)
		if err != nil {
			isExplained(t, err)
			return
		}
		// What is sent on to the leader, or back by the client, stands for the same write.
		if again, c, _, err := idempotencyKey(sent); again != id || c != client || err != nil {
			t.Errorf("the key %q is sent on as %q, which stands for another write", key, sent)
		}
	})
}
