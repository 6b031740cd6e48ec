package member

import (
	"errors"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// closeTimeout bounds Close: etcd alone waits for up to 5 s and two election timeouts to hand its leadership over.
const closeTimeout = 20 * time.Second

// Close stops the member, handing etcd's leadership over if it has it. It takes closeTimeout at most.
func (m *Member) Close() error { return m.shut((*embed.Etcd).Close) }

// Kill is for tests of crashes: it stops the member without handing anything over.
func (m *Member) Kill() { _ = m.shut(kill) }

func (m *Member) shut(stop func(*embed.Etcd)) error {
	var err error
	m.closed.Do(func() {
		m.mu.Lock()
		m.end()
		m.mu.Unlock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if etcd := m.detach(); etcd != nil {
				stop(etcd)
			}
			m.running.Wait()
			m.http.CloseIdleConnections()
		}()
		select {
		case <-done:
		case <-time.After(closeTimeout):
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
