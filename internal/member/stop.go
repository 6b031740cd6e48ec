package member

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

const (
	closeTimeout = 10 * time.Second
	lastMove     = time.Second // part of closeTimeout
)

// Close stops the member, handing etcd's leadership over before if it has it and there is somebody who answers: etcd's own handing
// over waits for seconds for members that are gone, as when all replicas are stopped at once. It takes closeTimeout at most.
func (m *Member) Close() error { return m.shut(m.moveAway) }

// Kill is for tests of crashes: it stops the member without handing anything over.
func (m *Member) Kill() { _ = m.shut(func() {}) }

// moveAway tries to hand etcd's leadership over; the others elect a leader without it as well, only later.
func (m *Member) moveAway() {
	ctx, cancel := context.WithTimeout(context.Background(), lastMove)
	defer cancel()
	if err := m.MoveLeader(ctx); err != nil {
		m.log.Warn("stopping with etcd's leadership", zap.Error(err))
	}
}

func (m *Member) shut(before func()) error {
	var err error
	m.closed.Do(func() {
		m.stopping.Store(true)
		timeout := time.After(closeTimeout)
		before()
		m.mu.Lock()
		m.end()
		m.mu.Unlock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if etcd := m.detach(); etcd != nil {
				kill(etcd)
			}
			m.running.Wait()
		}()
		select {
		case <-done:
		case <-timeout:
			err = errors.New("member: etcd did not stop in time")
		}
	})
	return err
}

// enter counts Start among what Close waits for; false if the member has been closed.
func (m *Member) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life.Err() != nil {
		return false
	}
	m.running.Add(1)
	return true
}

// detach makes the member answer as one that is not ready, and returns its etcd if it was ready once. If Start is under way, it
// sees that life has ended, and stops what it has started.
func (m *Member) detach() *embed.Etcd {
	m.mu.Lock()
	client, etcd := m.client, m.etcd
	m.ready = false
	m.mu.Unlock()
	if client == nil {
		return nil
	}
	_ = client.Close()
	return etcd
}

// watch sees to it that a member that stops by itself says so.
func (m *Member) watch(etcd *embed.Etcd) {
	<-etcd.Server.StopNotify()
	m.mu.Lock()
	m.ready = false
	m.mu.Unlock()
	if m.life.Err() != nil {
		return
	}
	m.log.Error("etcd has stopped by itself: this member was removed from its cluster, or cannot go on")
	close(m.removed)
}
