package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
)

// Writes is the election whose leader writes the data.
const Writes = "writes"

// Part returns the part of etcd that belongs to an election: what is read and written through it has keys of its own, so a
// store over it has a record, a head and a chain of its own. That of Writes is what is not another's.
func Part(kv clientv3.KV, w clientv3.Watcher, election string) (clientv3.KV, clientv3.Watcher) {
	if election == Writes {
		return kv, w
	}
	prefix := electionPrefix + election + "/"
	return namespace.NewKV(kv, prefix), partWatcher{w, prefix}
}

// partWatcher is namespace.NewWatcher, but changes no event: in one process all watchers of a key are given the same one.
type partWatcher struct {
	clientv3.Watcher
	prefix string
}

func (w partWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	opts = append(opts[:len(opts):len(opts)], w.withPrefix(clientv3.OpGet(key, opts...).RangeBytes()))
	in, out := w.Watcher.Watch(ctx, w.prefix+key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for resp := range in {
			select {
			case out <- w.stripped(resp):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// withPrefix makes the end of a range one in the part; that of a single key stays as it is.
func (w partWatcher) withPrefix(end []byte) clientv3.OpOption {
	switch {
	case len(end) == 0:
		return func(*clientv3.Op) {}
	case len(end) == 1 && end[0] == 0: // all keys that follow
		return clientv3.WithRange(prefixEnd(w.prefix))
	}
	return clientv3.WithRange(w.prefix + string(end))
}

func (w partWatcher) stripped(resp clientv3.WatchResponse) clientv3.WatchResponse {
	events := make([]*clientv3.Event, 0, len(resp.Events))
	for _, ev := range resp.Events {
		events = append(events, &clientv3.Event{Type: ev.Type, Kv: w.strip(ev.Kv), PrevKv: w.strip(ev.PrevKv)})
	}
	resp.Events = events
	return resp
}

func (w partWatcher) strip(kv *mvccpb.KeyValue) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: kv.Key[len(w.prefix):], Value: kv.Value, Lease: kv.Lease,
		CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
	}
}
