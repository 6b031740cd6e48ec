package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// page is GET /v1/kv as a client reads it.
type page struct {
	Revision string      `json:"revision"`
	Entries  []entryBody `json:"entries"`
	Next     *string     `json:"next"`
}

func (a answer) page() page {
	a.t.Helper()
	var p page
	strictly(a.t, a.is(http.StatusOK).body, &p)
	return p
}

func (p page) keys() string {
	var keys []string
	for _, e := range p.Entries {
		keys = append(keys, e.Key)
	}
	return strings.Join(keys, " ")
}

// leader makes one replica that leads.
func leader(t *testing.T, options ...func(*Config)) *replica {
	t.Helper()
	r := newSet(t).replica("leasehold-0", options...)
	r.lead()
	return r
}

func TestValuesComeBackByteForByte(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	for name, c := range map[string]struct{ value, contentType string }{
		"text":    {"hello", "text/plain; charset=utf-8"},
		"page":    {"<script>alert(1)</script>", "text/html"},
		"json":    {"{\"a\": 1}\n", "application/json"},
		"binary":  {string(everyByte), "application/octet-stream"},
		"nothing": {"", "text/plain"},
		"large":   {strings.Repeat("x", store.MaxValueBytes), "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.put("/v1/kv/"+name, c.value, "Content-Type: "+c.contentType).is(http.StatusOK)
			got := a.get("/v1/kv/" + name).is(http.StatusOK)
			got.holds(c.value).has("Content-Type", c.contentType).has("X-Content-Type-Options", "nosniff")
			head := a.do(http.MethodHead, "/v1/kv/"+name, "").is(http.StatusOK).holds("")
			head.has("Content-Length", fmt.Sprint(len(c.value))).has("ETag", got.etag())
		})
	}
}

func TestAValueWithoutContentTypeIsOctets(t *testing.T) {
	t.Parallel()
	a := leader(t)
	a.put("/v1/kv/a", "x").is(http.StatusOK)
	a.get("/v1/kv/a").is(http.StatusOK).has("Content-Type", "application/octet-stream")
}

func TestAnEntryLivesFromPutToDelete(t *testing.T) {
	t.Parallel()
	a := leader(t)
	a.get("/v1/kv/a").is(http.StatusNotFound)
	a.do(http.MethodHead, "/v1/kv/a", "").is(http.StatusNotFound)
	put := a.put("/v1/kv/a", "one").is(http.StatusOK)
	var body applied
	strictly(t, put.body, &body)
	if !body.Applied || `"`+body.Revision+`"` != put.etag() || body.Revision != put.revision() {
		t.Errorf("the answer is %s under %s at %s", put.body, put.etag(), put.revision())
	}
	a.get("/v1/kv/a").is(http.StatusOK).holds("one").has("ETag", put.etag())
	a.put("/v1/kv/a", "two").is(http.StatusOK)
	a.get("/v1/kv/a").is(http.StatusOK).holds("two")
	a.delete("/v1/kv/a").is(http.StatusNoContent).holds("")
	a.get("/v1/kv/a").is(http.StatusNotFound)
	a.delete("/v1/kv/a").is(http.StatusNoContent)
}

