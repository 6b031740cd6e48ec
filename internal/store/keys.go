package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// All keys in etcd. The election's own lock, where it is kept in the store, is LockKey. Another election than Writes has the keys of
// this list that it needs below electionPrefix and its name.
const (
	root          = "leasehold/"
	LockKey       = root + "lock"
	chainPrefix   = root + "chain/"
	headKey       = chainPrefix + "head"
	leaderKey     = chainPrefix + "leader"
	journalPrefix = chainPrefix + "journal/"
	entryPrefix   = root + "kv/"
	expiryPrefix  = root + "expiry/"
	statePrefix   = root + "state/"

	electionPrefix = root + "election/"
)

// Limits on what a client may store.
const (
	MaxKeyBytes   = 512
	MaxValueBytes = 1 << 20
)

// position is a place in the chain: the sequence-th transaction of an epoch. A claim has sequence 0.
type position struct {
	epoch, sequence uint64
}

func (p position) String() string { return fmt.Sprintf("%012d/%012d", p.epoch, p.sequence) }

func (p position) journalKey() string { return journalPrefix + p.String() }

func parsePosition(s string) (position, error) {
	epoch, sequence, ok := strings.Cut(s, "/")
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	q, err2 := strconv.ParseUint(sequence, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return position{}, fmt.Errorf("not a position in the chain: %q", s)
	}
	return position{e, q}, nil
}

// expiryKey sorts by time, so that what is due is a prefix of the range.
func expiryKey(at time.Time, key string) string {
	return fmt.Sprintf("%s%015d/%s", expiryPrefix, at.UnixMilli(), key)
}

func parseExpiryKey(etcdKey string) (at time.Time, key string, err error) {
	ms, key, ok := strings.Cut(strings.TrimPrefix(etcdKey, expiryPrefix), "/")
	n, err := strconv.ParseInt(ms, 10, 64)
	if !ok || err != nil {
		return time.Time{}, "", fmt.Errorf("not an expiry key: %q", etcdKey)
	}
	return time.UnixMilli(n), key, nil
}

// prefixEnd is the first key after all keys that begin with prefix.
func prefixEnd(prefix string) string {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return string(end[:i+1])
		}
	}
	return "\x00"
}

// FormatRevision makes the token that clients are given for a revision. It names the cluster, so that a
// token outlives its cluster without being misread.
func (s *Store) FormatRevision(rev int64) string {
	return fmt.Sprintf("%d-%s", rev, s.clusterTag())
}

// ParseRevision reads a token made by FormatRevision. Errors: ErrBadRevision, ErrForeignRevision.
func (s *Store) ParseRevision(token string) (int64, error) {
	number, tag, ok := strings.Cut(token, "-")
	rev, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || rev < 1 || tag == "" {
		return 0, fmt.Errorf("%w: %q", ErrBadRevision, token)
	}
	if strconv.FormatInt(rev, 10) != number {
		return 0, fmt.Errorf("%w: %q", ErrBadRevision, token)
	}
	if tag != s.clusterTag() {
		return 0, fmt.Errorf("%w: %q", ErrForeignRevision, token)
	}
	return rev, nil
}

func (s *Store) clusterTag() string { return fmt.Sprintf("%04x", s.cfg.ClusterID&0xffff) }
