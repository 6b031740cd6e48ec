package api

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"

	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/link"
	"github.com/leasehold/leasehold/internal/store"
)

// linkPath is where a replica takes links from others, on its internal listener.
const linkPath = "/v1/link"

// Internal is what other replicas ask, over links and without.
func (s *Server) Internal() http.Handler {
	routes := s.internalRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != linkPath {
			routes.ServeHTTP(w, r)
			return
		}
		err := link.Serve(s.linked, w, r, s.decideLinked)
		s.log.Debug("a link has ended", zap.String("from", r.RemoteAddr), zap.Error(err))
	})
}

// EndLinks ends the links from and to other replicas; what is under way on them is not waited for.
func (s *Server) EndLinks() {
	s.endLinked()
	for _, e := range s.elections {
		e.router.links.close()
	}
}

// decideLinked decides a write that came over a link, as direct does one that came alone.
func (s *Server) decideLinked(ctx context.Context, message []byte) (answer []byte) {
	defer func() {
		if p := recover(); p != nil { // as an HTTP server does
			s.log.Error("panic while a write was decided", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			answer = linkedOutcome{result: linkedUnknown}.encode()
		}
	}()
	o, err := s.decideMessage(ctx, message)
	return s.linkedOutcome(o, err).encode()
}

func (s *Server) decideMessage(ctx context.Context, message []byte) (store.Outcome, error) {
	w, err := decodeLinkedWrite(message)
	if err != nil || w.key == "" { // under the key it is applied once
		return store.Outcome{}, errMessage
	}
	r, err := w.request()
	if err != nil {
		return store.Outcome{}, err
	}
	sub, err := s.check(r, w.body, s.decodeWrite, w.key)
	if err != nil {
		return store.Outcome{}, err
	}
	command, ok := sub.command.(writeCommand)
	if !ok {
		return store.Outcome{}, errAlone
	}
	addressed := address{store.Writes, w.epoch, w.deadline}
	if err := s.writes().addressedHere(addressed); err != nil {
		return store.Outcome{}, err
	}
	ctx, cancel := addressed.waiting(ctx)
	defer cancel()
	return command.decide(ctx, s, sub.id, sub.client)
}

func (s *Server) linkedOutcome(o store.Outcome, err error) linkedOutcome {
	switch {
	case err == nil:
		return linkedOutcome{result: linkedDecided, outcome: o}
	case errors.Is(err, store.ErrUnknown):
		return linkedOutcome{result: linkedUnknown}
	case errors.Is(err, store.ErrNotLeading):
		leader, _ := s.writes().Leader()
		return linkedOutcome{result: linkedNotLeading, leader: hint{leader.Current(), leader.Epoch}}
	}
	return linkedOutcome{result: linkedAlone}
}

// decodeWrite decodes whatever goes over a link; the routes of decided say the same of HTTP.
func (s *Server) decodeWrite(r *http.Request, body []byte) (command, error) {
	ofKey := strings.HasPrefix(r.URL.Path, "/v1/kv/")
	switch {
	case ofKey && r.Method == http.MethodPut:
		return s.decodePut(r, body)
	case ofKey && r.Method == http.MethodPost:
		return s.decodeCreate(r, body)
	case ofKey && r.Method == http.MethodDelete:
		return s.decodeDelete(r, body)
	case r.URL.Path == "/v1/kv" && r.Method == http.MethodPost:
		return s.decodeTransaction(r, body)
	}
	return nil, errAlone
}
