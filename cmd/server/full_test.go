package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A store that is full takes deletions, keeps its leader through crashes and compactions, and takes writes again
// once there is room.
func TestFullStoreKeepsItsLeader(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startClusterWith(t, 1, "--quota-bytes", fmt.Sprint(128*mebibyte))
	n := c.nodes[0]
	stored := fill(t, n, 0)
	compact := func() { n.must(http.StatusOK, "POST", "/v1/jobs/compact/run", "") }
	for range 3 {
		compact()
		stored = fill(t, n, stored) // what was overwritten long enough ago may have made a little room
	}
	n.shutdown()
	n.start()
	c.waitReady()
	c.leader()
	c.hasHistory("graceful", "first")
	n.must(http.StatusConflict, "POST", "/v1/leader/transfer", "") // there is nobody else, and that is all that is wrong
	for i := range stored {
		n.must(http.StatusNoContent, "DELETE", fmt.Sprintf("/v1/kv/filling/%d", i), "")
	}
	eventually(t, func() error {
		compact() // it keeps ten seconds of history
		r, err := n.do("PUT", "/v1/kv/more", strings.Repeat("x", mebibyte))
		if err != nil || r.status != http.StatusOK {
			size, inUse := n.running().member.Size()
			return fmt.Errorf("%w %d %s with %d of %d bytes in use", err, r.status, r.body, inUse, size)
		}
		return nil
	})
}

// fill writes keys from the number first on until the store is full, and returns how many keys there are.
func fill(t *testing.T, n *node, first int) int {
	t.Helper()
	for i := first; i < 128; i++ {
		r, err := n.do("PUT", fmt.Sprintf("/v1/kv/filling/%d", i), strings.Repeat("x", mebibyte))
		switch {
		case err == nil && r.status == http.StatusInsufficientStorage:
			return i
		case err != nil || r.status != http.StatusOK:
			t.Fatalf("write %d: %v %d %s", i, err, r.status, r.body)
		}
	}
	t.Fatal("128 MiB of values did not fill a store of 128 MiB")
	return 0
}
