package sidecar

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func (m *member) ask(path string) string {
	w := httptest.NewRecorder()
	m.Handler(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return fmt.Sprintf("%d %s", w.Code, w.Body)
}

func TestHTTPSaysWhoLeads(t *testing.T) {
	bubble(t, 2, func(s *site) {
		for path, want := range map[string]string{
			"/": "200 {\"name\":\"\"}\n", "/leader": "404 {\"holder\":\"\",\"leading\":false}\n", "/other": "404 404 page not found\n",
		} {
			if got := s.members[0].ask(path); got != want {
				t.Errorf("before anything is known, %s: %s", path, got)
			}
		}
		s.start()
		leads := s.leader(time.Second)
		time.Sleep(time.Second)
		_, epochs := leads.command.log()
		for _, m := range s.members {
			want := fmt.Sprintf("404 {\"holder\":%q,\"leading\":false}\n", leads.pod)
			if m == leads {
				want = fmt.Sprintf("200 {\"holder\":%q,\"leading\":true,\"epoch\":%d}\n", leads.pod, epochs[0])
			}
			if got := m.ask("/leader"); got != want {
				s.t.Errorf("%s says %s, want %s", m.pod, got, want)
			}
			if got, want := m.ask("/"), fmt.Sprintf("200 {\"name\":%q}\n", leads.pod); got != want {
				s.t.Errorf("%s says %s, want %s", m.pod, got, want)
			}
		}
	})
}

// streamWriter is a connection of which only the stream is looked at.
type streamWriter struct {
	*io.PipeWriter
	header http.Header
}

func (w streamWriter) Header() http.Header              { return w.header }
func (streamWriter) WriteHeader(int)                    {}
func (streamWriter) Flush()                             {}
func (streamWriter) SetWriteDeadline(_ time.Time) error { return nil }

func TestEventsTellEachChange(t *testing.T) {
	bubble(t, 2, func(s *site) {
		ctx, cancel := context.WithCancel(context.Background())
		reader, writer := io.Pipe()
		watched, ended := s.members[0], make(chan struct{})
		go func() {
			defer close(ended)
			watched.Handler(nil).ServeHTTP(streamWriter{writer, http.Header{}}, httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil))
			writer.Close()
		}()
		lines := bufio.NewScanner(reader)
		next := func() string {
			for lines.Scan() {
				if text := lines.Text(); len(text) > 6 && text[:5] == "data:" {
					return text[6:]
				}
			}
			return "the end"
		}
		if got := next(); got != `{"holder":"","leading":false}` {
			t.Errorf("the first event is %s", got)
		}
		s.start()
		leads := s.leader(time.Second)
		for want := fmt.Sprintf(`{"holder":%q,"leading":%t`, leads.pod, leads == watched); ; {
			if got := next(); len(got) >= len(want) && got[:len(want)] == want {
				break
			} else if got == "the end" {
				t.Fatalf("no event says %s", want)
			}
		}
		cancel()
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		<-ended
	})
}
