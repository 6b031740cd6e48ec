package workload

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/leasehold/leasehold/test/chaos/check"
)

// model is the service in memory, behind as many addresses as it has replicas. It keeps its promises, except those that
// it is told to break; and it answers as a service does that is under faults.
type model struct {
	urls []string

	mu       sync.Mutex
	random   *rand.Rand
	broken   breach
	chances  int  // to break it
	down     bool // every request is refused
	revision int64
	at       check.Position
	leader   check.Leader
	versions map[string][]check.Entry
	outcomes map[string]decision // by idempotency key
	log      check.Log
}

// breach is a promise that the model breaks now and then.
type breach string

const (
	none           breach = ""
	losesWrites    breach = "acknowledges what it does not apply"
	appliesAgain   breach = "applies again what is sent again"
	readsStale     breach = "answers a linearizable read with an old state"
	ignoresMinimum breach = "answers with an older state than was asked for"
	appliesRefused breach = "applies what it says it has not"
	ignoresTests   breach = "applies what its condition forbids"
	splitBatches   breach = "applies half of a batch"
	differs        breach = "has replicas that do not hold the same"
	twoLeaders     breach = "has two leaders under one epoch"
	oldJobs        breach = "has jobs that write under an old epoch"
	wrongAnswers   breach = "answers with 500"
)

// often is how many chances to break a promise come to one that is taken.
const often = 5

// decision is what became of a write.
type decision struct {
	applied  bool
	revision int64
}

func startModel(t *testing.T, broken breach) *model {
	t.Helper()
	m := &model{
		random: rand.New(rand.NewPCG(1, 2)), broken: broken, revision: 1,
		versions: map[string][]check.Entry{}, outcomes: map[string]decision{},
	}
	m.claim()
	for i := range 3 {
		name := fmt.Sprintf("leasehold-%d", i)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, name) }))
		t.Cleanup(s.Close)
		m.urls = append(m.urls, s.URL)
	}
	return m
}

func (m *model) commit(t check.Transaction) int64 {
	m.revision++
	t.Revision, m.at = m.revision, *t.Head
	m.log.Transactions = append(m.log.Transactions, t)
	m.log.Reached = m.revision
	return m.revision
}

// claim has the next pod lead.
func (m *model) claim() {
	epoch := m.leader.Epoch + 1
	m.leader = check.Leader{Pod: fmt.Sprintf("leasehold-%d", epoch%3), Epoch: epoch, ClaimID: strconv.FormatUint(epoch, 10)}
	leader, at := m.leader, check.Position{Epoch: epoch}
	m.commit(check.Transaction{Head: &at, Leader: &leader, Journal: &check.Journal{Position: at}})
}

// batch applies entries, and has a job run and leadership change now and then.
func (m *model) batch(entries []check.Entry) int64 {
	if m.at.Sequence == 50 {
		m.claim()
	}
	at := check.Position{Epoch: m.at.Epoch, Sequence: m.at.Sequence + 1}
	t := check.Transaction{Head: &at, Journal: &check.Journal{Position: at}, Entries: entries}
	if at.Sequence%10 == 0 {
		e := check.Effect{Job: "sweep", Pod: m.leader.Pod, Epoch: m.leader.Epoch}
		if m.broken == oldJobs && e.Epoch > 1 {
			e.Epoch--
		}
		t.Effects = append(t.Effects, e)
	}
	revision := m.commit(t)
	for _, e := range entries {
		e.Revision = revision
		m.versions[e.Key] = append(m.versions[e.Key], e)
	}
	return revision
}

// held is what a key held at a revision.
func (m *model) held(key string, revision int64) (held check.Entry) {
	for _, e := range m.versions[key] {
		if e.Revision <= revision {
			held = e
		}
	}
	return held
}

func (m *model) breaks(b breach) bool {
	if m.broken != b {
		return false
	}
	m.chances++
	return m.chances%often == 0
}

func (m *model) serve(w http.ResponseWriter, r *http.Request, name string) {
	body, err := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Leasehold-Served-By", name)
	switch {
	case err != nil: // the client is gone
	case m.down:
		refuse(w, http.StatusServiceUnavailable, "no")
	case r.Method == http.MethodGet && r.URL.Path == "/v1/kv":
		m.list(w, r, name)
	case m.breaks(wrongAnswers):
		w.WriteHeader(http.StatusInternalServerError)
	case r.Method == http.MethodGet:
		m.get(w, r)
	default:
		m.write(w, r, body)
	}
}

func token(revision int64) string { return fmt.Sprintf("%d-fake", revision) }

func number(token string) int64 {
	n, _, _ := strings.Cut(strings.Trim(token, `"`), "-")
	revision, _ := strconv.ParseInt(n, 10, 64) // 0 is what no token is
	return revision
}

