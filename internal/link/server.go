package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxUnderWay bounds the calls of one link that are being answered, by the bytes of their messages and callWeight for each. More are not
	// read until some have been.
	maxUnderWay = 96 << 20
	callWeight  = 1 << 10
)

var errEarly = errors.New("a call came before the link was made")

// Serve makes a link of the connection that r came over, and has handle answer what is called over it until the link ends or ctx is done. It
// returns why the link has ended when all that was called has been answered; the HTTP server knows nothing of it by then. If r asks for no link,
// or ctx is done already, it is answered so.
//
// An answer is at most MaxMessage long. handle is called concurrently, with a context that is done when the link ends or nobody waits for the answer any
// more.
func Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, handle func(ctx context.Context, message []byte) []byte) error {
	if r.Header.Get("Upgrade") != protocol || ctx.Err() != nil {
		w.Header().Set("Upgrade", protocol)
		w.WriteHeader(http.StatusUpgradeRequired)
		return ErrRefused
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if buffered.Reader.Buffered() > 0 {
		return errEarly
	}
	if err := conn.SetDeadline(time.Time{}); err != nil { // the HTTP server's are of no use any more
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n"); err != nil {
		return fmt.Errorf("make the link: %w", err)
	}
	return serve(newLink(ctx, conn, bufio.NewReaderSize(conn, bufferBytes)), handle)
}

func serve(l *link, handle func(ctx context.Context, message []byte) []byte) error {
	c := &calls{link: l, handle: handle, room: semaphore.NewWeighted(maxUnderWay), under: map[uint64]context.CancelFunc{}}
	err := l.run(c.take)
	_ = c.room.Acquire(context.Background(), maxUnderWay) // once the last one has returned
	return err
}

// calls are those of one link that are being answered.
type calls struct {
	link   *link
	handle func(ctx context.Context, message []byte) []byte
	room   *semaphore.Weighted

	mu    sync.Mutex
	under map[uint64]context.CancelFunc // by ID
}

// take begins to answer a call, or calls it off.
func (c *calls) take(id uint64, message []byte) {
	if len(message) == 0 {
		c.forget(id)
		return
	}
	weight := int64(len(message) + callWeight)
	if err := c.room.Acquire(c.link.ctx, weight); err != nil {
		return // the link has ended
	}
	ctx, cancel := context.WithCancel(c.link.ctx)
	c.mu.Lock()
	c.under[id] = cancel
	c.mu.Unlock()
	go func() {
		defer c.room.Release(weight)
		defer c.forget(id)
		if err := c.link.send(id, c.handle(ctx, message)); err != nil {
			c.link.end(err) // the other side sends, and does not read
		}
	}()
}

// forget cancels the call's context, which nobody needs any more.
func (c *calls) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel, ok := c.under[id]; ok {
		cancel()
		delete(c.under, id)
	}
}
