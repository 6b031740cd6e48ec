package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// file is where other programs read who leads.
type file struct {
	path   string        // "" for none
	window time.Duration // for how long what it says may be believed, at most, while this process leads

	mu       sync.Mutex
	promised time.Time // the latest time up to which it has said that this process leads
}

// fileBody is what the file says.
type fileBody struct {
	Holder  string `json:"holder"`
	Leading bool   `json:"leading"`
	Epoch   uint64 `json:"epoch,omitempty"`
	// Until is until when that may be believed, by the clock of this machine: null where nobody is known to hold the Lease.
	// UntilUnix is the same in whole seconds, rounded down, for who has no parser for times.
	Until     *time.Time `json:"until"`
	UntilUnix int64      `json:"until_unix"`
}

// write replaces the file by what status returns. That is asked for with the mutex held, so that who asks for forgotten
// once leadership has ended does not miss a promise.
func (f *file) write(status func() Status) error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st := status()
	body := fileBody{Holder: st.Holder, Leading: st.Leading, Epoch: st.Epoch}
	if st.Leading {
		st.Until = earlier(st.Until, time.Now().Add(f.window))
		f.promised = st.Until
	}
	if st.Holder != "" {
		until := st.Until.UTC().Round(0)
		body.Until, body.UntilUnix = &until, until.Unix()
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := replaceFile(f.path, append(text, '\n')); err != nil {
		return fmt.Errorf("the file cannot be written, so that nobody can read who leads: %w", err)
	}
	return nil
}

// replaceFile has a reader find the old content or the new one, never a part. Everybody may read it: the reader is
// another program, maybe under another user.
func replaceFile(path string, content []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// forgotten returns when the file has said nowhere that this process still leads.
func (f *file) forgotten(ctx context.Context) error {
	f.mu.Lock()
	left := time.Until(f.promised)
	f.mu.Unlock()
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the file may still be believed: %w", ctx.Err())
	}
}

func (s *Sidecar) publish() error {
	return s.file.write(func() Status {
		st, _, _ := s.Status()
		return st
	})
}

// keepFile writes the file whenever something changes, and often enough for it to be believed all the time, until ctx is
// done. Who cannot say that it leads does not lead.
func (s *Sidecar) keepFile(ctx context.Context) {
	if s.cfg.File == "" {
		return
	}
	ticker := time.NewTicker(s.file.window / 4)
	defer ticker.Stop()
	failing := false
	for {
		l, led := s.election.Watch()
		_, _, seen := s.tenure.heldBy()
		err := s.publish()
		if err != nil && !failing {
			s.log.Warn("the file is not written", zap.Error(err))
		}
		failing = err != nil
		if failing && l != nil {
			s.fail(l, err)
		}
		select {
		case <-led:
		case <-seen:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
