package member

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
)

const defaultQuota = 2 << 30 // etcd's, for a quota of 0

// While the member's alarm about space is raised, every so many rounds the file is defragmented whatever seems to be in use: pages
// that the last commits have freed are not counted until the next commit, and without space there is none.
const roundsWhenFull = 10

// maintain keeps the file small enough for writes to go on, while the member runs. Compaction frees pages inside the file;
// only defragmentation, which each member does for itself and which stalls it meanwhile, gives them back.
func (m *Member) maintain() {
	for round := 1; pause(m.life, m.times.upkeep); round++ {
		s := m.server()
		if s == nil {
			continue
		}
		size, inUse := m.Size()
		alarm := ownAlarm(s)
		if wasted := inUse*4 < size*3; size > m.quota()/2 && (wasted || alarm != nil && round%roundsWhenFull == 0) {
			m.defragment(s)
		}
		if alarm != nil {
			m.disarm(alarm)
		}
	}
}

func (m *Member) quota() int64 {
	if m.cfg.QuotaBytes > 0 {
		return m.cfg.QuotaBytes
	}
	return defaultQuota
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

// disarm takes the alarm back if there is space again: until then the whole cluster refuses every put.
func (m *Member) disarm(alarm *clientv3.AlarmMember) {
	if size, _ := m.Size(); size >= m.quota()/10*9 {
		return
	}
	ctx, cancel := context.WithTimeout(m.life, changeTimeout)
	defer cancel()
	if _, err := m.Client().AlarmDisarm(ctx, alarm); err != nil {
		m.log.Warn("the alarm about space is not taken back", zap.Error(err))
		return
	}
	m.log.Info("the alarm about space is taken back")
}
