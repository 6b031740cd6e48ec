//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// fullOnly is for cases that are not in the short set.
func fullOnly(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short set")
	}
}

// begin waits until the set is whole, and has clients write to it.
func begin(t *testing.T) *load {
	t.Helper()
	return beginWith(t, false)
}

// beginAbrupt is begin for pods that vanish without closing their connections: clients then try again after a
// timeout, and a write may fail.
func beginAbrupt(t *testing.T) *load {
	t.Helper()
	return beginWith(t, true)
}

func beginWith(t *testing.T, hasty bool) *load {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	return startLoad(t, hasty)
}

// finish waits until the set is whole again, ends the load, and checks that nothing was lost, nothing was done
// twice, and no write failed that should not have.
func (l *load) finish(t *testing.T) {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	l.more(t, 10*clients)
	took := time.Since(l.started)
	l.end()
	lost := verify(t, l)
	r := result{
		name: strings.TrimPrefix(t.Name(), "Test"), took: took, gap: l.longestGap(), acknowledged: l.acknowledged(),
		failed: len(l.failed), lost: len(lost), twice: len(l.wrong),
	}
	results.add(r)
	t.Log(r)
	for _, s := range slices.Concat(lost, l.wrong) {
		t.Error(s)
	}
	for _, s := range l.failed {
		if t.Log(s); !l.hasty {
			t.Error("a write failed that should not have")
		}
	}
}

// verify returns which acknowledged writes are not there, having checked that all replicas have the same.
func verify(t *testing.T, l *load) (lost []string) {
	t.Helper()
	revision := currentRevision(t, l)
	pods, err := set.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var first content
	for i, p := range pods {
		c := readAll(t, p, revision)
		if i == 0 {
			first = c
		}
		if c.sum != first.sum {
			t.Errorf("at revision %s, %s has other data than %s: %d entries and %d", revision, p.Name, pods[0].Name, len(c.values), len(first.values))
		}
	}
	for key, want := range l.created {
		if got, ok := first.values[key]; !ok || got != want {
			lost = append(lost, fmt.Sprintf("the acknowledged %s is lost: found %t, %q", key, ok, got))
		}
	}
	for key, want := range l.counts {
		got, err := strconv.Atoi(first.values[key])
		if open := l.open[key] && got == want+1; err != nil || (got != want && !open) {
			lost = append(lost, fmt.Sprintf("%s is %q, counted to %d", key, first.values[key], want))
		}
	}
	return lost
}

// currentRevision is a revision that contains every acknowledged write.
func currentRevision(t *testing.T, l *load) (revision string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		a, err := set.route.get(ctx, l.base+"/v1/kv?limit=1&consistency=linearizable")
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		revision = a.header.Get("Leasehold-Revision")
		return err
	})
	return revision
}

// content is all that a replica holds.
type content struct {
	values map[string]string
	sum    uint64 // of keys, values and their revisions
}

func readAll(t *testing.T, pod corev1.Pod, revision string) content {
	t.Helper()
	c := content{values: map[string]string{}}
	sum := fnv.New64a()
	after := ""
	for {
		var page struct {
			Entries []struct{ Key, Value, Revision string }
			Next    string
		}
		query := url.Values{"revision": {revision}, "limit": {"1000"}}
		if after != "" {
			query.Set("after", after)
		}
		if err := set.route.getJSON(t.Context(), set.podURL(pod)+"/v1/kv?"+query.Encode(), &page, "Leasehold-Min-Revision", revision); err != nil {
			t.Fatalf("%s: %v", pod.Name, err)
		}
		for _, e := range page.Entries {
			c.values[e.Key] = e.Value
			fmt.Fprintf(sum, "%q %q %q\n", e.Key, e.Value, e.Revision)
		}
		if after = page.Next; after == "" {
			c.sum = sum.Sum64()
			return c
		}
	}
}

// result is a line of the table.
type result struct {
	name                              string
	took, gap                         time.Duration
	acknowledged, failed, lost, twice int
}

func (r result) String() string {
	return fmt.Sprintf("%s: %s, longest gap %s, acknowledged %d, failed %d, lost %d, twice %d",
		r.name, seconds(r.took), seconds(r.gap), r.acknowledged, r.failed, r.lost, r.twice)
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', cmp.Or(map[bool]int{true: 2}[d < 10*time.Second], 0), 64) + " s"
}

// table is the results of all cases.
type table struct {
	mu   sync.Mutex
	rows []result
}

var results table

func (r *table) add(row result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, row)
}

// print writes the table to w and, as Markdown, to file if one is named.
func (r *table) print(w io.Writer, file string) error {
	if len(r.rows) == 0 {
		return nil
	}
	header := []string{"case", "took", "longest gap", "acknowledged", "failed", "lost", "twice"}
	lines := [][]string{header}
	for _, row := range r.rows {
		lines = append(lines, []string{
			row.name, seconds(row.took), seconds(row.gap),
			strconv.Itoa(row.acknowledged), strconv.Itoa(row.failed), strconv.Itoa(row.lost), strconv.Itoa(row.twice),
		})
	}
	text := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(text)
	var markdown strings.Builder
	for i, line := range lines {
		fmt.Fprintln(text, strings.Join(line, "\t"))
		fmt.Fprintf(&markdown, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintln(&markdown, "|---"+strings.Repeat("|---:", len(header)-1)+"|")
		}
	}
	if err := text.Flush(); err != nil || file == "" {
		return err
	}
	return os.WriteFile(file, []byte(markdown.String()), 0o644)
}
