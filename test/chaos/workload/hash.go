package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// hash is the hash of what each member holds at a revision, which newest gives. It is repeated, at a newer one, until
// all of them answer, and begin at the same compaction, or ctx is done.
func hash(ctx context.Context, members []*clientv3.Client, newest func() int64) ([]check.Hash, error) {
	for {
		hashes, err := hashOnce(ctx, members, newest())
		if err == nil {
			return hashes, nil
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return hashes, fmt.Errorf("hash the members' data: %w", err)
		}
	}
}

var errCompacting = errors.New("the members are not done with the same compaction")

func hashOnce(ctx context.Context, members []*clientv3.Client, revision int64) (hashes []check.Hash, err error) {
	ctx, cancel := context.WithTimeout(ctx, finalAttempt)
	defer cancel()
	for i, m := range members {
		endpoint := append(m.Endpoints(), "")[0] // a client in the member's process has none
		resp, err := m.HashKV(ctx, endpoint, revision)
		if err != nil {
			return hashes, fmt.Errorf("member %d: %w", i, err)
		}
		name := fmt.Sprintf("member %d at %q", i, endpoint)
		hashes = append(hashes, check.Hash{Member: name, Revision: revision, Compacted: resp.CompactRevision, Hash: resp.Hash})
	}
	if slices.ContainsFunc(hashes, func(h check.Hash) bool { return h.Compacted != hashes[0].Compacted }) {
		err = errCompacting
	}
	return hashes, err
}
