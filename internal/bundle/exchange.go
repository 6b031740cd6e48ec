package bundle

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// bundle is some calls that go together.
type bundle struct {
	transport *Transport
	ctx       context.Context // done when nobody waits for any of the calls
	cancel    context.CancelFunc

	// The mutex of the Transport guards these.
	calls   []*call // when they are sent, those that are left are taken out
	staying int     // calls that somebody waits for
	sent    bool
	closed  bool // what is not sent by now never is
}

// newBundle makes an empty one. No deadline but that of whoever waits ends it.
func newBundle(t *Transport) *bundle {
	ctx, cancel := context.WithCancel(context.Background())
	return &bundle{transport: t, ctx: ctx, cancel: cancel}
}

// exchange sends b and hands out the answers.
func (b *bundle) exchange(host string) {
	defer b.cancel()
	resp, err := b.send(host)
	calls, sent := b.close()
	if err == nil {
		defer func() { _ = resp.Body.Close() }() // what matters of it has been read
		calls, err = b.hear(resp, calls)
	}
	if err != nil && !sent {
		err = fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	for _, c := range calls {
		c.done <- result{err: err}
	}
}

func (b *bundle) send(host string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodPost, host+Path, &body{bundle: b})
	if err != nil {
		return nil, err
	}
	return b.transport.Base.RoundTrip(req)
}

// hear gives each call its answer. After an error it returns the calls that have none.
func (b *bundle) hear(resp *http.Response, calls []*call) ([]*call, error) {
	if resp.StatusCode != http.StatusOK {
		return calls, fmt.Errorf("%w: a bundle was refused as a whole: %s", ErrNotServed, resp.Status)
	}
	r := bufio.NewReader(resp.Body)
	for i, c := range calls {
		if err := b.answer(r, c); err != nil {
			return calls[i:], fmt.Errorf("read an answer out of a bundle: %w", err)
		}
	}
	_, _ = r.Peek(1) // sees the end, so that the connection is used again
	return nil, nil
}

// answer reads the next answer, which is c's, into memory, as far as it is wanted.
func (b *bundle) answer(r *bufio.Reader, c *call) error {
	answer, err := http.ReadResponse(r, c.request)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, b.transport.MaxAnswerBytes))
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil { // it reads the rest
		return err
	}
	answer.Body = io.NopCloser(bytes.NewReader(content))
	c.done <- result{answer: answer}
	return nil
}

// close has nothing be sent any more. It returns the calls that wait for an answer, and whether they were sent.
func (b *bundle) close() ([]*call, bool) {
	b.transport.mu.Lock()
	defer b.transport.mu.Unlock()
	b.closed = true
	return b.calls, b.sent
}

// leave is called with the mutex held when one more call is given up because of cause.
func (b *bundle) leave(cause error) error {
	if b.staying--; b.staying == 0 {
		b.cancel()
	}
	if !b.sent {
		return fmt.Errorf("%w: %w", ErrNotServed, cause)
	}
	return cause
}

// open is called once the connection is there. It returns what is to be sent: what is given up by then is not.
func (b *bundle) open() (io.Reader, error) {
	b.transport.mu.Lock()
	defer b.transport.mu.Unlock()
	if b.closed || b.staying == 0 {
		return nil, ErrNotServed
	}
	b.sent = true
	var staying []*call
	var wires []io.Reader
	for _, c := range b.calls {
		if !c.left {
			staying = append(staying, c)
			wires = append(wires, bytes.NewReader(c.wire))
		}
	}
	b.calls = staying
	return io.MultiReader(wires...), nil
}

// body is that of the request that carries a bundle.
type body struct {
	bundle *bundle
	wire   io.Reader
}

// Read implements io.Reader.
func (r *body) Read(p []byte) (int, error) {
	if r.wire == nil {
		var err error
		if r.wire, err = r.bundle.open(); err != nil {
			return 0, err
		}
	}
	return r.wire.Read(p)
}

// Close implements io.Closer.
func (*body) Close() error { return nil }
