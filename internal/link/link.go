// Package link carries calls from one replica to another, many at a time on one connection.
//
// HTTP/1.1 needs a connection for each call under way, and system calls of its own for each. A link puts calls and answers into frames: what gathers while
// others are being sent goes out together, and no answer waits for another.
//
// Its one invariant: what is called is handed over once at most, and an error is ErrNotSent only if it certainly was not.
package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// MaxMessage bounds a call and an answer, in bytes; neither is empty. A longer one would hold up those behind it.
	MaxMessage = 64 << 10

	// beatEvery is how often each side gives a sign of life, and silence how long it waits for one: a connection can be dead and not say
	// so, and the process at its other end can stand still.
	beatEvery = 500 * time.Millisecond
	silence   = 2 * time.Second

	// A frame is the length of its message and an ID, and then the message. One with the ID of nobody is a sign of life.
	// An empty message calls off what was called under its ID.
	frameHeader = 12
	nobody      = 0

	// maxQueued bounds what waits to be sent, in bytes.
	maxQueued   = 512 << 10
	bufferBytes = 64 << 10
)

var (
	errLength = errors.New("a message of that length cannot be sent")
	errFull   = errors.New("too much waits to be sent")
	errEnded  = errors.New("the link has ended")
)

// link is what both sides have.
type link struct {
	conn   net.Conn
	reader *bufio.Reader
	ctx    context.Context // done when the link has ended
	end    context.CancelCauseFunc

	mu    sync.Mutex
	queue []byte        // frames that are still to be sent
	wake  chan struct{} // holds one token while there may be some
}

// newLink makes a link of a connection, of which reader has what was read already. It ends with ctx.
func newLink(ctx context.Context, conn net.Conn, reader *bufio.Reader) *link {
	l := &link{conn: conn, reader: reader, wake: make(chan struct{}, 1)}
	l.ctx, l.end = context.WithCancelCause(ctx)
	return l
}

// run sends, and hands over what comes, until the link ends. It returns why that is.
func (l *link) run(take func(id uint64, message []byte)) error {
	stop := context.AfterFunc(l.ctx, func() { _ = l.conn.Close() }) // which ends both
	defer stop()
	var sending sync.WaitGroup
	sending.Go(func() { l.end(l.sendAll()) })
	l.end(l.receiveAll(take))
	sending.Wait()
	_ = l.conn.Close()
	return context.Cause(l.ctx)
}

// send queues a message, and never waits. It refuses one for which there is no room; for an empty one there always is.
func (l *link) send(id uint64, message []byte) error {
	l.mu.Lock()
	if len(message) > 0 && len(l.queue)+len(message) > maxQueued {
		l.mu.Unlock()
		return errFull
	}
	l.queue = binary.BigEndian.AppendUint32(l.queue, uint32(len(message))) //nolint:gosec // at most MaxMessage
	l.queue = binary.BigEndian.AppendUint64(l.queue, id)
	l.queue = append(l.queue, message...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// sendAll sends what is queued, and signs of life, until the link ends.
func (l *link) sendAll() error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	var frames []byte
	for {
		select {
		case <-l.wake:
			runtime.Gosched() // those who are about to send come along
		case <-beat.C:
			_ = l.send(nobody, nil) // there is room for it
		case <-l.ctx.Done():
			return errEnded
		}
		l.mu.Lock()
		frames, l.queue = l.queue, frames[:0]
		l.mu.Unlock()
		if err := l.write(frames); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		if cap(frames) > 2*bufferBytes {
			frames = nil // a burst is no reason to keep so much
		}
	}
}

// write writes in portions, each of which has to be through in time: a slow network is none that is dead.
func (l *link) write(frames []byte) error {
	for len(frames) > 0 {
		portion := frames[:min(len(frames), bufferBytes)]
		if err := l.conn.SetWriteDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
		if _, err := l.conn.Write(portion); err != nil {
			return err
		}
		frames = frames[len(portion):]
	}
	return nil
}

func (l *link) receiveAll(take func(id uint64, message []byte)) error {
	for {
		id, message, err := l.receive()
		if err != nil {
			return err
		}
		if id != nobody {
			take(id, message)
		}
	}
}

// receive reads a frame. It fails if none has come for as long as signs of life may take, or not the whole of it.
func (l *link) receive() (id uint64, message []byte, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, nil, err
	}
	var header [frameHeader]byte
	if _, err := io.ReadFull(l.reader, header[:]); err != nil {
		return 0, nil, fmt.Errorf("receive: %w", err)
	}
	size := binary.BigEndian.Uint32(header[:4])
	if size > MaxMessage {
		return 0, nil, fmt.Errorf("%w: %d bytes", errLength, size)
	}
	message = make([]byte, size)
	if err := l.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, nil, err
	}
	if _, err := io.ReadFull(l.reader, message); err != nil {
		return 0, nil, fmt.Errorf("receive the rest: %w", err)
	}
	return binary.BigEndian.Uint64(header[4:]), message, nil
}
