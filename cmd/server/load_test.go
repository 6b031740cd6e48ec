package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leasehold/leasehold/internal/loadgen"
	"github.com/leasehold/leasehold/internal/store"
)

func TestLoadFlags(t *testing.T) {
	t.Parallel()
	c, err := parseLoad(nil, io.Discard)
	want := loadgen.Config{Rate: 200, Length: 30 * time.Second, Clients: 64, Keys: 1000, ValueSize: 256, ReadPercent: 50, Timeout: 30 * time.Second}
	if err != nil || c.Config != want || len(c.urls) != demoReplicas {
		t.Errorf("without flags: %+v, %v", c, err)
	}
	c, err = parseLoad([]string{"--url", "a:1,https://b", "--url", "http://c:2/", "--reads", "0", "--linearizable"}, io.Discard)
	if got := strings.Join(c.urls, " "); err != nil || got != "http://a:1 https://b http://c:2/" || c.ReadPercent != 0 || !c.Linearizable {
		t.Errorf("with flags: %s, %+v, %v", got, c, err)
	}
}

func TestLoadFlagsThatAreWrong(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--rate=fast":       `--rate must be a whole number, not "fast"; "server load --help" lists the flags`,
		"--rate=0":          "--rate is 0; it may be 1 to 100000",
		"--clients=8001":    "--clients is 8001; it may be 1 to 8000",
		"--reads=101":       "--reads is 101; it may be 0 to 100",
		"--keys=63":         "--keys is 63; it must be at least as many as --clients (64): each client writes to a key of its own",
		"--value-size=63":   "--value-size is 63; it may be 64 to 1048576",
		"--duration=999ms":  "--duration is 999ms; it may be 1s to 24h",
		"--duration=25h":    "--duration is 25h0m0s; it may be 1s to 24h",
		"--timeout=2m":      "--timeout is 2m0s; it may be 1s to 1m",
		"--url=":            "say where the replicas are, with --url http://127.0.0.1:8081,http://127.0.0.1:8082",
		"--url=ftp://a":     `--url is "ftp://a"; it must be such as http://127.0.0.1:8081`,
		"--url=http://a/v1": `--url is "http://a/v1"; it must be such as http://127.0.0.1:8081`,
		"--url=http://a:x":  `--url is "http://a:x"; it must be such as http://127.0.0.1:8081`,
		"a:1":               `"a:1" is not a flag; "server load --help" lists the flags`,
	} {
		_, err := parseLoad([]string{args}, io.Discard)
		var said bytes.Buffer
		if code := exitCode(err, &said); code != 2 || said.String() != "server: "+want+"\n" {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, said.String(), want)
		}
	}
}

func TestLoadVerdict(t *testing.T) {
	t.Parallel()
	done := loadgen.Figures{Done: 1, Failed: 5, Unknown: 5, NotBegun: 5}
	for _, test := range []struct {
		r    loadgen.Result
		want string
	}{
		{loadgen.Result{Writes: done}, ""},
		{loadgen.Result{Reads: done}, ""},
		{loadgen.Result{Writes: loadgen.Figures{Failed: 5}}, "no operation succeeded"},
		{loadgen.Result{Writes: done, Losses: 2}, "acknowledged writes must not be lost, but 2 of them were"},
		{loadgen.Result{Writes: done, NotChecked: 3}, "3 keys could not be read back, so nobody knows whether their writes are lost"},
	} {
		err := verdict(test.r)
		if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
			t.Errorf("%+v: %v, want %q", test.r, err, test.want)
		}
	}
}

// said is what was printed so far.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// says waits until something has been printed that matches.
func (s *said) says(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	eventually(t, func() error {
		if text := s.String(); !re.MatchString(text) {
			return fmt.Errorf("%q is not in %s", pattern, text)
		}
		return nil
	})
}

// goLoad starts a load by its command line. What it returns waits for the end and returns the exit code.
func goLoad(t *testing.T, ctx context.Context, out *said, args ...string) (exit func() int) {
	t.Helper()
	done := make(chan int, 1)
	go func() { done <- exitCode(run(ctx, append([]string{"load"}, args...), out), out) }()
	return func() int {
		t.Helper()
		select {
		case code := <-done:
			return code
		case <-time.After(2 * patience):
			t.Fatalf("the load goes on:\n%s", out)
			return 0
		}
	}
}

