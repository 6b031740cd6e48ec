package loadgen

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/leasehold/leasehold/internal/client"
)

// MinValueSize has room for what makes each value different from all others.
const MinValueSize = 64

// register is a key and what is known of it. One client has it at a time. Each write is conditional on the one before it, so
// one that is lost is noticed although others follow: the next one finds its condition broken.
type register struct {
	key      string
	size     int    // of its values
	revision string // at which it is; "" where it does not exist
	acked    int64  // number of the newest write that is known to be applied; 0 for none
	tried    int64  // number of the newest write
	open     bool   // of the newest one nobody has said what became of it
}

func newRegister(prefix string, i, size int) *register {
	return &register{key: fmt.Sprintf("%s%06d", prefix, i), size: size}
}

func (r *register) value(number int64) string {
	text := fmt.Sprintf("%s write %d ", r.key, number)
	return text + strings.Repeat(".", max(0, r.size-len(text)))
}

// holds is the number of the write that value is of, if it is one between the newest that is known to be applied and the
// newest of all.
func (r *register) holds(value string) (number int64, ok bool) {
	if value != "" {
		_, _ = fmt.Sscanf(value, r.key+" write %d", &number) // what does not fit is no value of this register
		if value != r.value(number) {
			return 0, false
		}
	}
	return number, r.acked <= number && number <= r.tried
}

// write makes the next write to r.
func (l *Load) write(ctx context.Context, r *register, first int) error {
	if r.open {
		if _, err := l.look(ctx, r, first); err != nil {
			return fmt.Errorf("%w: %w", client.ErrNotApplied, err)
		}
	}
	err := l.put(ctx, r, first)
	if !errors.Is(err, client.ErrCondition) {
		return err
	}
	// The write before it is lost; or one that was given up has been applied since.
	if _, err := l.look(ctx, r, first); err != nil {
		return fmt.Errorf("%w: %w", client.ErrNotApplied, err)
	}
	return l.put(ctx, r, first)
}

func (l *Load) put(ctx context.Context, r *register, first int) error {
	r.tried++
	applied, err := l.store.Put(ctx, client.Write{
		Key: r.key, Value: []byte(r.value(r.tried)), First: first, IfRevision: r.revision, IfNew: r.revision == "",
		IdempotencyKey: fmt.Sprintf("%s-%d", strings.ReplaceAll(r.key, "/", "-"), r.tried),
	})
	r.open = errors.Is(err, client.ErrUnknown)
	if err == nil {
		r.acked, r.revision = r.tried, applied.Revision
	}
	return err
}

// look reads r and goes on from what it holds. It returns whether that is what it should be. The error is client.ErrNotRead.
func (l *Load) look(ctx context.Context, r *register, first int) (intact bool, err error) {
	v, err := l.store.Get(ctx, client.Read{Key: r.key, First: first, Linearizable: true})
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return false, err
	}
	number, intact := r.holds(string(v.Value))
	if !intact {
		l.tally.lose(fmt.Errorf("%s: write %d is acknowledged, but it holds %s", r.key, r.acked, describe(v)))
	}
	r.acked, r.revision, r.open = number, v.Revision, false
	return intact, nil
}

// describe is what a key holds, for a person.
func describe(v client.Value) string {
	const most = 60
	switch text := string(v.Value); {
	case v.Revision == "":
		return "nothing"
	case len(text) > most:
		return fmt.Sprintf("%q…", text[:most])
	default:
		return fmt.Sprintf("%q", text)
	}
}
