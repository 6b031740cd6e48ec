//go:build e2e

package e2e

import (
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

// ownSet is for cases that change the set itself, which is not done to one that these tests have not deployed.
func ownSet(t *testing.T) {
	t.Helper()
	if !set.owned {
		t.Skip("the set is somebody else's: nothing but its leader is deleted")
	}
}

// begin waits until the set is whole, and has clients write to it. The longest time without an acknowledged write may
// be maxGap.
func begin(t *testing.T, maxGap time.Duration) *load {
	t.Helper()
	return beginWith(t, maxGap, readmeWait)
}

// beginAbrupt is begin for pods that vanish without closing their connections: clients give up on an answer sooner, and
// try again.
func beginAbrupt(t *testing.T, maxGap time.Duration) *load {
	t.Helper()
	return beginWith(t, maxGap, hastyWait)
}

func beginWith(t *testing.T, maxGap, wait time.Duration) *load {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	l := startLoad(t, wait)
	t.Cleanup(func() { results.add(l.result(t)) }) // however the test ends
	l.maxGap = maxGap
	return l
}

// finish waits until the set is whole again, ends the load, and checks that no write failed, nothing was lost, and
// nothing was done twice.
func (l *load) finish(t *testing.T) {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return set.healthy(ctx, 3) })
	l.more(t, 10*clients)
	l.end()
	l.lost = verify(t, l)
	for _, s := range slices.Concat(l.lost, l.wrong) {
		t.Error(s)
	}
	for _, s := range l.failed {
		t.Errorf("a write failed: %s", s)
	}
	if gap := l.longestGap(); gap > l.maxGap {
		t.Errorf("no write was acknowledged for %s; it may be %s", seconds(gap), seconds(l.maxGap))
	}
	t.Log(l.result(t))
}

func (l *load) result(t *testing.T) result {
	t.Helper()
	gap, acknowledged := l.longestGap(), l.acknowledged()
	l.mu.Lock()
	defer l.mu.Unlock()
	return result{
		name: strings.TrimPrefix(t.Name(), "Test"), ok: !t.Failed(), took: time.Since(l.started), gap: gap,
		acknowledged: acknowledged, failed: len(l.failed), lost: len(l.lost), twice: len(l.wrong),
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
	ok                                bool
	took, gap                         time.Duration
	acknowledged, failed, lost, twice int
}

func (r result) String() string {
	return fmt.Sprintf("%s: %s, longest gap %s, acknowledged %d, failed %d, lost %d, twice %d",
		r.name, seconds(r.took), seconds(r.gap), r.acknowledged, r.failed, r.lost, r.twice)
}

func seconds(d time.Duration) string {
	decimals := 0
	if d < 10*time.Second {
		decimals = 2
	}
	return strconv.FormatFloat(d.Seconds(), 'f', decimals, 64) + " s"
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
		name := row.name
		if !row.ok {
			name += " FAILED"
		}
		lines = append(lines, []string{
			name, seconds(row.took), seconds(row.gap),
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
