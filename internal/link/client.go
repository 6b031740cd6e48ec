package link

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

var (
	// ErrRefused says that the other side takes no links.
	ErrRefused = errors.New("it takes no links")
	// ErrNotSent says that nothing was handed over.
	ErrNotSent = errors.New("not sent")
	// ErrUnanswered says that something may have been.
	ErrUnanswered = errors.New("sent, and not answered")

	errCalledOff = errors.New("called off")
	errIdle      = errors.New("nobody has called for a while")
)

const (
	// protocol is what a connection is upgraded to. Another one is needed when frames or signs of life change.
	protocol = "leasehold-link/1"
	// idleLimit is how long a link is kept that nobody calls over.
	idleLimit = time.Minute
)

// Client is the side of a link that calls. It is safe for concurrent use.
type Client struct {
	link *link

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan<- []byte // by the ID of the call

	idle *time.Timer
}

// Dial asks for a link at url, over a connection that dial makes. It blocks until ctx is done at the longest; the link ends without it.
// The error is ErrRefused if there is somebody who takes none.
func Dial(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), url string) (*Client, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, "tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(conn, bufferBytes)
	if err := upgrade(req, conn, reader); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newClient(conn, reader), nil
}

// upgrade makes the connection a link's.
func upgrade(req *http.Request, conn net.Conn, reader *bufio.Reader) error {
	stop := context.AfterFunc(req.Context(), func() { _ = conn.Close() })
	defer stop()
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("ask for a link: %w", err)
	}
	resp, err := http.ReadResponse(reader, req)
	if err != nil {
		return fmt.Errorf("ask for a link: %w", err)
	}
	_ = resp.Body.Close() // nothing in it matters
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != protocol {
		return fmt.Errorf("%w: %s", ErrRefused, resp.Status)
	}
	if !stop() {
		return req.Context().Err()
	}
	return nil
}

func newClient(conn net.Conn, reader *bufio.Reader) *Client {
	c := &Client{link: newLink(context.Background(), conn, reader), waiting: map[uint64]chan<- []byte{}}
	c.idle = time.AfterFunc(idleLimit, func() { c.link.end(errIdle) })
	go func() {
		defer c.idle.Stop()
		_ = c.link.run(c.answered) // calls tell why it has ended
	}()
	return c
}

// Close ends the link. Calls under way return ErrUnanswered.
func (c *Client) Close() { c.link.end(errEnded) }

// Ended tells whether the link has ended.
func (c *Client) Ended() bool { return c.link.ctx.Err() != nil }

// Call hands message over and waits for the answer until ctx is done, stop is closed or the link ends; the other side hears
// of it if nobody waits any more. Errors: ErrNotSent, also if message is longer than MaxMessage or empty, or too much waits to be sent, and ErrUnanswered.
func (c *Client) Call(ctx context.Context, stop <-chan struct{}, message []byte) ([]byte, error) {
	if len(message) == 0 || len(message) > MaxMessage {
		return nil, fmt.Errorf("%w: %w: %d bytes", ErrNotSent, errLength, len(message))
	}
	if err := cmp.Or(context.Cause(c.link.ctx), ctx.Err()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	id, answer := c.enter()
	defer c.leave(id)
	if err := c.link.send(id, message); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	var err error
	select {
	case a := <-answer:
		return a, nil
	case <-stop:
		err = errCalledOff
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.link.ctx.Done():
		err = context.Cause(c.link.ctx)
	}
	select {
	case a := <-answer: // it came just then
		return a, nil
	default:
		_ = c.link.send(id, nil) // there is room for it
		return nil, fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
}

func (c *Client) enter() (id uint64, answer <-chan []byte) {
	c.idle.Reset(idleLimit)
	ch := make(chan []byte, 1) // whoever reads never waits for who has called
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.waiting[c.last] = ch
	return c.last, ch
}

func (c *Client) leave(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// answered hands an answer to who waits for it, if somebody still does.
func (c *Client) answered(id uint64, message []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer, ok := c.waiting[id]; ok {
		answer <- message
		delete(c.waiting, id)
	}
}