func TestCreateRefusesAKeyThatExists(t *testing.T) {
	t.Parallel()
	a := leader(t)
	a.post("/v1/kv/a", "one").is(http.StatusCreated)
	p := a.post("/v1/kv/a", "two").is(http.StatusConflict).problem()
	if p.Applied != appliedNo {
		t.Errorf("applied is %q", p.Applied)
	}
	a.get("/v1/kv/a").holds("one")
	a.delete("/v1/kv/a").is(http.StatusNoContent)
	a.post("/v1/kv/a", "three").is(http.StatusCreated)
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	a := leader(t)
	old := a.put("/v1/kv/a", "one").etag()
	now := a.put("/v1/kv/a", "two").etag()
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
	}{
		{"PUT", "/v1/kv/a", []string{"If-Match: " + old}, 412},
		{"DELETE", "/v1/kv/a", []string{"If-Match: " + old}, 412},
		{"POST", "/v1/kv/new", []string{"If-Match: " + old}, 400},
		{"POST", "/v1/kv/new", []string{"If-None-Match: *"}, 400},
		{"PUT", "/v1/kv/a?tll=30s", nil, 400},
		{"DELETE", "/v1/kv/a?ttl=30s", nil, 400},
		{"PUT", "/v1/kv/a", []string{"If-None-Match: *"}, 412},
		{"PUT", "/v1/kv/absent", []string{"If-Match: *"}, 412},
		{"DELETE", "/v1/kv/absent", []string{"If-Match: *"}, 412},
		{"PUT", "/v1/kv/a", []string{`If-Match: "5-zzzz"`}, 412},
		{"PUT", "/v1/kv/a", []string{`If-Match: "5"`}, 400},
		{"PUT", "/v1/kv/a", []string{"If-Match: nonsense"}, 400},
		{"PUT", "/v1/kv/a", []string{"If-Match: W/" + now}, 400},
		{"PUT", "/v1/kv/a", []string{"If-Match: " + now + ", " + old}, 400},
		{"PUT", "/v1/kv/a", []string{"If-Match: " + now, "If-None-Match: *"}, 400},
		{"PUT", "/v1/kv/a", []string{"If-Match: " + now, "If-Match: " + old}, 400},
		{"PUT", "/v1/kv/a", []string{"If-None-Match: " + now}, 400},
	} {
		a.do(c.method, c.path, "three", c.headers...).is(c.status)
	}
	a.get("/v1/kv/a").holds("two")
	a.get("/v1/kv/a", "If-None-Match: "+now).is(http.StatusNotModified).holds("").has("ETag", now)
	a.get("/v1/kv/a", "If-None-Match: "+old).is(http.StatusOK)

	three := a.put("/v1/kv/a", "three", "If-Match: "+now).is(http.StatusOK).etag()
	four := a.put("/v1/kv/a", "four", "If-Match: "+strings.Trim(three, `"`)).is(http.StatusOK).etag()
	a.put("/v1/kv/a", "five", "If-Match: *").is(http.StatusOK)
	a.delete("/v1/kv/a", "If-Match: "+four).is(http.StatusPreconditionFailed)
	a.delete("/v1/kv/a", "If-Match: *").is(http.StatusNoContent)
	a.put("/v1/kv/a", "six", "If-None-Match: *").is(http.StatusOK)
}

func TestKeysAreTheClientsOwn(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	for path, key := range map[string]string{
		"plain":                      "plain",
		"with/slashes/in/it":         "with/slashes/in/it",
		"/leading":                   "/leading",
		"two//slashes":               "two//slashes",
		"trailing/":                  "trailing/",
		"a%2Fb":                      "a/b",
		"a%2fc":                      "a/c",
		"with%20space":               "with space",
		"plus+plus":                  "plus+plus",
		"gr%C3%BC%C3%9Fe":            "grüße",
		"grüße-raw":                  "grüße-raw",
		"up/../and/./away":           "up/../and/./away",
		".":                          ".",
		"..":                         "..",
		"%2E%2E%2Fx":                 "../x",
		"semi;colon&amp=1":           "semi;colon&amp=1",
		"question%3Fmark":            "question?mark",
		"per%25cent":                 "per%cent",
		"%252F":                      "%2F",
		"new%0Aline%00nul":           "new\nline\x00nul",
		"v1/kv/v1/kv":                "v1/kv/v1/kv",
		strings.Repeat("k", 512):     strings.Repeat("k", 512),
		strings.Repeat("%C3%BC", 12): strings.Repeat("ü", 12),
	} {
		b.put("/v1/kv/"+path, key).is(http.StatusOK).has(headerForwardedBy, b.pod)
		a.get("/v1/kv/" + path).is(http.StatusOK).holds(key)
		found := a.get("/v1/kv?limit=1&prefix=" + url.QueryEscape(key)).page()
		if len(found.Entries) == 0 || found.Entries[0].Key != key {
			t.Errorf("%s is stored under another key than %q: %+v", path, key, found)
		}
		b.delete("/v1/kv/" + path).is(http.StatusNoContent)
	}
}

