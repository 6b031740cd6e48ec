package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// stage is a replica whose watches show what is put, with the faults that it is given.
type stage struct {
	mu      sync.Mutex
	watches []chan string
	puts    int

	skip, twice int // which put is not shown to the last watch, or shown twice; 0 is none
}

// newStage serves until the end of the test.
func newStage(t *testing.T) (*stage, string) {
	t.Helper()
	s := &stage{}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		body, _ := io.ReadAll(r.Body)
		s.show(strings.TrimPrefix(r.URL.Path, "/v1/kv/"), string(body))
		return
	}
	if r.URL.Path != "/v1/watch" || r.URL.Query().Get("prefix") != keyPrefix {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	events := make(chan string, 1000)
	s.mu.Lock()
	s.watches = append(s.watches, events)
	s.mu.Unlock()
	flusher, _ := w.(http.Flusher)
	for text := "retry: 1000\nid: 1-a\n\n"; ; {
		fmt.Fprint(w, text)
		flusher.Flush()
		select {
		case text = <-events:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *stage) show(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	event := fmt.Sprintf("id: %d-a\nevent: put\ndata: {\"key\":%q,\"value\":%q,\"encoding\":\"utf-8\"}\n\n", s.puts, key, value)
	for i, w := range s.watches {
		last := i == len(s.watches)-1
		if last && s.puts == s.skip {
			continue
		}
		w <- event
		if last && s.puts == s.twice {
			w <- event
		}
	}
}

// writersBefore are writers whose changes so many watchers look at.
func writersBefore(t *testing.T, base string, watchers, writers int) (*audience, []*worker) {
	t.Helper()
	var own []string
	var all []*worker
	for i := range writers {
		c := newHTTPClient(base)
		t.Cleanup(c.close)
		all = append(all, newWorker(c, "test", i))
		own = append(own, all[i].own)
	}
	a, err := gather(t.Context(), base, keyPrefix, watchers, own)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a, all
}

func TestAChangeIsDoneWhenEveryWatcherHasSeenIt(t *testing.T) {
	t.Parallel()
	const watchers, writers, changes = 5, 3, 40
	s, base := newStage(t)
	a, all := writersBefore(t, base, watchers, writers)
	var writing sync.WaitGroup
	for _, w := range all {
		writing.Go(func() {
			for i := range changes {
				if err := a.change(t.Context(), w); err != nil {
					t.Errorf("change %d of %s: %v", i+1, w.own, err)
				}
			}
		})
	}
	writing.Wait()
	if seen := a.seen.Load(); seen != watchers*writers*changes || a.lost() != 0 || s.puts != writers*changes {
		t.Errorf("%d events were seen, %d lost, of %d puts", seen, a.lost(), s.puts)
	}
}

func TestNobodyWaitsForAnAudienceOfNone(t *testing.T) {
	t.Parallel()
	s, base := newStage(t)
	a, all := writersBefore(t, base, 0, 1)
	if err := a.change(t.Context(), all[0]); err != nil || s.puts != 1 || a.lost() != 0 {
		t.Errorf("%d puts, %d lost, %v", s.puts, a.lost(), err)
	}
}

func TestAnEventThatIsLostIsNoticed(t *testing.T) {
	t.Parallel()
	s, base := newStage(t)
	s.skip = 2
	a, all := writersBefore(t, base, 3, 1)
	if err := a.change(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan error, 1)
	go func() { changed <- a.change(ctx, all[0]) }()
	mine := a.turns[all[0].own]
	err := await(t.Context(), "the others", func(context.Context) error {
		if mine.number.Load() < 2 || mine.seen.Load() < 2 {
			return errors.New("they have not seen it")
		}
		return nil
	})
	cancel()
	if err := errors.Join(err, <-changed); err == nil || !strings.Contains(err.Error(), "2 of 3 watchers have seen change 2") || a.lost() != 1 {
		t.Errorf("%v, %d lost", err, a.lost())
	}
}

func TestAnEventThatIsRepeatedIsNoticed(t *testing.T) {
	t.Parallel()
	s, base := newStage(t)
	s.twice = 1
	a, all := writersBefore(t, base, 3, 1)
	_ = a.change(t.Context(), all[0]) // may be done before the repetition comes
	<-a.ctx.Done()
	for range 20 {
		select {
		case a.turns[all[0].own].all <- struct{}{}: // as the first change may leave it
		default:
		}
		if err := a.change(t.Context(), all[0]); err == nil || !strings.Contains(err.Error(), "change 1 of "+all[0].own+" after 1") {
			t.Fatal(err)
		}
	}
}

func TestWatchersSeeEveryChangeInOrder(t *testing.T) {
	t.Parallel()
	event := func(key string, number int) []byte {
		return fmt.Appendf(nil, `{"key":"%s","value":"%0*d and more"}`, key, changeDigits, number)
	}
	for name, test := range map[string]struct {
		events [][]byte
		want   string // in the error; "" is none
	}{
		"in order":        {[][]byte{event("a", 1), event("b", 1), event("a", 2)}, ""},
		"one is missing":  {[][]byte{event("a", 1), event("a", 3)}, "change 3 of a after 1"},
		"one comes twice": {[][]byte{event("a", 1), event("a", 1)}, "change 1 of a after 1"},
		"a foreign key":   {[][]byte{event("c", 1)}, "c, which nobody writes"},
		"a problem":       {[][]byte{[]byte(`{"status":410,"detail":"That history is gone."}`)}, "That history is gone."},
		"not a number":    {[][]byte{[]byte(`{"key":"a","value":"leasehold leasehold"}`)}, "invalid syntax"},
	} {
		a := &audience{size: 9, turns: map[string]*turn{"a": {}, "b": {}}}
		last := map[string]int64{}
		var err error
		for _, e := range test.events {
			if err == nil {
				err = a.see(e, last)
			}
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWatchThatIsRefusedOrEndsIsNoticed(t *testing.T) {
	t.Parallel()
	_, base := newStage(t)
	if _, err := gather(t.Context(), base, "another/", 1, nil); err == nil || !strings.Contains(err.Error(), "400") {
		t.Error(err)
	}
	ending := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "id: 1-a\n\n") }))
	t.Cleanup(ending.Close)
	a, err := gather(t.Context(), ending.URL, keyPrefix, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	<-a.ctx.Done()
	if err := context.Cause(a.ctx); err == nil || !strings.Contains(err.Error(), "a watch has ended") {
		t.Error(err)
	}
}

func TestTheNumberOfAChangeStandsInTheValue(t *testing.T) {
	t.Parallel()
	w := newWorker(nil, "test", 0)
	key, number, err := parseEvent(fmt.Appendf(nil, `{"key":%q,"value":"%0*d%s"}`, w.own, changeDigits, 42, bytes.TrimRight(w.sized(20), " ")))
	if err != nil || key != w.own || number != 42 {
		t.Errorf("%q, %d, %v", key, number, err)
	}
}
