package member

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
)

// Space. The store may be Config.QuotaBytes large; etcd's own quota, past which it refuses every put of the whole cluster, is twice
// that. In between there is always room for what must never be refused and contains puts all the same: claims, resignations,
// deletions. Compaction frees pages inside the file; only defragmentation, which each member does for itself and which stalls it
// meanwhile, gives them back.

const defaultQuota = 2 << 30

// etcdQuota is what etcd is told.
func (cfg *Config) etcdQuota() int64 { return 2 * cfg.QuotaBytes }

// Full says whether writes that grow the store must be refused: 90 % of the quota is in use, or the file is half as large again
// as the quota.
func (m *Member) Full() bool {
	size, inUse := m.Size()
	return m.nearlyAllInUse(inUse) || m.outgrown(size)
}

func (m *Member) nearlyAllInUse(inUse int64) bool { return inUse >= m.cfg.QuotaBytes/10*9 }

func (m *Member) outgrown(size int64) bool { return size >= m.cfg.QuotaBytes/2*3 }

// maintain keeps the file small enough for writes to go on, while the member runs.
func (m *Member) maintain() {
	for pause(m.life, m.times.upkeep) {
		s := m.server()
		if s == nil {
			continue
		}
		if alarm := ownAlarm(s); alarm != nil {
			m.makeSpace(s, alarm)
		} else if m.worthDefragmenting() {
			m.defragment(s)
		}
	}
}

// worthDefragmenting says whether the file is over 5/4 of the quota and less than 75 % of it is in use, unless this replica leads:
// all writes would wait. It does not spare the leader when the size of the file alone is what makes the store full.
func (m *Member) worthDefragmenting() bool {
	size, inUse := m.Size()
	if m.outgrown(size) && !m.nearlyAllInUse(inUse) {
		return true
	}
	return size > m.cfg.QuotaBytes/4*5 && inUse < size/4*3 && !m.cfg.Leading()
}

func (m *Member) defragment(s *etcdserver.EtcdServer) {
	start := time.Now()
	before, _ := m.Size()
	if err := s.Defragment(); err != nil {
		m.log.Warn("not defragmented", zap.Error(err))
		return
	}
	after, _ := m.Size()
	m.log.Info("defragmented", zap.Int64("bytes_before", before), zap.Int64("bytes_after", after), zap.Duration("took", time.Since(start)))
}

// ownAlarm returns this member's alarm about space, nil if it is not raised.
func ownAlarm(s *etcdserver.EtcdServer) *clientv3.AlarmMember {
	for _, alarm := range s.Alarms() {
		if alarm.Alarm == etcdserverpb.AlarmType_NOSPACE && alarm.MemberID == uint64(s.MemberID()) {
			return (*clientv3.AlarmMember)(alarm)
		}
	}
	return nil
}

// makeSpace is for a member that is past etcd's quota: it gives up all history, as nobody can write what a compaction by the leader's
// job needs, and takes the alarm back if the file is below 90 % of etcd's quota then.
func (m *Member) makeSpace(s *etcdserver.EtcdServer, alarm *clientv3.AlarmMember) {
	if err := m.compactAll(s); err != nil {
		m.log.Warn("not compacted under the alarm about space", zap.Error(err))
	}
	m.defragment(s)
	if size, _ := m.Size(); size < m.cfg.etcdQuota()/10*9 {
		m.disarm(alarm)
	}
}

// compactAll compacts to the current revision, which etcd takes under the alarm, and waits until it is done here: for the proposal
// as long as etcd itself does.
func (m *Member) compactAll(s *etcdserver.EtcdServer) error {
	_, err := m.Client().Compact(m.life, s.KV().Rev(), clientv3.WithCompactPhysical())
	if errors.Is(err, rpctypes.ErrCompacted) { // in an earlier round, or by another member
		return nil
	}
	return err
}

// disarm takes the alarm back: until then the whole cluster refuses every put.
func (m *Member) disarm(alarm *clientv3.AlarmMember) {
	ctx, cancel := context.WithTimeout(m.life, changeTimeout)
	defer cancel()
	if _, err := m.Client().AlarmDisarm(ctx, alarm); err != nil {
		m.log.Warn("the alarm about space is not taken back", zap.Error(err))
		return
	}
	m.log.Info("the alarm about space is taken back")
}
