package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/election"
)

var timing = election.DefaultTiming

// longestTakeover is how long after the last renewal another one leads at the latest: two polls of up to 2.2 retry periods.
var longestTakeover = timing.LeaseDuration + timing.RetryPeriod*44/10 + time.Second

func TestTheCommandRunsInOnePlace(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.start()
		m := s.leader(time.Second)
		always(s.t, 2*time.Minute, func() error {
			if at := s.runs(); at != m.pod || s.server.holder() != m.pod {
				return fmt.Errorf("it runs at %q, and %q holds the Lease", at, s.server.holder())
			}
			return nil
		})
	})
}

func TestTheLeaseIsReleasedWhenTheCommandHasEnded(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.start()
		old := s.leader(time.Second)
		old.command.obeysAfter = 7 * time.Second
		time.Sleep(time.Minute)
		stopped := time.Now()
		go old.stop()
		s.leader(time.Minute, old)
		if took := time.Since(stopped); took < 7*time.Second || took > 8*time.Second {
			s.t.Errorf("another one runs %s after the end was asked for, want 7s", took)
		}
		if n := old.command.killed.Load(); n > 0 {
			s.t.Errorf("a command that ended was killed %d times", n)
		}
	})
}

// The Lease is renewed for as long as the command takes.
func TestTheGracePeriodMayBeLongerThanTheLease(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.start()
		old := s.leader(time.Second)
		old.command.obeysAfter, old.worker.grace = -1, 40*time.Second
		stopped := time.Now()
		go old.stop()
		s.leader(time.Minute, old)
		if took := time.Since(stopped); took < 40*time.Second || took > 41*time.Second {
			s.t.Errorf("another one runs %s after the end was asked for, want 40s", took)
		}
	})
}

// The API server is away for the leader alone: the others cannot know, and take the Lease when it has run out.
func TestTheCommandEndsBeforeTheLeaseRunsOut(t *testing.T) {
	for name, obeysAfter := range map[string]time.Duration{"obedient": time.Second, "stubborn": -1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				s.start()
				old := s.leader(time.Second)
				old.command.obeysAfter = obeysAfter
				time.Sleep(time.Minute)
				old.client.cut.Store(true)
				cut := time.Now()
				within(s.t, timing.RenewDeadline, func() error { // it may have renewed a retry period ago
					if old.election.Leading() {
						return errors.New("it still leads")
					}
					return nil
				})
				within(s.t, timing.LeaseDuration-time.Since(cut), func() error {
					if at := s.runs(); at != "" {
						return fmt.Errorf("the command runs at %s", at)
					}
					return nil
				})
				s.leader(longestTakeover, old)
			})
		})
	}
}

// The negative control: a command that nothing ends shows that the watch over the others is not blind.
func TestTwoCommandsAreNoticed(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.expected = true
		s.start()
		old := s.leader(time.Second)
		old.command.obeysAfter, old.command.immortal = -1, true
		old.client.cut.Store(true)
		within(s.t, time.Minute, func() error {
			for _, v := range s.violations() {
				if strings.Contains(v, "is started while that of "+old.pod+" runs") {
					return nil
				}
			}
			return fmt.Errorf("no second command was noticed: %q", s.violations())
		})
	})
}

// Another one may run its own command by now.
func TestALeaseInOtherHandsKillsTheCommandAtOnce(t *testing.T) {
	for name, lose := range map[string]func(*apiServer){
		"taken":   func(s *apiServer) { s.take("stranger") },
		"deleted": func(s *apiServer) { s.remove() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(s *site) {
				s.expected = true // the Lease has changed hands while it ran
				s.start()
				m := s.leader(time.Second)
				m.command.obeysAfter = -1
				time.Sleep(time.Minute)
				lose(s.server)
				within(s.t, 2*poll, func() error {
					if m.command.killed.Load() == 0 {
						return errors.New("the command has not been killed")
					}
					return nil
				})
			})
		})
	}
}

func TestACommandThatEndsGivesLeadershipUp(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.start()
		old := s.leader(time.Second)
		time.Sleep(time.Minute)
		old.command.last.end()
		next := s.leader(old.file.window+time.Second, old) // what the file has said must be over
		within(s.t, poll, func() error {
			if st, _, _ := old.Status(); st.Leading || st.Holder != next.pod {
				return fmt.Errorf("the first one says %+v, and %s leads", st, next.pod)
			}
			return nil
		})
	})
}

