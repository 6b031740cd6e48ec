package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leasehold/leasehold/test/lab"
)

func diskFaults() []fault {
	return []fault{
		{"disk-full", "a replica's disk is full", diskFull},
		{"disk-frozen", "a replica's disk hangs for 10 s (`fsfreeze`)", diskFrozen},
		{"disks-frozen", "two replicas' disks hang for 10 s; nothing may be acknowledged meanwhile", disksFrozen},
		{"disk-lost", "a replica is killed, its disk emptied, and it is started again", diskLost},
		{"disk-flipped", "a replica is killed, a bit of its newest log file flipped, and it is started again", damaged(flip)},
		{"disk-truncated", "a replica is killed, the tail of its newest log file cut off, and it is started again", damaged(truncate)},
	}
}

const (
	// What is written to make use of the space that is not there.
	fillerKey   = "chaos-filler"
	fillerValue = 256 << 10
	fillerCount = 200
	writeLimit  = 5 * time.Second

	fullFor   = 10 * time.Second
	frozenFor = 10 * time.Second
)

func diskFull(ctx context.Context, s *strike) error {
	r := s.anyone()
	s.aim(r)
	if err := s.disk(r).fill(ctx); err != nil {
		return errors.Join(err, s.disk(r).clear())
	}
	s.growStore(ctx, r)
	if !r.Running() {
		s.remark("it ended")
	}
	if err := s.disk(r).clear(); err != nil || r.Running() {
		return err
	}
	return r.Start()
}

// growStore writes until the replica ends or the time is over. That writes fail is of no importance.
func (s *strike) growStore(ctx context.Context, r *lab.Replica) {
	ctx, cancel := context.WithTimeout(ctx, fullFor)
	defer cancel()
	through := s.cluster.Others(r)
	value := bytes.Repeat([]byte("x"), fillerValue)
	for i := 0; i < fillerCount && r.Running() && ctx.Err() == nil; i++ {
		_, _ = s.request(ctx, http.MethodPut, through[i%len(through)], value)
	}
	_, _ = s.request(context.WithoutCancel(ctx), http.MethodDelete, through[0], nil)
	for r.Running() && lab.Pause(ctx, pollEvery) { //nolint:revive // it waits for one of the two
	}
}

func (s *strike) request(ctx context.Context, method string, through *lab.Replica, body []byte) (lab.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, through.URL+"/v1/kv/"+fillerKey, bytes.NewReader(body))
	if err != nil {
		return lab.Answer{}, err
	}
	return lab.Send(s.client, req)
}

func diskFrozen(ctx context.Context, s *strike) error {
	r := s.anyone()
	s.aim(r)
	if err := s.disk(r).freeze(); err != nil {
		return err
	}
	lab.Pause(ctx, frozenFor)
	return s.disk(r).unfreeze()
}

func disksFrozen(ctx context.Context, s *strike) error {
	both := []*lab.Replica{s.anyone(), s.followers[1]} // of the followers, anyone is the first
	s.target = both[0].Name + ", " + both[1].Name
	for _, r := range both {
		if err := s.disk(r).freeze(); err != nil {
			return errors.Join(err, s.thaw(both))
		}
	}
	over := time.Now().Add(frozenFor)
	if a, err := s.request(ctx, http.MethodPut, s.leader, []byte("x")); err == nil && a.Status == http.StatusOK && time.Now().Before(over) {
		s.violate("a write was acknowledged that only one of three disks can have taken")
	}
	lab.Pause(ctx, time.Until(over))
	err := s.thaw(both)
	_, _ = s.request(ctx, http.MethodDelete, s.leader, nil) // the key is in nobody's way
	return err
}

func (s *strike) thaw(replicas []*lab.Replica) (err error) {
	for _, r := range replicas {
		err = errors.Join(err, s.disk(r).unfreeze())
	}
	return err
}

func diskLost(ctx context.Context, s *strike) error {
	r := s.anyone()
	s.aim(r)
	if err := s.stop(ctx, r); err != nil {
		return err
	}
	if err := s.disk(r).wipe(); err != nil {
		return err
	}
	return r.Start()
}

// stop kills the replica.
func (s *strike) stop(ctx context.Context, r *lab.Replica) error {
	if err := r.Do(lab.Kill); err != nil {
		return err
	}
	return r.AwaitEnd(ctx)
}

