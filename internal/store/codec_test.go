package store

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEntriesSurviveTheirEncoding(t *testing.T) {
	t.Parallel()
	for _, e := range []Entry{
		{},
		{Value: []byte("v")},
		{Value: []byte{}, ContentType: "text/plain; charset=utf-8"},
		{Value: []byte("\x00\x01\xff"), ContentType: strings.Repeat("x", 300), Expires: time.UnixMilli(1)},
		{Value: bytes.Repeat([]byte("v"), MaxValueBytes), Expires: time.UnixMilli(4_000_000_000_000)},
	} {
		e.Key, e.Revision = "k", 7
		got, err := decodeEntry("k", e.encode(), 7)
		if err != nil || !sameEntry(got, e) {
			t.Errorf("%+v, %v; want %+v", got, err, e)
		}
	}
}

func sameEntry(a, b Entry) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && a.ContentType == b.ContentType &&
		a.Expires.Equal(b.Expires) && a.Revision == b.Revision
}

func TestMalformedEntriesAreRefused(t *testing.T) {
	t.Parallel()
	whole := Entry{ContentType: "text/plain", Expires: time.UnixMilli(1_900_000_000_000)}.encode()
	for n := range whole { // cut anywhere
		if _, err := decodeEntry("k", whole[:n], 1); !errors.Is(err, errEntry) {
			t.Errorf("%q: %v", whole[:n], err)
		}
	}
	for _, bad := range []string{"\x02\x00\x00", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if _, err := decodeEntry("k", []byte(bad), 1); !errors.Is(err, errEntry) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte{})
	f.Add(Entry{Value: []byte("v"), ContentType: "text/plain", Expires: time.UnixMilli(1_900_000_000_000)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry("k", b, 1)
		if err != nil {
			return
		}
		if got, err := decodeEntry("k", e.encode(), 1); err != nil || !sameEntry(got, e) {
			t.Errorf("%+v, %v; want %+v", got, err, e)
		}
	})
}

func TestJournalRecordsSurviveTheirEncoding(t *testing.T) {
	t.Parallel()
	want := []decision{
		{id: NewID(), hash: Hash("1"), applied: true},
		{id: NewID(), hash: Hash("2"), client: true},
		{id: ClientID("3"), hash: Hash("3"), applied: true, client: true},
		{},
	}
	got, err := decodeDecisions(encodeDecisions(want))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %+v; want %+v", i, got[i], want[i])
		}
	}
	if ds, err := decodeDecisions(nil); err != nil || len(ds) != 0 { // a claim's
		t.Errorf("%v, %v", ds, err)
	}
	if _, err := decodeDecisions(make([]byte, decisionBytes+1)); !errors.Is(err, errJournal) {
		t.Error(err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeDecisions([]decision{{id: ClientID("k"), hash: Hash("h"), applied: true, client: true}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ds, err := decodeDecisions(b)
		if err != nil {
			return
		}
		again, err := decodeDecisions(encodeDecisions(ds))
		if err != nil || len(again) != len(ds) {
			t.Fatalf("%v, %v; want %v", again, err, ds)
		}
		for i := range ds {
			if again[i] != ds[i] {
				t.Errorf("%d: %v; want %v", i, again[i], ds[i])
			}
		}
	})
}

func TestPositionsAndExpiryKeys(t *testing.T) {
	t.Parallel()
	for _, at := range []position{{}, {1, 2}, {1<<63 + 1, 1 << 62}} {
		if got, ok := journalPosition(at.journalKey()); !ok || got != at {
			t.Errorf("%v, %t; want %v", got, ok, at)
		}
	}
	for _, bad := range []string{headKey, leaderKey, journalPrefix, journalPrefix + "1", journalPrefix + "1/x", journalPrefix + "-1/2"} {
		if at, ok := journalPosition(bad); ok {
			t.Errorf("%s: %v", bad, at)
		}
	}
	early, late := time.UnixMilli(999_999_999_999), time.UnixMilli(1_000_000_000_000)
	if expiryKey(early, "z") >= expiryKey(late, "a") {
		t.Error("the index is not in the order of time")
	}
	for _, key := range []string{"k", "a/b/c", "/", "ü\x00"} {
		at, got, err := parseExpiryKey(expiryKey(late, key))
		if err != nil || got != key || !at.Equal(late) {
			t.Errorf("%q: %q at %s, %v", key, got, at, err)
		}
	}
	for _, bad := range []string{expiryPrefix, expiryPrefix + "12", expiryPrefix + "x/k"} {
		if _, _, err := parseExpiryKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestKeysThatClientsMayUse(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"k", "a/b", " ", "ü", strings.Repeat("x", MaxKeyBytes)} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"", "\xff", strings.Repeat("x", MaxKeyBytes+1)} {
		if err := CheckKey(key); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestFingerprintsTellTheirPartsApart(t *testing.T) {
	t.Parallel()
	seen := map[[16]byte]bool{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"", "ab"}, {"1:a"}, {"1", "a"}} {
		h := Hash(parts...)
		if seen[h] {
			t.Errorf("%q has the fingerprint of another", parts)
		}
		seen[h] = true
	}
	one, two := NewID(), NewID()
	if ClientID("k") == ID(Hash("k")) || one == two {
		t.Error("IDs collide")
	}
}
