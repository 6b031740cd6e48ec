package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
)

const (
	keyCount   = 10_000
	valueBytes = 256
	listLimit  = 100
	keyPrefix  = "bench/"
)

// Names of operations that others refer to.
const (
	opWrite              = "write"
	opWriteFollower      = "write-follower"
	opRead               = "read"
	opLinearizable       = "read-linearizable"
	opLinearizableFollow = "read-linearizable-follower"
	opMixed              = "mixed"
	opConditional        = "conditional"
	opList               = "list"
)

// operation is what the clients of a cell do.
type operation struct {
	name, title string
	at          func(leader, i int) int // the node that client i talks to
	do          func(ctx context.Context, w *worker) error
}

var operations = []operation{
	{opWrite, "writes at the leader", atLeader, write},
	{opWriteFollower, "writes through a follower", atFollowers, write},
	{opRead, "local reads at a follower", atFollowers, readLocal},
	{opLinearizable, "linearizable reads at the leader", atLeader, readLinearizable},
	{opLinearizableFollow, "linearizable reads at a follower", atFollowers, readLinearizable},
	{opMixed, "90 % local reads, 10 % writes, at all nodes", atAll, mixed},
	{opConditional, "conditional writes at the leader", atLeader, conditional},
	{opList, fmt.Sprintf("lists of %d entries at a follower", listLimit), atFollowers, list},
}

func operationNames() (names []string) {
	for _, o := range operations {
		names = append(names, o.name)
	}
	return names
}

func atLeader(leader, _ int) int    { return leader }
func atFollowers(leader, i int) int { return (leader + 1 + i%(nodes-1)) % nodes }
func atAll(_, i int) int            { return i % nodes }

// worker is what one client of a cell works with.
type worker struct {
	client client
	random *rand.Rand
	own    string // a key that no other worker touches
	value  []byte // the first bytes are the key that it is written to
}

// newWorker makes a worker. Its number is one of its own in the group.
func newWorker(c client, group string, number int) *worker {
	return &worker{
		client: c, random: rand.New(rand.NewPCG(uint64(number), keyCount)), own: ownKey(group, number),
		value: []byte(strings.Repeat("leasehold ", valueBytes)[:valueBytes]),
	}
}

func ownKey(group string, number int) string {
	return fmt.Sprintf("%sown-%s-%05d", keyPrefix, group, number)
}

var keys = func() (keys [keyCount]string) {
	for i := range keys {
		keys[i] = fmt.Sprintf("%skey-%05d", keyPrefix, i)
	}
	return keys
}()

// valueOf is a new value for a key: no two in a row are the same. It is valid until the next call.
func (w *worker) valueOf(key string) []byte {
	n := copy(w.value, key)
	w.value[n] = '='
	for i := n + 1; i < n+9; i++ {
		w.value[i] = 'a' + byte(w.random.UintN(26))
	}
	return w.value
}

func checkValue(key string, value []byte) error {
	if len(value) != valueBytes || string(value[:len(key)]) != key {
		return fmt.Errorf("read a value of %d bytes that was never written to %s", len(value), key)
	}
	return nil
}

func (w *worker) key() string { return keys[w.random.UintN(keyCount)] }

func write(ctx context.Context, w *worker) error {
	key := w.key()
	return w.client.write(ctx, key, w.valueOf(key))
}

func read(ctx context.Context, w *worker, linearizable bool) error {
	key := w.key()
	value, err := w.client.read(ctx, key, linearizable)
	if err != nil {
		return err
	}
	return checkValue(key, value)
}

func readLocal(ctx context.Context, w *worker) error        { return read(ctx, w, false) }
func readLinearizable(ctx context.Context, w *worker) error { return read(ctx, w, true) }

func mixed(ctx context.Context, w *worker) error {
	if w.random.UintN(10) == 0 {
		return write(ctx, w)
	}
	return readLocal(ctx, w)
}

func conditional(ctx context.Context, w *worker) error {
	return w.client.swap(ctx, w.own, w.valueOf(w.own))
}

func list(ctx context.Context, w *worker) error {
	n, err := w.client.list(ctx, keys[w.random.UintN(keyCount-listLimit)])
	if err == nil && n != listLimit {
		err = fmt.Errorf("a list has %d entries, not %d", n, listLimit)
	}
	return err
}
