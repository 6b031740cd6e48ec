package member_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/leasehold/leasehold/internal/member"
)

func TestOrdinal(t *testing.T) {
	t.Parallel()
	peers := member.StatefulSetPeers("leasehold", "leasehold", "default", 7070, 2380)
	for name, want := range map[string]int{"leasehold-0": 0, "leasehold-7": 7, "leasehold-63": 63} {
		if got, err := peers.Ordinal(name); err != nil || got != want {
			t.Errorf("Ordinal(%q) = %d, %v; want %d", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", "-0", "leasehold", "leasehold-", "leasehold--1", "leasehold-+1", "leasehold-01", "leasehold-00", "leasehold-64",
		"leasehold-99999999999999999999", "evil-0", "Leasehold-0", " leasehold-0", "leasehold-0 ", "leasehold-0\n", "leasehold-0x1",
		"leasehold-0.evil.com", "leasehold-0/../..", "leasehold-0@evil.com", "leasehold-1_0", "leasehold-٣", "evil.com/leasehold-0",
	} {
		if got, err := peers.Ordinal(name); !errors.Is(err, member.ErrUnknownPod) {
			t.Errorf("Ordinal(%q) = %d, %v; want ErrUnknownPod", name, got, err)
		}
		if url, err := peers.InternalURL(name); err == nil {
			t.Errorf("InternalURL(%q) = %q; want an error", name, url)
		}
	}
}

func TestStatefulSetURLs(t *testing.T) {
	t.Parallel()
	peers := member.StatefulSetPeers("kv", "internal", "prod", 7070, 2380)
	url, err := peers.InternalURL("kv-2")
	if want := "http://kv-2.internal.prod.svc:7070"; err != nil || url != want {
		t.Errorf("InternalURL = %q, %v; want %q", url, err, want)
	}
	if got, want := peers.PeerURL(0), "http://kv-0.internal.prod.svc:2380"; got != want {
		t.Errorf("PeerURL = %q, want %q", got, want)
	}
}

func TestParsePeers(t *testing.T) {
	t.Parallel()
	peers, err := member.ParsePeers("leasehold", "leasehold-1=[::1]:7071:2381, leasehold-0=127.0.0.1:7070:2380")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := peers.PeerURL(0), "http://127.0.0.1:2380"; got != want {
		t.Errorf("PeerURL(0) = %q, want %q", got, want)
	}
	if got, err := peers.InternalURL("leasehold-1"); err != nil || got != "http://[::1]:7071" {
		t.Errorf("InternalURL = %q, %v", got, err)
	}
	if _, err := peers.Ordinal("leasehold-2"); !errors.Is(err, member.ErrUnknownPod) {
		t.Errorf("a pod beyond the list: %v, want ErrUnknownPod", err)
	}
}

func TestParsePeersRefuses(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"":                            "is not NAME=",
		"leasehold-0":                 "is not NAME=",
		"leasehold-0=host:1":          "is not HOST:",
		"leasehold-0=host:1:0":        "is not a port",
		"leasehold-0=host:x:1":        "is not a port",
		"leasehold-0=host:1:65536":    "is not a port",
		"leasehold-0=:1:2":            "no valid host",
		"leasehold-0=a@b:1:2":         "no valid host",
		"leasehold-0=http://host:1:2": "no valid host",
		"leasehold-1=host:1:2":        "the ordinals must be 0 to 0",
		"evil-0=host:1:2":             "not a pod of this set",
		"leasehold-00=host:1:2":       "not a pod of this set",
		"leasehold-0=host:1:2,leasehold-0=host:3:4":                          "named twice",
		"leasehold-0=host:1:2,":                                              "is not NAME=",
		strings.TrimSuffix(strings.Repeat("leasehold-0=host:1:2,", 65), ","): "the most is 64",
	} {
		if _, err := member.ParsePeers("leasehold", list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePeers(%.40q): %v; want %q", list, err, want)
		}
	}
}
