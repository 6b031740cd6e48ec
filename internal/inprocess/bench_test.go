package inprocess

import (
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"github.com/leasehold/leasehold/internal/etcdtest"
)

// BenchmarkGetsBesideWrites is what 64 writes in one transaction cost, and 64 reads after it: a write is what makes reads dear.
func BenchmarkGetsBesideWrites(b *testing.B) {
	server := etcdtest.Start(b).Server
	for name, client := range map[string]*clientv3.Client{"ours": New(server), "etcds": v3client.New(server)} {
		b.Run(name, func(b *testing.B) {
			value := strings.Repeat("x", 256)
			ops := make([]clientv3.Op, 64)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for j := range ops {
					ops[j] = clientv3.OpPut(fmt.Sprintf("%d/%d", i%100, j), value)
				}
				if _, err := client.Txn(b.Context()).Then(ops...).Commit(); err != nil {
					b.Fatal(err)
				}
				for j := range ops {
					if _, err := client.Get(b.Context(), fmt.Sprintf("%d/%d", i%100, j), clientv3.WithSerializable()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
