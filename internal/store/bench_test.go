package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
)

// BenchmarkWrite is what a write costs on a single member that does write to its disk.
func BenchmarkWrite(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := newCluster(b, func(cfg *embed.Config) { cfg.UnsafeNoFsync = false })
			r := c.replica("leasehold-0")
			r.lead()
			value, ctx := strings.Repeat("x", 256), b.Context()
			var left atomic.Int64
			left.Store(int64(b.N))
			before := r.wire.attempts()
			b.ResetTimer()
			var group sync.WaitGroup
			for i := range writers {
				group.Go(func() {
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						w := &Write{ID: NewID()}
						w.Put(Entry{Key: fmt.Sprintf("%d/%d", i, n%1000), Value: []byte(value)})
						if _, err := r.Write(ctx, w); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			b.ReportMetric(float64(b.N)/float64(r.wire.attempts()-before), "writes/batch")
		})
	}
}