// damaged damages the log of a replica. It then has to be right, or to end and say why.
func damaged(damage func(*strike, string) error) func(context.Context, *strike) error {
	return func(ctx context.Context, s *strike) error {
		r := s.anyone()
		s.aim(r)
		if err := s.stop(ctx, r); err != nil {
			return err
		}
		if err := s.settled(ctx, s.cluster.Others(r)); err != nil {
			return err
		}
		path, err := newestWAL(r.Data)
		if err != nil {
			return err
		}
		if err := damage(s, path); err != nil {
			return err
		}
		said, refused, err := s.tryStart(ctx, r)
		if err != nil || !refused {
			return err
		}
		s.remark("refused: %.100s", said)
		if err := s.disk(r).wipe(); err != nil {
			return err
		}
		return r.Start()
	}
}

// settled waits until the others have everything that was ever acknowledged: what a disk forgets is to be on a majority of
// disks without it.
func (s *strike) settled(ctx context.Context, others []*lab.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, settledLimit)
	defer cancel()
	for _, r := range others {
		for !s.answers(ctx, r, "/v1/kv?limit=1&consistency=linearizable") {
			if !lab.Pause(ctx, pollEvery) {
				return fmt.Errorf("%s answers no linearizable read: %w", r.Name, ctx.Err())
			}
		}
	}
	return nil
}

// newestWAL is the newest file of etcd's write-ahead log.
func newestWAL(data string) (string, error) {
	files, err := filepath.Glob(filepath.Join(data, "etcd", "member", "wal", "*.wal"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("there is no log file in %s: %w", data, err)
	}
	return slices.Max(files), nil
}

// used is how much of a log file, which is allocated in advance, holds anything.
func used(path string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n := int64(len(bytes.TrimRight(content, "\x00")))
	if n < 2 {
		return 0, fmt.Errorf("%s is empty", path)
	}
	return n, nil
}

// damagedTail is how near to the end of a log file it is damaged.
const damagedTail = 64 << 10

func flip(s *strike, path string) error {
	n, err := used(path)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	at, bit := n-1-s.rng.Int64N(min(n-1, damagedTail)), s.rng.IntN(8)
	value := make([]byte, 1)
	if _, err := file.ReadAt(value, at); err != nil {
		return err
	}
	value[0] ^= 1 << bit
	_, err = file.WriteAt(value, at)
	return err
}

func truncate(s *strike, path string) error {
	n, err := used(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, n-1-s.rng.Int64N(min(n-1, damagedTail)))
}

const (
	tryLimit     = 30 * time.Second
	settledLimit = 30 * time.Second
)

// tryStart starts a replica and returns when it has ended, with what it said, or is ready. One that is neither in time
// breaks the promise, and is killed.
func (s *strike) tryStart(ctx context.Context, r *lab.Replica) (said string, refused bool, err error) {
	before, err := os.Stat(r.Log)
	if err != nil {
		return "", false, err
	}
	if err := r.Start(); err != nil {
		return "", false, err
	}
	limited, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	for r.Running() {
		if s.answers(limited, r, "/readyz") {
			return "", false, nil
		}
		if !lab.Pause(limited, pollEvery) {
			if ctx.Err() != nil {
				return "", false, ctx.Err()
			}
			s.violate("%s, its log damaged, neither became ready nor ended within %s", r.Name, tryLimit)
			return "", true, s.stop(ctx, r)
		}
	}
	said, err = reason(r.Log, before.Size())
	if said == "" {
		s.violate("%s, its log damaged, ended without saying why", r.Name)
	}
	return said, true, err
}

func (s *strike) answers(ctx context.Context, r *lab.Replica, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+path, http.NoBody)
	if err != nil {
		return false
	}
	a, err := lab.Send(s.client, req)
	return err == nil && a.Status == http.StatusOK
}

// reason is why a server ended, by its log from the offset on: the last line of its own that says so, or with which it
// panicked.
func reason(path string, offset int64) (said string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(io.LimitReader(file, 16<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if line := lines.Text(); strings.HasPrefix(line, "server: ") || strings.HasPrefix(line, "panic: ") {
			said = line
		}
	}
	return said, lines.Err()
}
