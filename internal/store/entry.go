package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Entry is a value and what was stored with it.
type Entry struct {
	Key         string
	Value       []byte
	ContentType string
	// Expires is when the entry is due to be deleted; zero means never. An entry past it stays readable until
	// the leader has deleted it.
	Expires time.Time
	// Revision is the one at which the entry was last written. Set by reads.
	Revision int64
}

const entryVersion = 1

var errEntry = errors.New("malformed entry")

// encode puts what belongs to the value in front of it: a version, the expiry in milliseconds, the content
// type. The value itself stays as it is, readable with etcdctl.
func (e Entry) encode() []byte {
	var ms uint64
	if !e.Expires.IsZero() {
		ms = uint64(e.Expires.UnixMilli())
	}
	b := make([]byte, 0, 1+2*binary.MaxVarintLen64+len(e.ContentType)+len(e.Value))
	b = append(b, entryVersion)
	b = binary.AppendUvarint(b, ms)
	b = binary.AppendUvarint(b, uint64(len(e.ContentType)))
	b = append(b, e.ContentType...)
	return append(b, e.Value...)
}

func decodeEntry(key string, b []byte, revision int64) (Entry, error) {
	if len(b) == 0 || b[0] != entryVersion {
		return Entry{}, fmt.Errorf("%w: %q", errEntry, key)
	}
	b = b[1:]
	ms, n := binary.Uvarint(b)
	if n <= 0 {
		return Entry{}, fmt.Errorf("%w: %q", errEntry, key)
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || uint64(len(b)-n) < size {
		return Entry{}, fmt.Errorf("%w: %q", errEntry, key)
	}
	b = b[n:]
	e := Entry{Key: key, ContentType: string(b[:size]), Value: b[size:], Revision: revision}
	if ms != 0 {
		e.Expires = time.UnixMilli(int64(ms)).UTC()
	}
	return e, nil
}

// CheckKey returns what is wrong with a client's key, wrapped in ErrInvalid, or nil.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: the key is empty", ErrInvalid)
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("%w: the key has %d bytes; %d are allowed", ErrInvalid, len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: the key is not UTF-8", ErrInvalid)
	}
	return nil
}
