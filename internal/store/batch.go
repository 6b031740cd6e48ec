package store

import (
	"cmp"
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// Limits of one transaction. They leave room below what the member is set to accept (4,096 operations and
// 4 MiB) for head and journal.
const (
	maxBatchOps   = 2048
	maxBatchBytes = 2 << 20
	// maxConditions bounds the local reads that one write costs the committer.
	maxConditions = 512
)

// batch is the writes that share one transaction. The leader decides each of them when it is admitted, by
// reading its own member and by what the batch has decided so far; etcd confirms or refuses the whole.
type batch struct {
	store *Store
	at    position

	admitted  []*pending
	refused   []refused
	byID      map[ID]*pending
	decisions []decision
	ops       []clientv3.Op
	bytes     int
	full      bool
	// taken are the keys that the batch writes, and those of writes that were put off: a later write that
	// touches one of them waits for the next batch.
	taken map[string]bool
}

// refused is a write that is not taken. It hears so when the batch is committed: only then is it certain that
// no later leader has applied it under the same ID.
type refused struct {
	*pending
	why error
}

func newBatch(s *Store, at position) *batch {
	return &batch{store: s, at: at, byID: map[ID]*pending{}, taken: map[string]bool{}}
}

// admit takes p in, answers it at once, or returns false: it has to wait for the next batch.
func (b *batch) admit(p *pending) bool {
	w := p.write
	if r, ok := b.store.journal.lookup(w.ID); ok {
		p.replay(r)
		return true
	}
	if first, ok := b.byID[w.ID]; ok {
		b.join(first, p)
		return true
	}
	if b.full || b.touchesTaken(w) || b.overflows(w) {
		b.take(w)
		return false
	}
	if err := b.refusal(w); err != nil {
		b.refused = append(b.refused, refused{p, err})
		b.byID[w.ID] = p
		return true
	}
	holds, err := b.holds(w)
	if err != nil {
		p.reply(Outcome{}, err)
		return true
	}
	b.add(p, holds)
	return true
}

// replay answers p with the outcome of an earlier write under the same ID.
func (p *pending) replay(r remembered) {
	if r.hash != p.write.Hash {
		p.reply(Outcome{}, ErrKeyReused)
		return
	}
	p.reply(Outcome{Applied: r.applied, Revision: r.revision, Epoch: r.at.epoch, Replayed: true}, nil)
}

// join lets p wait for the outcome of first, which is the same write.
func (b *batch) join(first, p *pending) {
	if first.write.Hash != p.write.Hash {
		p.reply(Outcome{}, ErrKeyReused)
		return
	}
	first.twins = append(first.twins, p)
}

func (b *batch) touchesTaken(w *Write) bool {
	for _, o := range w.ops {
		if b.taken[o.key] {
			return true
		}
	}
	for _, c := range w.conditions {
		if b.taken[c.key] {
			return true
		}
	}
	return false
}

func (b *batch) overflows(w *Write) bool {
	if len(b.admitted) == 0 {
		return false
	}
	b.full = len(b.ops)+len(w.ops) > maxBatchOps || b.bytes+w.bytes > maxBatchBytes || len(b.admitted) >= maxBatchOps
	return b.full
}

// refusal tells why w cannot be taken at all, now.
func (b *batch) refusal(w *Write) error {
	if w.grows && b.store.cfg.Full() {
		return ErrFull
	}
	if n := b.store.journal.size() + len(b.admitted); n >= b.store.cfg.MaxRemembered && !w.prunes {
		return fmt.Errorf("%w: the outcomes of %d are remembered already", ErrBusy, n)
	}
	return nil
}

// holds evaluates w's conditions. What the batch has written so far does not come into it: a write that
// touches such a key has been put off.
func (b *batch) holds(w *Write) (bool, error) {
	for _, c := range w.conditions {
		revision, err := b.store.localRevision(c.key)
		if err != nil {
			return false, fmt.Errorf("%w: read %s: %w", ErrNotLeading, c.key, err)
		}
		if c.revision == Exists && revision == 0 || c.revision != Exists && c.revision != revision {
			return false, nil
		}
	}
	return true, nil
}

func (b *batch) add(p *pending, holds bool) {
	w := p.write
	b.admitted = append(b.admitted, p)
	b.byID[w.ID] = p
	b.decisions = append(b.decisions, decision{id: w.ID, hash: w.Hash, applied: holds, client: w.Client})
	if !holds {
		return
	}
	for _, o := range w.ops {
		b.ops = append(b.ops, o.etcd())
		b.taken[o.key] = true
	}
	b.bytes += w.bytes
}

func (b *batch) take(w *Write) {
	for _, o := range w.ops {
		b.taken[o.key] = true
	}
}

func (o op) etcd() clientv3.Op {
	if o.delete {
		return clientv3.OpDelete(o.key)
	}
	return clientv3.OpPut(o.key, string(o.value))
}

// transaction is the batch as it is sent, conditional on the revision of the head. If that has moved, the
// answer brings the batch's own journal record, the head, and the leader record.
func (b *batch) transaction(head int64) transaction {
	record := b.at.journalKey()
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(headKey), "=", head)}
	if sabotage.Chain {
		conditions = nil
	}
	return transaction{
		conditions: conditions,
		then: append(b.ops,
			clientv3.OpPut(headKey, b.at.String()),
			clientv3.OpPut(record, string(encodeDecisions(b.decisions)))),
		otherwise: []clientv3.Op{
			clientv3.OpGet(record, clientv3.WithKeysOnly()),
			clientv3.OpGet(headKey, clientv3.WithKeysOnly()),
			clientv3.OpGet(leaderKey),
		},
	}
}

// readFailure reads what a refused batch brings back: the revision of its journal record (0 if there is
// none), the revision of the head, and the leader record.
func readFailure(resp *clientv3.TxnResponse) (record, head int64, leader Leader, err error) {
	if len(resp.Responses) != 3 {
		return 0, 0, Leader{}, errShape
	}
	record = modRevision(resp.Responses[0].GetResponseRange())
	head = modRevision(resp.Responses[1].GetResponseRange())
	leader, err = leaderFrom((*clientv3.GetResponse)(resp.Responses[2].GetResponseRange()))
	return record, head, leader, err
}

func modRevision(r *pb.RangeResponse) int64 {
	if len(r.GetKvs()) == 0 {
		return 0
	}
	return r.GetKvs()[0].ModRevision
}

// replyAll answers every admitted write: with its outcome, or with err where the batch has none.
func (b *batch) replyAll(revision int64, err error) {
	for i, p := range b.admitted {
		if err != nil {
			p.reply(Outcome{}, err)
			continue
		}
		p.reply(Outcome{Applied: b.decisions[i].applied, Revision: revision, Epoch: b.at.epoch}, nil)
	}
	for _, p := range b.refused {
		p.reply(Outcome{}, cmp.Or(err, p.why))
	}
}

// localRevision is the revision at which this replica's own member holds key; 0 if it does not.
func (s *Store) localRevision(key string) (int64, error) {
	resp, err := s.cfg.KV.Get(context.Background(), key, clientv3.WithSerializable(), clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	if len(resp.Kvs) == 0 {
		return 0, nil
	}
	return resp.Kvs[0].ModRevision, nil
}
