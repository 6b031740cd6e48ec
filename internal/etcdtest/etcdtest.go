// Package etcdtest starts an etcd of one member, in this process, for tests of what stands on it.
package etcdtest

import (
	"net/url"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Start starts a member that is ready and ends with the test. It listens to no clients, elects itself quickly,
// and does not wait for the disk unless an option says so. It takes transactions as large as a replica's member.
func Start(tb testing.TB, options ...func(*embed.Config)) *embed.Etcd {
	tb.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = tb.TempDir()
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.ListenClientUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.UnsafeNoFsync = true
	cfg.MaxTxnOps, cfg.MaxRequestBytes = 4096, 4<<20
	cfg.WatchProgressNotifyInterval = 100 * time.Millisecond
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	for _, o := range options {
		o(cfg)
	}
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		etcd.Server.HardStop()
		etcd.Close()
	})
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(time.Minute):
		tb.Fatal("etcd does not become ready")
	}
	return etcd
}
