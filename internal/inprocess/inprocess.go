// Package inprocess is etcd's client for a server in the same process, with a short way to what it holds: reads go to the
// server's storage, not through the layers that serve clients over a network.
//
// Its one invariant: no read is in the storage when etcd closes it.
package inprocess

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// errUnsupported is the error of a read that is sorted or filtered, which nobody needs.
var errUnsupported = errors.New("a read is neither sorted nor filtered here")

// New returns a client of server, which is to be ready.
//
// Its Get differs from etcd's own in this: a range with a limit ends there, so the answer does not count what lies beyond. A local
// (serializable) one asks nobody and waits for nobody but the commit of what was written before. Once the server stops it returns
// rpctypes.ErrStopped.
func New(server *etcdserver.EtcdServer) *clientv3.Client {
	client := v3client.New(server)
	k := &kv{KV: client.KV, server: server}
	server.GoAttach(k.guard)
	client.KV = k
	return client
}

// kv reads for itself; all else is the client's.
type kv struct {
	clientv3.KV
	server  *etcdserver.EtcdServer
	reading sync.RWMutex // held by each read while it is in the storage
}

// guard ends when the last read has left the storage of a server that stops. etcd closes it after that: it waits for what is
// attached to it, but knows nothing of our reads, and what is read from a closed storage panics or hangs.
func (k *kv) guard() {
	<-k.server.StoppingNotify() // from now on no read enters
	k.reading.Lock()
	defer k.reading.Unlock()
}

func (k *kv) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return k.get(ctx, clientv3.OpGet(key, opts...))
}

// Do is how clientv3's namespaces read.
func (k *kv) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	if !op.IsGet() {
		return k.KV.Do(ctx, op)
	}
	resp, err := k.get(ctx, op)
	if err != nil {
		return clientv3.OpResponse{}, err
	}
	return resp.OpResponse(), nil
}

func (k *kv) get(ctx context.Context, op clientv3.Op) (*clientv3.GetResponse, error) {
	if op.IsSortSet() || op.MinModRev()|op.MaxModRev()|op.MinCreateRev()|op.MaxCreateRev() != 0 {
		return nil, errUnsupported
	}
	if !op.IsSerializable() {
		if err := k.server.LinearizableReadNotify(ctx); err != nil {
			return nil, fmt.Errorf("have a majority confirm: %w", err)
		}
	}
	return k.read(ctx, op)
}

func (k *kv) read(ctx context.Context, op clientv3.Op) (*clientv3.GetResponse, error) {
	k.reading.RLock()
	defer k.reading.RUnlock()
	select {
	case <-k.server.StoppingNotify():
		return nil, rpctypes.ErrStopped
	default:
	}
	tx := k.server.KV().Read(mode(op), traceutil.TODO())
	defer tx.End()
	options := mvcc.RangeOptions{Limit: op.Limit(), Rev: op.Rev(), FastKeysOnly: op.IsKeysOnly(), CountOnly: op.IsCountOnly()}
	if options.Limit > 0 {
		options.Limit++ // one more tells whether there are more
	}
	r, err := tx.Range(ctx, op.KeyBytes(), end(op), options)
	if err != nil {
		return nil, clientError(err)
	}
	return answer(r, op.Limit()), nil
}

// mode is how a read shares the storage with writes. A range is read from a copy of what is not in the file yet, which can be all
// that was written in the last tenth of a second, and made anew after each write: that is dear for one key, so for that writes wait.
func mode(op clientv3.Op) mvcc.ReadTxMode {
	if len(op.RangeBytes()) == 0 {
		return mvcc.SharedBufReadTxMode
	}
	return mvcc.ConcurrentReadTxMode
}

// end is the end of op's range as the storage takes it: nil for one key, empty for all that follow.
func end(op clientv3.Op) []byte {
	switch end := op.RangeBytes(); {
	case len(end) == 0:
		return nil
	case len(end) == 1 && end[0] == 0:
		return []byte{}
	default:
		return end
	}
}

func answer(r *mvcc.RangeResult, limit int64) *clientv3.GetResponse {
	resp := &clientv3.GetResponse{Header: &pb.ResponseHeader{Revision: r.Rev}, Kvs: r.KVs, Count: int64(r.Count)}
	if limit > 0 && int64(len(r.KVs)) > limit {
		resp.Kvs, resp.More = r.KVs[:limit], true
	}
	return resp
}

func clientError(err error) error {
	switch {
	case errors.Is(err, mvcc.ErrCompacted):
		return rpctypes.ErrCompacted
	case errors.Is(err, mvcc.ErrFutureRev):
		return rpctypes.ErrFutureRev
	}
	return err
}
