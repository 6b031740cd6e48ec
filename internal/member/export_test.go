package member

import "time"

// Hasten shortens the intervals of a member that has not been started.
func (m *Member) Hasten(grace, upkeep time.Duration) {
	m.times.poll, m.times.grace, m.times.upkeep = 50*time.Millisecond, grace, upkeep
}
