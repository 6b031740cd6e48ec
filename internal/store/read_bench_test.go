package store

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func quiet(cfg *Config) { cfg.Log = zap.NewNop() }

// fill stores n entries of 256 bytes and returns the key of the i-th.
func (r *replica) fill(n int) func(i int) string {
	r.t.Helper()
	key := func(i int) string { return fmt.Sprintf("%06d", i%n) }
	value := []byte(strings.Repeat("x", 256))
	for i := 0; i < n; {
		w := request()
		for ; len(w.ops) < 1000 && i < n; i++ {
			w.Put(Entry{Key: key(i), Value: value})
		}
		r.apply(w)
	}
	return key
}

// BenchmarkGet is what a read costs of many at a time.
func BenchmarkGet(b *testing.B) {
	r := newCluster(b).replica("leasehold-0", quiet)
	r.lead()
	key := r.fill(10_000)
	for name, o := range map[string]ReadOptions{"local": {}, "linearizable": {Linearizable: true}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i += 7 {
					if _, _, err := r.Get(b.Context(), key(i), o); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkList is what a page of 100 costs among more entries.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("of=%d", n), func(b *testing.B) {
			r := newCluster(b).replica("leasehold-0", quiet)
			r.lead()
			key := r.fill(n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i += 7 {
				if _, err := r.List(b.Context(), "", key(i%(n/2)), 100, ReadOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCondition is what the committer pays to decide one.
func BenchmarkCondition(b *testing.B) {
	r := newCluster(b).replica("leasehold-0", quiet)
	r.lead()
	key := r.fill(10_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i += 7 {
		if rev, err := r.localRevision(entryPrefix + key(i)); err != nil || rev == 0 {
			b.Fatal(rev, err)
		}
	}
}
