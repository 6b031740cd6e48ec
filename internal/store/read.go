package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// ReadOptions say how fresh or how old a read is to be.
type ReadOptions struct {
	// Linearizable has a majority confirm that nothing newer exists. Otherwise the read is local.
	Linearizable bool
	// Revision reads the state as it was then; 0 means now.
	Revision int64
	// MinRevision has the read wait until this replica has reached it.
	MinRevision int64
}

const (
	// minRevisionWait is how long a read waits for its MinRevision before it asks the majority instead.
	minRevisionWait = 2 * time.Second
	minRevisionPoll = 10 * time.Millisecond
	// maxPageBytes bounds a page.
	maxPageBytes = 4 << 20
	// Values may be large, so a page begins with few and asks for more while they are small.
	firstPortion = 4
	pagePortion  = 16
)

// Get returns the entry of key and the revision of the store at which it was read. Errors: ErrNotFound (with
// the revision), ErrCompacted, ErrFutureRevision, or that of a store that did not answer until ctx was done.
func (s *Store) Get(ctx context.Context, key string, o ReadOptions) (Entry, int64, error) {
	resp, err := s.read(ctx, entryPrefix+key, o)
	if err != nil {
		return Entry{}, 0, err
	}
	at := cmp.Or(o.Revision, resp.Header.Revision)
	if len(resp.Kvs) == 0 {
		return Entry{}, at, ErrNotFound
	}
	e, err := decodeEntry(key, resp.Kvs[0].Value, resp.Kvs[0].ModRevision)
	return e, at, err
}

// Page is a part of a listing.
type Page struct {
	Entries []Entry
	// Revision is the one at which the page was read; the next page read at it continues the same state.
	Revision int64
	// Next is the last key of the page if more follow, else "".
	Next string
}

// List returns the entries whose keys begin with prefix and come after the key after, in order: at most limit
// of them (which is to be positive), and at most about 4 MiB. Errors as Get's, without ErrNotFound.
func (s *Store) List(ctx context.Context, prefix, after string, limit int, o ReadOptions) (Page, error) {
	var page Page
	from, end := entryPrefix+prefix, prefixEnd(entryPrefix+prefix)
	if after != "" {
		from = min(max(from, entryPrefix+after+"\x00"), end)
	}
	for size, portion := 0, firstPortion; ; portion = min(2*portion, pagePortion) {
		portion = min(portion, limit-len(page.Entries))
		resp, err := s.read(ctx, from, o, clientv3.WithRange(end), clientv3.WithLimit(int64(portion)))
		if err != nil {
			return Page{}, err
		}
		if page.Revision == 0 {
			page.Revision = cmp.Or(o.Revision, resp.Header.Revision)
			o = ReadOptions{Revision: page.Revision} // the rest of the page from the same state
		}
		taken, bytes, err := page.add(resp.Kvs, maxPageBytes-size)
		if err != nil {
			return Page{}, err
		}
		if size += bytes; taken == len(resp.Kvs) && !resp.More {
			return page, nil
		}
		last := page.Entries[len(page.Entries)-1].Key
		if len(page.Entries) >= limit || size >= maxPageBytes {
			page.Next = last
			return page, nil
		}
		from = entryPrefix + last + "\x00"
	}
}

// add appends entries until they fill the room, and returns how many it took and how many bytes they hold.
func (p *Page) add(kvs []*mvccpb.KeyValue, room int) (taken, bytes int, err error) {
	for _, kv := range kvs {
		if bytes >= room {
			break
		}
		e, err := decodeEntry(clientKey(kv), kv.Value, kv.ModRevision)
		if err != nil {
			return 0, 0, err
		}
		p.Entries = append(p.Entries, e)
		taken, bytes = taken+1, bytes+len(kv.Value)
	}
	return taken, bytes, nil
}

func clientKey(kv *mvccpb.KeyValue) string { return string(kv.Key[len(entryPrefix):]) }

// GetState returns a record of the service's own, read locally; nil if there is none.
func (s *Store) GetState(ctx context.Context, name string) ([]byte, error) {
	resp, err := s.read(ctx, statePrefix+name, ReadOptions{})
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return resp.Kvs[0].Value, nil
}

// Revision returns the revision that this replica has reached.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	resp, err := s.cfg.KV.Get(ctx, headKey, clientv3.WithSerializable(), clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

func (s *Store) read(ctx context.Context, key string, o ReadOptions, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if o.MinRevision > 0 && !o.Linearizable {
		reached, err := s.await(ctx, o.MinRevision)
		if err != nil {
			return nil, err
		}
		o.Linearizable = !reached
	}
	if o.Revision > 0 {
		opts = append(opts, clientv3.WithRev(o.Revision))
	}
	if o.Linearizable && !sabotage.Read {
		resp, err := s.linearizableGet(ctx, key, opts...)
		if err == nil && resp.Header.Revision < o.MinRevision {
			return nil, fmt.Errorf("%w: %d", ErrFutureRevision, o.MinRevision)
		}
		return resp, err
	}
	resp, err := s.cfg.KV.Get(ctx, key, append(opts, clientv3.WithSerializable())...)
	return resp, readError(err)
}

// await waits until this replica has reached revision, but not longer than minRevisionWait. A change of the chain is the occasion to
// look again. There are others, as a renewal of a lock in the store, and this one may come just before reads see the change.
func (s *Store) await(ctx context.Context, revision int64) (bool, error) {
	for start := time.Now(); time.Since(start) < minRevisionWait; {
		_, moved := s.journal.progress()
		reached, err := s.Revision(ctx)
		if err != nil || reached >= revision {
			return err == nil, err
		}
		waitFor(ctx, moved, minRevisionPoll)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return false, nil
}