func TestBadKeys(t *testing.T) {
	t.Parallel()
	a := leader(t)
	for path, why := range map[string]string{
		"":                            "empty",
		strings.Repeat("k", 513):      "513 bytes",
		strings.Repeat("%C3%BC", 257): "514 bytes",
		"%FF%FE":                      "UTF-8",
	} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			a.do(method, "/v1/kv/"+path, "").is(http.StatusBadRequest).says(why)
		}
	}
}

func TestTimeToLive(t *testing.T) {
	t.Parallel()
	a := leader(t)
	before := time.Now()
	a.put("/v1/kv/a?ttl=1h30m", "x").is(http.StatusOK)
	expires, err := time.Parse(time.RFC3339Nano, a.get("/v1/kv/a").header.Get(headerExpires))
	if err != nil || expires.Before(before.Add(89*time.Minute)) || expires.After(time.Now().Add(90*time.Minute)) {
		t.Errorf("it expires at %s, %v", expires, err)
	}
	if listed := a.get("/v1/kv").page().Entries[0].ExpiresAt; listed == nil || !listed.Equal(expires) {
		t.Errorf("it is listed as expiring at %v", listed)
	}
	a.put("/v1/kv/a", "x").is(http.StatusOK)
	a.get("/v1/kv/a").has(headerExpires, "")
	for _, bad := range []string{"0s", "-1s", "30", "soon", "1us", "87601h", "30s%20"} {
		a.put("/v1/kv/a?ttl="+bad, "y").is(http.StatusBadRequest).says("time to live")
		a.post("/v1/kv/b?ttl="+bad, "y").is(http.StatusBadRequest)
	}
	a.get("/v1/kv/a").holds("x")
}

func TestReadsOfOldRevisions(t *testing.T) {
	t.Parallel()
	a := leader(t)
	one := a.put("/v1/kv/a", "one").revision()
	a.put("/v1/kv/a", "two")
	gone := a.delete("/v1/kv/a").revision()
	a.get("/v1/kv/a?revision="+one).is(http.StatusOK).holds("one").has("ETag", `"`+one+`"`)
	a.get("/v1/kv/a?revision=" + gone).is(http.StatusNotFound)
	if keys := a.get("/v1/kv?revision=" + one).page().keys(); keys != "a" {
		t.Errorf("the old listing has %q", keys)
	}
	tag := one[strings.Index(one, "-"):]
	for _, path := range []string{"/v1/kv/a", "/v1/kv"} {
		for _, bad := range []string{"x", "5", "-5" + tag, "0" + tag, "99999999999999999999" + tag, "5-zzzz", "900000000" + tag} {
			a.get(path + "?revision=" + bad).is(http.StatusBadRequest)
		}
	}
}

func TestConsistency(t *testing.T) {
	t.Parallel()
	f := newFakeStore()
	f.entries["a"] = store.Entry{Key: "a", Revision: 3}
	r := newSet(t).on("leasehold-0", f)
	r.get("/v1/kv/a").is(http.StatusOK)
	r.get("/v1/kv/a?consistency=local").is(http.StatusOK)
	r.get("/v1/kv/a?consistency=linearizable").is(http.StatusOK)
	r.get("/v1/kv/a?revision=3-fake", "Leasehold-Min-Revision: 5-fake").is(http.StatusOK)
	r.get("/v1/kv?consistency=linearizable").is(http.StatusServiceUnavailable).has("Retry-After", "1")
	want := []store.ReadOptions{{}, {}, {Linearizable: true}, {Revision: 3, MinRevision: 5}, {Linearizable: true}}
	if fmt.Sprint(f.reads) != fmt.Sprint(want) {
		t.Errorf("the store was asked %+v; want %+v", f.reads, want)
	}
	r.get("/v1/kv/a?consistency=strong").is(http.StatusBadRequest).says(`"strong"`)
	r.get("/v1/kv/a", "Leasehold-Min-Revision: 5-other").is(http.StatusBadRequest).says("another cluster")
	r.get("/v1/kv/a", "Leasehold-Min-Revision: five").is(http.StatusBadRequest)
}

