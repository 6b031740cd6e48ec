package link

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func echo(_ context.Context, message []byte) []byte { return message }

// linked is a link over TCP, whose server answers with handle.
func linked(t *testing.T, handle func(context.Context, []byte) []byte) (*Client, *server) {
	t.Helper()
	s := &server{ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	s.end = cancel
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ended <- Serve(ctx, w, r, handle) }))
	t.Cleanup(func() {
		cancel()
		h.Close()
	})
	s.url = h.URL
	c, err := Dial(t.Context(), new(net.Dialer).DialContext, h.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, s
}

type server struct {
	url   string
	end   func()
	ended chan error
}

// piped is a link in memory, for tests in which time passes as it should.
func piped(t *testing.T, handle func(context.Context, []byte) []byte) (*Client, *link) {
	t.Helper()
	near, far := net.Pipe()
	l := newLink(t.Context(), far, bufio.NewReader(far))
	go func() { _ = serve(l, handle) }()
	c := newClient(near, bufio.NewReader(near))
	t.Cleanup(func() {
		c.Close()
		l.end(errEnded)
	})
	return c, l
}

func TestEachCallGetsItsAnswer(t *testing.T) {
	t.Parallel()
	c, _ := linked(t, echo)
	var calls sync.WaitGroup
	for i := range 500 {
		calls.Go(func() {
			text := strings.Repeat(fmt.Sprintf("call %d ", i), 1+i%100)
			answer, err := c.Call(t.Context(), nil, []byte(text))
			if err != nil || string(answer) != text {
				t.Errorf("call %d was answered with %.20q, %v", i, answer, err)
			}
		})
	}
	calls.Wait()
}

func TestNoCallWaitsForAnother(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c, _ := linked(t, func(_ context.Context, message []byte) []byte {
		if string(message) == "slow" {
			<-release
		}
		return message
	})
	slow := make(chan error)
	go func() {
		_, err := c.Call(t.Context(), nil, []byte("slow"))
		slow <- err
	}()
	for range 10 {
		if _, err := c.Call(t.Context(), nil, []byte("quick")); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

func TestACallThatIsCalledOffHarmsNoOther(t *testing.T) {
	t.Parallel()
	arrived, calledOff := make(chan struct{}), make(chan struct{})
	c, _ := linked(t, func(ctx context.Context, message []byte) []byte {
		if string(message) == "slow" {
			close(arrived)
			<-ctx.Done()
			close(calledOff)
		}
		return message
	})
	stop := make(chan struct{})
	go func() {
		<-arrived
		close(stop)
	}()
	if _, err := c.Call(t.Context(), stop, []byte("slow")); !errors.Is(err, ErrUnanswered) {
		t.Errorf("a call that was sent and called off ends with: %v", err)
	}
	<-calledOff // the other side has heard of it
	if answer, err := c.Call(t.Context(), nil, []byte("next")); err != nil || string(answer) != "next" {
		t.Errorf("the next call was answered with %q, %v", answer, err)
	}
}

func TestCallsUnderWayEndWithTheLink(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	c, s := linked(t, func(ctx context.Context, message []byte) []byte {
		close(arrived)
		<-ctx.Done()
		return message
	})
	go func() {
		<-arrived
		s.end()
	}()
	if _, err := c.Call(t.Context(), nil, []byte("x")); !errors.Is(err, ErrUnanswered) {
		t.Errorf("a call under way when the link ends returns: %v", err)
	}
	if err := <-s.ended; err == nil { // it has waited for what it was handling
		t.Error("the server does not say why the link has ended")
	}
	if _, err := c.Call(t.Context(), nil, []byte("x")); !errors.Is(err, ErrNotSent) || !c.Ended() {
		t.Errorf("a call over a link that has ended returns: %v", err)
	}
}

func TestOnlyMessagesOfTheRightLengthAreSent(t *testing.T) {
	t.Parallel()
	c, _ := linked(t, echo)
	for _, n := range []int{0, MaxMessage + 1} {
		if _, err := c.Call(t.Context(), nil, make([]byte, n)); !errors.Is(err, ErrNotSent) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if answer, err := c.Call(t.Context(), nil, make([]byte, MaxMessage)); err != nil || len(answer) != MaxMessage {
		t.Errorf("the longest: %d bytes come back, %v", len(answer), err)
	}
}

func TestWhatFindsNoRoomIsNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nothing is read from it
		c := newClient(near, bufio.NewReader(near))
		var refused atomic.Int64
		var calls sync.WaitGroup
		for range 3 * maxQueued / MaxMessage { // one third may be being sent, and one be queued
			calls.Go(func() {
				if _, err := c.Call(t.Context(), nil, make([]byte, MaxMessage)); errors.Is(err, ErrNotSent) && errors.Is(err, errFull) {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := refused.Load(); n < maxQueued/MaxMessage {
			t.Errorf("%d calls were refused", n)
		}
		c.Close()
		calls.Wait()
		_ = far.Close()
	})
}

func TestACallThatNobodyWaitsForIsNotSent(t *testing.T) {
	t.Parallel()
	c, _ := linked(t, echo)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Call(ctx, nil, []byte("x")); !errors.Is(err, ErrNotSent) {
		t.Errorf("it returns: %v", err)
	}
}

func TestWhoTakesNoLinksRefuses(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	if _, err := Dial(t.Context(), new(net.Dialer).DialContext, h.URL); !errors.Is(err, ErrRefused) {
		t.Errorf("asked for a link, it answers: %v", err)
	}
}

func TestAnOrdinaryRequestIsNoLink(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	err := Serve(t.Context(), w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), echo)
	if !errors.Is(err, ErrRefused) || w.Code != http.StatusUpgradeRequired {
		t.Errorf("it is answered with %d, %v", w.Code, err)
	}
}

func TestALinkIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, new(net.Dialer).DialContext, "http://"+silent.Addr().String()); err == nil {
		t.Error("somebody who says nothing has made a link")
	}
}

func TestASlowAnswerKeepsTheLinkAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(t, func(_ context.Context, message []byte) []byte {
			time.Sleep(10 * silence)
			return message
		})
		if _, err := c.Call(t.Context(), nil, []byte("x")); err != nil {
			t.Errorf("an answer after %s: %v", 10*silence, err)
		}
	})
}

func TestASilentLinkEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }() // reads, as the kernel does for a process that stands still
		c := newClient(near, bufio.NewReader(near))
		start := time.Now()
		if _, err := c.Call(t.Context(), nil, []byte("x")); !errors.Is(err, ErrUnanswered) {
			t.Errorf("nobody answers, and the call returns: %v", err)
		}
		if d := time.Since(start); d != silence {
			t.Errorf("that took %s", d)
		}
		_ = far.Close()
	})
}

func TestALinkThatNobodyReadsEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var living sync.WaitGroup
		defer living.Wait()
		defer func() { _ = far.Close() }()
		living.Go(func() { // signs of life come, but nothing is taken
			for {
				if _, err := far.Write(make([]byte, frameHeader)); err != nil {
					return
				}
				time.Sleep(beatEvery)
			}
		})
		c := newClient(near, bufio.NewReader(near))
		start := time.Now()
		if _, err := c.Call(t.Context(), nil, []byte("x")); !errors.Is(err, ErrUnanswered) {
			t.Errorf("nothing is read, and the call returns: %v", err)
		}
		if d := time.Since(start); d != silence {
			t.Errorf("that took %s", d)
		}
	})
}

func TestAnIdleLinkEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, l := piped(t, echo)
		for range 3 {
			time.Sleep(idleLimit - time.Second)
			if _, err := c.Call(t.Context(), nil, []byte("x")); err != nil {
				t.Fatalf("it has ended too early: %v", err)
			}
		}
		time.Sleep(idleLimit)
		synctest.Wait()
		if !c.Ended() || l.ctx.Err() == nil {
			t.Error("nobody has called for a minute, and the link is there")
		}
	})
}

func TestTooLongAFrameEndsTheLink(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	go func() { _, _ = near.Write([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1}) }()
	if err := serve(newLink(t.Context(), far, bufio.NewReader(far)), echo); !errors.Is(err, errLength) {
		t.Errorf("it ends with: %v", err)
	}
}

// FuzzServe has whatever it is sent come over a link: it may end, but neither panics nor stays.
func FuzzServe(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 3))
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		done := make(chan error)
		go func() { done <- serve(newLink(t.Context(), far, bufio.NewReader(far)), echo) }()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		_, _ = near.Write(sent)
		_ = near.Close()
		if <-done == nil {
			t.Error("a link has ended for no reason")
		}
	})
}

// BenchmarkCalls makes calls from 64 goroutines.
func BenchmarkCalls(b *testing.B) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = Serve(b.Context(), w, r, echo) }))
	defer h.Close()
	c, err := Dial(b.Context(), new(net.Dialer).DialContext, h.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	message := make([]byte, 400)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Call(b.Context(), nil, message); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
