package member

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// gate keeps readers from a server that stops: etcd's backend panics when it is read after it was closed, and whoever reads here
// may not know yet that this member was removed or the process is about to end.
type gate struct {
	clientv3.KV
	server *etcdserver.EtcdServer
}

// Get returns ErrNotStarted once the server stops.
func (g gate) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	if g.stopping() {
		return nil, ErrNotStarted
	}
	defer func() {
		if p := recover(); p != nil {
			if !g.stopping() {
				panic(p)
			}
			resp, err = nil, ErrNotStarted
		}
	}()
	return g.KV.Get(ctx, key, opts...)
}

func (g gate) stopping() bool {
	select {
	case <-g.server.StoppingNotify():
		return true
	default:
		return false
	}
}
