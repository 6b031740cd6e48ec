package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/leasehold/leasehold/internal/store"
)

func TestATransactionAppliesAllOrNothing(t *testing.T) {
	t.Parallel()
	a, b, _ := trio(t)
	a.lead()
	b.knows(a.pod)
	old := a.put("/v1/kv/a", "one").revision()
	now := a.put("/v1/kv/a", "two").revision()
	a.put("/v1/kv/b", "there").is(http.StatusOK)

	refused := b.post("/v1/kv", `{"if": [{"key": "a", "revision": "`+old+`"}], "then": [{"put": {"key": "c", "value": "x"}}]}`)
	if p := refused.is(http.StatusPreconditionFailed).problem(); p.Applied != appliedNo {
		t.Errorf("applied is %q", p.Applied)
	}
	b.post("/v1/kv", `{"if": [{"key": "a", "exists": false}], "then": [{"put": {"key": "c", "value": "x"}}]}`).is(412)
	b.post("/v1/kv", `{"if": [{"key": "a", "revision": "5-zzzz"}], "then": [{"put": {"key": "c", "value": "x"}}]}`).is(412)
	a.get("/v1/kv/c").is(http.StatusNotFound)

	done := b.post("/v1/kv", `{
		"if": [{"key": "a", "revision": "`+now+`"}, {"key": "b", "exists": true}, {"key": "c", "exists": false}],
		"then": [
			{"put": {"key": "c", "value": "text", "content_type": "text/plain", "ttl": "1h"}},
			{"put": {"key": "d", "value": "/wA=", "encoding": "base64"}},
			{"delete": {"key": "b"}}
		]}`).is(http.StatusOK)
	var body applied
	strictly(t, done.body, &body)
	if !body.Applied || body.Revision != done.revision() {
		t.Errorf("the answer is %s at %s", done.body, done.revision())
	}
	c := a.get("/v1/kv/c").is(http.StatusOK).holds("text").has("Content-Type", "text/plain").has("ETag", done.etag())
	if c.header.Get(headerExpires) == "" {
		t.Error("c does not expire")
	}
	a.get("/v1/kv/d").is(http.StatusOK).holds("\xff\x00").has("ETag", done.etag())
	a.get("/v1/kv/b").is(http.StatusNotFound)
}

func TestBadTransactions(t *testing.T) {
	t.Parallel()
	f := leadingAs("leasehold-0", 1)
	r := newSet(t).on("leasehold-0", f)
	put := func(fields string) string { return `{"then": [{"put": {` + fields + `}}]}` }
	for body, why := range map[string]string{
		``:               "not the JSON",
		`{`:              "not the JSON",
		`[]`:             "not the JSON",
		`{"then": {}}`:   "not the JSON",
		`null`:           `"then" is empty`,
		`{}`:             `"then" is empty`,
		`{"then": []}`:   `"then" is empty`,
		`{"if": []}`:     `"then" is empty`,
		`{"when": []}`:   "when",
		`{"then": [{}]}`: "either",
		`{"then": [{"put": {"key": "a", "value": "x"}, "delete": {"key": "b"}}]}`:                          "either",
		`{"then": [{"delete": null}]}`:                                                                     "either",
		`{"then": [{"delete": {"key": "a", "value": "x"}}]}`:                                               "value",
		`{"then": [{"delete": {"key": "a"}}]} {}`:                                                          "more than one",
		`{"then": [{"delete": {"key": "a"}}]}]`:                                                            "more than one",
		`{"then": [{"delete": {"key": ""}}]}`:                                                              "empty",
		`{"then": [{"delete": {}}]}`:                                                                       "empty",
		`{"then": [{"delete": {"key": 7}}]}`:                                                               "not the JSON",
		`{"then": [{"delete": {"key": "a"}}, {"delete": {"key": "a"}}]}`:                                   "named twice",
		`{"then": [{"delete": {"key": "a"}}, {"put": {"key": "a", "value": "x"}}]}`:                        "named twice",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a"}]}`:                                       "Condition 1",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"exists": true}]}`:                                   "empty",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a", "revision": 5}]}`:                        "not the JSON",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a", "revision": ""}]}`:                       "revision",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a", "revision": "x-y"}]}`:                    "revision",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a", "exists": "yes"}]}`:                      "not the JSON",
		`{"then": [{"delete": {"key": "a"}}], "if": [{"key": "a", "exists": true, "revision": "5-fake"}]}`: "Condition 1",
		put(`"key": "a", "value": "!", "encoding": "base64"`):                                              "base64",
		put(`"key": "a", "value": "x", "encoding": "hex"`):                                                 `"hex"`,
		put(`"key": "a", "value": 5`):                                                                      "not the JSON",
		put(`"key": "a", "value": "x", "ttl": "soon"`):                                                     "time to live",
		put(`"key": "a", "value": "x", "ttl": 30`):                                                         "not the JSON",
		put(`"key": "a", "value": "x", "content_type": "text/plain\r\nX-Evil: 1"`):                         "content type",
		put(`"key": "a", "value": "` + "\xff" + `"`):                                                       "UTF-8",
		put(`"key": "` + strings.Repeat("k", 513) + `", "value": "x"`):                                     "513 bytes",
	} {
		r.post("/v1/kv", body).is(http.StatusBadRequest).says(why)
	}
	if n, _ := f.written(); n != 0 {
		t.Errorf("%d bad transactions have reached the store", n)
	}
}

func TestATransactionOfTooManyOperations(t *testing.T) {
	t.Parallel()
	a := leader(t)
	var operations []string
	for i := range 2100 {
		operations = append(operations, fmt.Sprintf(`{"delete": {"key": "%d"}}`, i))
	}
	a.post("/v1/kv", `{"then": [`+strings.Join(operations, ",")+`]}`).is(http.StatusBadRequest).says("2100 operations")
}

func TestTooLargeBodies(t *testing.T) {
	t.Parallel()
	a := leader(t)
	large := strings.Repeat("x", store.MaxValueBytes)
	a.put("/v1/kv/a", large).is(http.StatusOK)
	for _, path := range []string{"/v1/kv/a", "/v1/kv"} {
		a.post(path, large+"x").is(http.StatusRequestEntityTooLarge).says("1048576 bytes")
	}
	a.put("/v1/kv/a", large+"x").is(http.StatusRequestEntityTooLarge)
	a.get("/v1/kv/a").holds(large)
}
