//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// probeWait is longer than a replica holds a write.
const probeWait = 12 * time.Second

// probed is what became of one write of a probe.
type probed struct {
	Key    string    `json:"key"`
	Status int       `json:"status"` // 0 if there was no answer
	At     time.Time `json:"at"`     // of the answer
}

// acknowledged tells whether the write was.
func (p probed) acknowledged() bool { return p.Status == http.StatusCreated }

// probe writes to one replica, a few writes at a time, each once, and prints a line of JSON for each.
func probe(base string, duration time.Duration, w io.Writer) {
	client := &http.Client{Timeout: probeWait}
	prefix := "e2e/probe/" + rand.Text()[:6]
	end := time.Now().Add(duration)
	var mu sync.Mutex
	var working sync.WaitGroup
	for i := range 4 {
		working.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				p := probed{Key: fmt.Sprintf("%s/%d/%d", prefix, i, n)}
				req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, base+"/v1/kv/"+p.Key, strings.NewReader("probe"))
				if err != nil {
					panic(err) // the URL is a mistake of the test
				}
				if a, err := send(client, req); err == nil {
					p.Status = a.status
				}
				p.At = time.Now()
				line, _ := json.Marshal(p) // it can be
				mu.Lock()
				fmt.Fprintf(w, "%s\n", line)
				mu.Unlock()
				time.Sleep(50 * time.Millisecond) // its pace
			}
		})
	}
	working.Wait()
}

// startProbe runs a probe of pod on the node that it is on. What it returns waits for the probe's end.
func startProbe(t *testing.T, pod string, duration time.Duration) (wait func() []probed) {
	t.Helper()
	p, err := set.pod(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), duration+2*probeWait)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Getenv("E2E_HOOK"), "node-exec", nodeNumber(p), self, "-probe", set.podURL(p), "-probe-for", duration.String())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() (all []probed) {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("the probe on %s: %v", p.Spec.NodeName, err)
		}
		for lines := json.NewDecoder(&out); ; {
			var one probed
			if err := lines.Decode(&one); err == io.EOF {
				return all
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, one)
		}
	}
}