func TestLoadThroughAFailover(t *testing.T) {
	t.Parallel()
	skipShort(t)
	c := startCluster(t, 3)
	var out said
	args := []string{"--duration", "1h", "--rate", "40", "--clients", "8", "--keys", "20", "--linearizable"}
	for _, n := range c.nodes {
		args = append(args, "--url", n.url(""))
	}
	ctx, stop := context.WithCancel(t.Context())
	exit := goLoad(t, ctx, &out, args...)
	out.says(t, `(?m)^ +\d+ +[1-9]`)
	old := c.leader()
	old.crash()
	eventually(t, func() error {
		for _, n := range c.nodes {
			if n != old && n.running().leads(store.Writes) {
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	seen := strings.Count(out.String(), "\n")
	out.says(t, fmt.Sprintf(`(\n.*){%d}\n +\d+ +[1-9]`, seen+1)) // writes in a second that began after that
	stop()
	if code := exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	out.says(t, `writes +\d.*\n.*reads +\d[\s\S]*longest gap +\d[\s\S]*acknowledged +[1-9]\d* of [\s\S]*failed +0\n +unknown +0\n[\s\S]*lost +0\n$`)
	t.Log(out.String())
}

// forgetful is a store of one replica that acknowledges every write and keeps all but one.
type forgetful struct {
	mu      sync.Mutex
	values  map[string]string
	tags    map[string]string
	writes  int
	forgets int
}

func (f *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, tag := r.URL.Path, f.tags[r.URL.Path]
	switch {
	case r.Method == http.MethodDelete:
		delete(f.values, key)
		delete(f.tags, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut && r.Header.Get("If-Match") != tag:
		w.WriteHeader(http.StatusPreconditionFailed)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		tag = fmt.Sprintf(`"%d-3f2a"`, f.writes)
		if f.writes != f.forgets {
			f.values[key], f.tags[key] = string(body), tag
		}
		f.writes++
		w.Header().Set("ETag", tag)
	case tag == "":
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("ETag", tag)
		_, _ = io.WriteString(w, f.values[key])
	}
}

func TestLoadNoticesALostWrite(t *testing.T) {
	t.Parallel()
	for forgets, code := range map[int]int{-1: 0, 10: 1, 30: 1, 67: 1} { // 20 fill the keys, and 48 come after them
		f := &forgetful{values: map[string]string{}, tags: map[string]string{}, forgets: forgets}
		server := httptest.NewServer(f)
		defer server.Close()
		var out said
		exit := goLoad(t, t.Context(), &out, "--url", server.URL, "--rate", "60", "--reads", "20", "--duration", "1s", "--clients", "4", "--keys", "20")
		if got := exit(); got != code {
			t.Errorf("write %d is forgotten: exit code %d, want %d:\n%s", forgets, got, code, out.String())
		}
		out.says(t, map[int]string{
			0: `acknowledged +48 of 48 writes\n +answered +12 of 12 reads\n[\s\S]*lost +0\n$`,
			1: `lost +1\n +load/.* is acknowledged, but it holds [\s\S]*server: acknowledged writes must not be lost, but 1 of them were\n$`,
		}[code])
	}
}

func TestLoadThatCannotBegin(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(w, `{"detail": "The store is full.", "applied": "no"}`)
		}
	}))
	defer server.Close()
	var out said
	if code := goLoad(t, t.Context(), &out, "--url", server.URL)(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	out.says(t, `server: there was no load: the keys could not be written: not applied: http://.*: 507 The store is full\.\n$`)
}

func TestLoadOutputFitsATerminal(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&forgetful{values: map[string]string{}, tags: map[string]string{}, forgets: -1})
	defer server.Close()
	var out said
	ctx, stop := context.WithCancel(t.Context())
	exit := goLoad(t, ctx, &out, "--url", server.URL)
	out.says(t, `(?m)^ +1 +[1-9]`)
	stop()
	if code := exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colors in what is not a terminal")
	}
	for d, want := range map[time.Duration]string{
		300 * time.Microsecond: "0.3 ms", 9990 * time.Microsecond: "10.0 ms", 12 * time.Millisecond: "12 ms",
		1234 * time.Millisecond: "1.23 s", 61 * time.Second: "61 s",
	} {
		if got := short(d); got != want {
			t.Errorf("%s is shown as %q, want %q", d, got, want)
		}
	}
}