// Alone, a process tries again and again, with pauses that grow.
func TestAProcessWhoseCommandEndsRestsForLongerEachTime(t *testing.T) {
	for name, spoil := range map[string]func(*fakeCommand){
		"ends":         func(c *fakeCommand) { c.endsAfter = time.Second },
		"cannot start": func(c *fakeCommand) { c.failure = errors.New("no such file") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(s *site) {
				m := s.members[0]
				spoil(m.command)
				s.start()
				time.Sleep(10 * time.Minute)
				starts, epochs := m.command.log()
				for i := 1; i < len(starts); i++ {
					pause := starts[i].Sub(starts[i-1])
					least := min(minRest<<(i-1), maxRest)
					if pause < least || pause > least+time.Second+timing.RetryPeriod*44/10+4*time.Second {
						s.t.Errorf("start %d comes %s after the one before, want %s and a poll", i, pause, least)
					}
					if epochs[i] <= epochs[i-1] {
						s.t.Errorf("epoch %d after %d", epochs[i], epochs[i-1])
					}
				}
				if len(starts) < 8 {
					s.t.Errorf("%d starts in ten minutes", len(starts))
				}
			})
		})
	}
}

func TestTheEpochIsTheVersionOfTheLeaseAtAcquisition(t *testing.T) {
	bubble(t, 2, func(s *site) {
		acquired := map[string]string{}
		watchOver := s.server.onWrite
		s.server.onWrite = func(before, after string) {
			watchOver(before, after)
			if before != after && after != "" {
				acquired[after] = s.server.lease.ResourceVersion
			}
		}
		s.start()
		first := s.leader(time.Second)
		time.Sleep(time.Minute)
		first.stop()
		second := s.leader(time.Minute, first)
		var last uint64
		for _, m := range []*member{first, second} {
			_, epochs := m.command.log()
			if got := strconv.FormatUint(epochs[0], 10); got != acquired[m.pod] || epochs[0] <= last {
				s.t.Errorf("%s runs under epoch %s after %d, and has acquired version %s", m.pod, got, last, acquired[m.pod])
			}
			last = epochs[0]
		}
	})
}

// read reads the member's file.
func (m *member) read() (fileBody, error) {
	var b fileBody
	text, err := os.ReadFile(m.cfg.File)
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(text, &b)
}

func TestTheFileSaysWhoLeadsAndIsNeverOutOfDate(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.start()
		leads := s.leader(time.Second)
		time.Sleep(5 * time.Second)
		always(s.t, time.Minute, func() error {
			for _, m := range s.members {
				b, err := m.read()
				switch {
				case err != nil:
					return err
				case b.Holder != leads.pod || b.Leading != (m == leads) || (b.Epoch != 0) != b.Leading:
					return fmt.Errorf("%s says %+v, and %s leads", m.pod, b, leads.pod)
				case b.Until == nil || !time.Now().Before(*b.Until) || b.UntilUnix != b.Until.Unix():
					return fmt.Errorf("%s says what may not be believed: %+v", m.pod, b)
				}
			}
			return nil
		})
		leads.stop()
		if b, err := leads.read(); err != nil || b.Leading {
			s.t.Errorf("after the end: %+v, %v", b, err)
		}
	})
}

// What a crash leaves behind says until when.
func TestAFileThatIsNotRenewedExpiresBeforeTheLease(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.start()
		m := s.leader(time.Second)
		time.Sleep(time.Minute)
		b, err := m.read()
		if err != nil || !b.Leading || time.Until(*b.Until) > 2*timing.RetryPeriod {
			s.t.Errorf("%+v, %v", b, err)
		}
		m.client.cut.Store(true)
		time.Sleep(timing.LeaseDuration - time.Second)
		if b, err = m.read(); err != nil || b.Leading && time.Now().Before(*b.Until) {
			s.t.Errorf("while the Lease runs out: %+v, %v", b, err)
		}
	})
}

func TestWhoCannotWriteItsFileDoesNotLead(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.start()
		m := s.leader(time.Second)
		folder := strings.TrimSuffix(m.cfg.File, "/leader")
		if err := os.RemoveAll(folder); err != nil {
			s.t.Fatal(err)
		}
		within(s.t, m.file.window, func() error {
			if m.election.Leading() {
				return errors.New("it leads")
			}
			return nil
		})
		if err := os.Mkdir(folder, 0o700); err != nil {
			s.t.Fatal(err)
		}
		s.leader(minRest + timing.RetryPeriod*9)
	})
}

func TestHolderIsUnknownWhenNothingHasBeenHeardForALease(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.start()
		leads := s.leader(time.Second)
		other := s.members[0]
		if other == leads {
			other = s.members[1]
		}
		within(s.t, time.Second, func() error {
			if st, _, _ := other.Status(); st.Holder != leads.pod || st.Leading {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
		other.client.cut.Store(true)
		time.Sleep(timing.LeaseDuration + timing.RetryPeriod)
		if st, _, _ := other.Status(); st != (Status{}) {
			s.t.Errorf("it says %+v", st)
		}
	})
}
