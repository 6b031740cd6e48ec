package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/leasehold/leasehold/internal/store"
)

// Member is a replica's place in the cluster.
type Member struct {
	Pod string `json:"pod"`
	// Voter is false for a replica that still catches up.
	Voter bool `json:"voter"`
}

// StatusPath is where replicas tell each other how they are.
const StatusPath = "/internal/v1/status"

// statusLimit is how long another replica has to say how it is.
const statusLimit = 500 * time.Millisecond

// replicaBody is one replica in GET /v1/cluster.
type replicaBody struct {
	Member
	Role      string   `json:"role"`  // leader or follower of the writes
	Leads     []string `json:"leads"` // the elections that it leads
	Reachable bool     `json:"reachable"`
	Ready     bool     `json:"ready"`
	Revision  string   `json:"revision,omitempty"`
	// Lag is how many revisions it is behind the newest that any replica has; null where that is not known.
	Lag    *int64 `json:"lag"`
	BootID string `json:"boot_id,omitempty"`
}

// Status is what replicas tell each other.
type Status struct {
	Pod      string `json:"pod"`
	BootID   string `json:"boot_id"`
	Ready    bool   `json:"ready"`
	Revision int64  `json:"revision"`
	Vitals          // in the election store.Writes
	// Elections are the vitals in the others that it takes part in, by name.
	Elections map[string]Vitals `json:"elections,omitempty"`
}

// Vitals say whether a replica leads, and how well.
type Vitals struct {
	// Epoch is that under which it leads; 0 if it does not.
	Epoch uint64 `json:"epoch"`
	// Claiming says that it is about to lead.
	Claiming bool `json:"claiming"`
	// Parting is why it is giving leadership up, while it does.
	Parting string `json:"parting,omitempty"`
	// UndecidedMillis is how long its batch under way has waited for an answer of the store.
	UndecidedMillis int64 `json:"undecided_ms"`
}

func (s *Server) ownStatus() Status {
	others := make(map[string]Vitals, len(s.elections)-1)
	for _, e := range s.elections[1:] {
		others[e.Name] = e.Vitals()
	}
	return Status{
		Pod: s.cfg.Pod, BootID: s.cfg.BootID, Ready: !s.draining.Load(), Revision: s.cfg.Store.Reached(),
		Vitals: s.writes().Vitals(), Elections: others,
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { answerJSON(w, s.ownStatus()) }

type leaderBody struct {
	Leader *string    `json:"leader"` // null while nobody leads
	Epoch  uint64     `json:"epoch"`
	Since  *time.Time `json:"since"`
}

// electionBody is one election in GET /v1/leader.
type electionBody struct {
	Election string `json:"election"`
	leaderBody
}

func (e *elected) body() electionBody {
	l, _ := e.Leader()
	return electionBody{e.Name, leaderBodyOf(l)}
}

// leader says who leads, by the newest record that this replica knows: of the election that is asked for, or of store.Writes with
// the others beside it.
func (s *Server) leader(w http.ResponseWriter, r *http.Request) {
	election, err := s.electionOf(r)
	switch {
	case err != nil:
		s.fail(w, r, err)
		return
	case r.URL.Query().Has(electionParam):
		answerJSON(w, election.body())
		return
	}
	all := make([]electionBody, 0, len(s.elections))
	for _, e := range s.elections {
		all = append(all, e.body())
	}
	answerJSON(w, struct {
		leaderBody
		Elections []electionBody `json:"elections"`
	}{all[0].leaderBody, all})
}

func leaderBodyOf(l store.Leader) leaderBody {
	body := leaderBody{Epoch: l.Epoch}
	if pod := l.Current(); pod != "" {
		body.Leader, body.Since = &pod, &l.Since
	}
	return body
}

// cluster asks every replica how it is.
func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	members, err := s.cfg.Members(r.Context())
	if err != nil {
		s.fail(w, r, fmt.Errorf("list the members: %w", err))
		return
	}
	statuses := s.askAll(r.Context(), members)
	newest := int64(0)
	for _, st := range statuses {
		newest = max(newest, st.Revision)
	}
	leads := s.leads()
	replicas := make([]replicaBody, 0, len(members))
	for i, m := range members {
		b := replicaBody{Member: m, Role: "follower", Leads: append([]string{}, leads[m.Pod]...)}
		if slices.Contains(b.Leads, store.Writes) {
			b.Role = "leader"
		}
		if st := statuses[i]; st.Pod != "" {
			b.Reachable, b.Ready, b.BootID = true, st.Ready, st.BootID
			lag := newest - st.Revision
			b.Revision, b.Lag = s.cfg.Store.FormatRevision(st.Revision), &lag
		}
		replicas = append(replicas, b)
	}
	answerJSON(w, struct {
		leaderBody
		Replicas []replicaBody `json:"replicas"`
	}{s.writes().body().leaderBody, replicas})
}

// leads returns which elections each pod leads, by the records. One that nobody leads is not among them.
func (s *Server) leads() map[string][]string {
	leads := map[string][]string{}
	for _, e := range s.elections {
		l, _ := e.Leader()
		if pod := l.Current(); pod != "" {
			leads[pod] = append(leads[pod], e.Name)
		}
	}
	return leads
}

// askAll returns the status of each member; the zero status for one that does not answer in time.
func (s *Server) askAll(ctx context.Context, members []Member) []Status {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	statuses := make([]Status, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		if m.Pod == s.cfg.Pod {
			statuses[i] = s.ownStatus()
			continue
		}
		asked.Go(func() { statuses[i], _ = s.Ask(ctx, m.Pod) }) // no answer is the zero status
	}
	asked.Wait()
	return statuses
}

// Ask returns the status of another replica: the zero status if a process answers that has not started yet, or is none
// of ours; an error if nobody answers before ctx is done.
func (s *Server) Ask(ctx context.Context, pod string) (st Status, err error) {
	base, err := s.cfg.InternalURL(pod)
	if err != nil {
		return Status{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+StatusPath, http.NoBody)
	if err != nil {
		return Status{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return Status{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardedAnswer))
	if err != nil {
		return Status{}, err
	}
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &st) != nil || st.Pod != pod {
		return Status{}, nil
	}
	return st, nil
}

// jobs lists the periodic jobs.
func (s *Server) jobs(w http.ResponseWriter, r *http.Request) {
	statuses, err := s.cfg.Jobs.Statuses(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answerJSON(w, struct {
		Jobs any `json:"jobs"`
	}{statuses})
}
