package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/link"
	"github.com/leasehold/leasehold/internal/store"
)

const (
	// linkLimit is how long it may take to make a link.
	linkLimit = 2 * time.Second
	// linkPause is the least time from one attempt to the next one: a replica of an older version takes none.
	linkPause = 5 * time.Second
)

// errAlone is of a write that has to go over HTTP. Nothing was applied.
var errAlone = errors.New("it is to be sent alone")

// links keeps a link to the pod that leads. It is made in the background: nobody waits for one.
type links struct {
	url  func(pod string) (string, error)
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	pod   string
	epoch uint64
	link  *link.Client // nil while there is none
	tried time.Time    // when one was last asked for

	closed bool
}

// to returns the link to the leader that t names; nil if there is none, or not yet.
func (l *links) to(t target) *link.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case t.epoch < l.epoch || l.closed:
		return nil
	case t.epoch > l.epoch || t.pod != l.pod: // the pod that leads now may have led before, at another address
		l.drop()
		l.pod, l.epoch, l.tried = t.pod, t.epoch, time.Time{}
	}
	if l.link != nil && !l.link.Ended() {
		return l.link
	}
	if time.Since(l.tried) > linkPause {
		l.tried = time.Now()
		go l.make(t)
	}
	return nil
}

// make asks the leader for a link, and keeps it if it leads still.
func (l *links) make(t target) {
	url, err := l.url(t.pod)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), linkLimit)
	defer cancel()
	made, err := link.Dial(ctx, l.dial, url+linkPath)
	if err != nil {
		return // until there is one, writes go alone
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.pod != t.pod || l.epoch != t.epoch || l.link != nil && !l.link.Ended() {
		made.Close()
		return
	}
	l.link = made
}

func (l *links) drop() {
	if l.link != nil {
		l.link.Close()
		l.link = nil
	}
}

func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	l.closed = true
}

// forwardLinked sends a write over the link to the leader. The error is errAlone where there is none, or the write cannot go over it, and
// else as that of forward.
func (rt *router) forwardLinked(sub submission, t target) (answerFunc, error) {
	command, ok := sub.command.(writeCommand)
	if !ok || len(sub.body) > link.MaxMessage { // no write, or one that is too long
		return nil, errAlone
	}
	l := rt.links.to(t)
	if l == nil {
		return nil, errAlone
	}
	ctx, r := sub.request.Context(), sub.request
	deadline, _ := ctx.Deadline() // set for every submission
	w := linkedWrite{
		method: r.Method, uri: r.URL.RequestURI(),
		contentType: r.Header.Get("Content-Type"), ifMatch: r.Header.Get("If-Match"), ifNoneMatch: r.Header.Get("If-None-Match"),
		key: sub.key, epoch: t.epoch, deadline: deadline, body: sub.body,
	}
	text, err := l.Call(ctx, t.changed, w.encode())
	if errors.Is(err, link.ErrNotSent) {
		return nil, errAlone
	}
	if err != nil {
		return nil, rt.unanswered(err, true)
	}
	o, err := decodeLinkedOutcome(text)
	if err != nil {
		return nil, rt.unanswered(err, true)
	}
	return rt.relayLinked(command, t, o)
}

// relayLinked makes the answer out of what the leader has decided.
func (rt *router) relayLinked(command writeCommand, t target, o linkedOutcome) (answerFunc, error) {
	switch o.result {
	case linkedDecided:
		rt.metrics.forwarded.WithLabelValues("answered").Inc()
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(headerForwardedBy, rt.cfg.Pod)
			command.answer(rt.server, w, r, t.pod, o.outcome)
		}, nil
	case linkedNotLeading:
		rt.metrics.forwarded.WithLabelValues("not-leading").Inc()
		rt.learn(o.leader)
		return nil, store.ErrNotLeading
	case linkedAlone:
		return nil, errAlone
	}
	rt.metrics.forwarded.WithLabelValues("unknown").Inc()
	return nil, store.ErrUnknown
}