func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	a, b, c := trio(t)
	a.lead()
	b.knows(a.pod)
	revision := b.put("/v1/kv/a", "x").is(http.StatusOK).revision()
	c.get("/v1/kv/a", "Leasehold-Min-Revision: "+revision).is(http.StatusOK).holds("x")
	c.get("/v1/kv?consistency=linearizable").is(http.StatusOK)
	future := "900000000" + revision[strings.Index(revision, "-"):]
	c.get("/v1/kv/a", "Leasehold-Min-Revision: "+future).is(http.StatusBadRequest).says("not reached")
}

func TestPages(t *testing.T) {
	t.Parallel()
	a := leader(t)
	for _, key := range []string{"b/1", "b/2", "b/3", "a", "c"} {
		a.put("/v1/kv/"+url.PathEscape(key), key).is(http.StatusOK)
	}
	all := a.get("/v1/kv").page()
	if all.keys() != "a b/1 b/2 b/3 c" || all.Next != nil {
		t.Errorf("the listing is %+v", all)
	}
	first := a.get("/v1/kv?prefix=b/&limit=2").page()
	if first.keys() != "b/1 b/2" || first.Next == nil || *first.Next != "b/2" {
		t.Fatalf("the first page is %+v", first)
	}
	a.put("/v1/kv/b%2F4", "too late").is(http.StatusOK)
	second := a.get("/v1/kv?prefix=b/&limit=2&after=" + *first.Next + "&revision=" + first.Revision).page()
	if second.keys() != "b/3" || second.Next != nil || second.Revision != first.Revision {
		t.Errorf("the second page is %+v, after one at %s", second, first.Revision)
	}
	if none := a.get("/v1/kv?prefix=nothing").body; !strings.Contains(none, `"entries":[],"next":null`) {
		t.Errorf("an empty page is %s", none)
	}
	if rest := a.get("/v1/kv?after=b/3").page().keys(); rest != "b/4 c" {
		t.Errorf("after b/3 come %q", rest)
	}
	for _, bad := range []string{"0", "-1", "1001", "many", "1.5"} {
		a.get("/v1/kv?limit=" + bad).is(http.StatusBadRequest).says("between 1 and 1000")
	}
}

func TestAPageSaysHowValuesAreEncoded(t *testing.T) {
	t.Parallel()
	a := leader(t)
	a.put("/v1/kv/binary", "\xff\x00", "Content-Type: image/png").is(http.StatusOK)
	revision := a.put("/v1/kv/text", "<ü>\n", "Content-Type: text/plain").revision()
	got := a.get("/v1/kv").is(http.StatusOK).has("Content-Type", "application/json").page()
	want := `{"key":"binary","value":"/wA=","encoding":"base64","content_type":"image/png","revision":"` + got.Entries[0].Revision + `","expires_at":null}` +
		`{"key":"text","value":"\u003cü\u003e\n","encoding":"utf-8","content_type":"text/plain","revision":"` + revision + `","expires_at":null}`
	binary, _ := json.Marshal(got.Entries[0])
	text, _ := json.Marshal(got.Entries[1])
	if string(binary)+string(text) != want {
		t.Errorf("the entries are\n%s%s; want\n%s", binary, text, want)
	}
}

func TestCompactedHistoryIsGone(t *testing.T) {
	t.Parallel()
	a := leader(t)
	old := a.put("/v1/kv/a", "one").revision()
	now := a.put("/v1/kv/a", "two")
	a.compact(now)
	a.get("/v1/kv/a?revision=" + old).is(http.StatusGone)
	a.get("/v1/kv?revision=" + old).is(http.StatusGone)
	a.get("/v1/kv/a").is(http.StatusOK).holds("two")
}

// compact drops the history before the revision of an answer.
func (r *replica) compact(at answer) {
	r.t.Helper()
	revision, err := r.store.ParseRevision(at.revision())
	if err == nil {
		err = r.store.Compact(testContext(r.t), revision)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}
