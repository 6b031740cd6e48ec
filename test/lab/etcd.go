package lab

import (
	"context"
	"fmt"
	"net"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// etcdAddress is where a replica on a network of its own has etcd listen for somebody who looks: on its own loopback.
const etcdAddress = "127.0.0.1:2379"

// Etcd is a client of the etcd member of a replica on a network of its own. It reaches the member whatever becomes of the
// links. It connects when it is used, and is to be closed.
func (s Site) Etcd(ordinal int) (*clientv3.Client, error) {
	network := replicaNetwork(s.prefix, ordinal)
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return dialIn(ctx, network, etcdAddress) }
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + etcdAddress}, Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	if err != nil {
		return nil, fmt.Errorf("a client of etcd on %s: %w", network, err)
	}
	return client, nil
}