func refuse(w http.ResponseWriter, status int, applied string) {
	w.Header().Set("Retry-After", "0")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"detail": "For the test.", "applied": %q}`, applied)
}

// get answers a local read with a state that is a little old.
func (m *model) get(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	at := max(m.revision-m.random.Int64N(5), 1, number(r.Header.Get("Leasehold-Min-Revision")))
	if r.URL.Query().Get("consistency") == "linearizable" {
		at = m.revision
		if m.breaks(readsStale) {
			at = max(1, at-100)
		}
	}
	if r.Header.Get("Leasehold-Min-Revision") != "" && m.breaks(ignoresMinimum) {
		at = max(1, at-100)
	}
	w.Header().Set("Leasehold-Revision", token(at))
	e := m.held(key, at)
	if e.Revision == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", `"`+token(e.Revision)+`"`)
	_, _ = io.WriteString(w, e.Value)
}

// list answers with a page of at most 100 entries.
func (m *model) list(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	at := m.revision
	if revision := number(q.Get("revision")); revision != 0 {
		at = revision
	}
	type entry struct {
		Key      string `json:"key"`
		Value    string `json:"value"`
		Revision string `json:"revision"`
	}
	body := struct {
		Revision string  `json:"revision"`
		Next     *string `json:"next"`
		Entries  []entry `json:"entries"`
	}{Revision: token(at)}
	keys := make([]string, 0, len(m.versions))
	for key := range m.versions {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		e := m.held(key, at)
		if key <= q.Get("after") || e.Revision == 0 || m.broken == differs && name == "leasehold-2" && i%often == 0 {
			continue
		}
		if len(body.Entries) == 100 {
			body.Next = &body.Entries[99].Key
			break
		}
		body.Entries = append(body.Entries, entry{key, e.Value, token(e.Revision)})
	}
	_ = json.NewEncoder(w).Encode(body) // a client that is gone finds out itself
}

// write decides a write, and tells of it or not.
func (m *model) write(w http.ResponseWriter, r *http.Request, body []byte) {
	if m.random.IntN(10) == 0 {
		refuse(w, http.StatusServiceUnavailable, "no")
		if m.broken == appliesRefused {
			m.decide(r, body)
		}
		return
	}
	if m.random.IntN(20) == 0 {
		refuse(w, http.StatusGatewayTimeout, "unknown") // and is not applied
		return
	}
	key := r.Header.Get("Idempotency-Key")
	d, replayed := m.outcomes[key]
	if !replayed || m.broken == appliesAgain && d.applied {
		d = m.decide(r, body)
		m.outcomes[key] = d
	}
	switch m.random.IntN(20) {
	case 0:
		refuse(w, http.StatusGatewayTimeout, "unknown")
	case 1:
		panic(http.ErrAbortHandler) // the connection breaks
	default:
		m.answer(w, r, d, replayed)
	}
}

func (m *model) answer(w http.ResponseWriter, r *http.Request, d decision, replayed bool) {
	w.Header().Set("Leasehold-Revision", token(d.revision))
	w.Header().Set("Leasehold-Epoch", strconv.FormatUint(m.epochAt(d.revision), 10))
	w.Header().Set("Leasehold-Served-By", m.leader.Pod)
	if m.breaks(twoLeaders) {
		w.Header().Set("Leasehold-Served-By", "leasehold-9")
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	switch create := r.Method == http.MethodPost && r.URL.Path != "/v1/kv"; {
	case !d.applied && create:
		refuse(w, http.StatusConflict, "no")
	case !d.applied:
		refuse(w, http.StatusPreconditionFailed, "no")
	case create:
		w.WriteHeader(http.StatusCreated)
	}
}

func (m *model) epochAt(revision int64) uint64 {
	first := m.log.Transactions[0].Revision // and no revision is without a transaction
	return m.log.Transactions[revision-first].Head.Epoch
}

// decide applies a write if its condition holds.
func (m *model) decide(r *http.Request, body []byte) decision {
	entries, holds := m.parse(r, body)
	switch {
	case !holds && m.broken != ignoresTests:
		return decision{false, m.batch(nil)}
	case m.breaks(losesWrites):
		return decision{true, m.batch(nil)}
	case len(entries) > 1 && m.broken == splitBatches:
		entries = entries[:1]
	}
	return decision{true, m.batch(entries)}
}

func (m *model) parse(r *http.Request, body []byte) (entries []check.Entry, holds bool) {
	if r.URL.Path == "/v1/kv" {
		return m.parseBatch(body)
	}
	key := strings.TrimPrefix(r.URL.Path, "/v1/kv/")
	now := m.held(key, m.revision).Revision
	holds = true
	if match := r.Header.Get("If-Match"); match != "" {
		holds = now == number(match)
	}
	if r.Method == http.MethodPost || r.Header.Get("If-None-Match") != "" {
		holds = now == 0
	}
	return []check.Entry{{Key: key, Value: string(body)}}, holds
}

func (m *model) parseBatch(body []byte) (entries []check.Entry, holds bool) {
	var t transaction
	if err := json.Unmarshal(body, &t); err != nil {
		panic(err) // net/http logs it, and the client has no answer
	}
	holds = true
	for _, c := range t.If {
		holds = holds && m.held(c.Key, m.revision).Revision == number(c.Revision)
	}
	for _, o := range t.Then {
		entries = append(entries, check.Entry{Key: o.Put.Key, Value: o.Put.Value})
	}
	return entries, holds
}

func (m *model) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func (m *model) snapshot() *check.Log {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &check.Log{Reached: m.log.Reached, Transactions: slices.Clone(m.log.Transactions)}
}
