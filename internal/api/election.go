package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/leasehold/leasehold/internal/history"
	"github.com/leasehold/leasehold/internal/store"
)

// electionParam names in an address which election is meant; without it that is store.Writes.
const electionParam = "election"

// Election is what the API needs of one election.
type Election struct {
	Name string
	// Leader returns the newest leader record that this replica knows, and a channel that is closed when a newer one is known.
	Leader func() (store.Leader, <-chan struct{})
	// Leading is the flag.
	Leading func() bool
	// Vitals is what other replicas are told of this one's leading.
	Vitals func() Vitals
	// StepDown gives leadership up to a pod, or to the best one for "": see election.StepDown.
	StepDown func(ctx context.Context, to string) error
	// History lists the changes of leadership, the newest first.
	History func(ctx context.Context) ([]history.Entry, error)
}

// elected is an election and the way to its leader.
type elected struct {
	Election
	router *router
}

// writes is the election whose leader writes the data.
func (s *Server) writes() *elected { return s.elections[0] }

// named returns the election of that name; "" is store.Writes.
func (s *Server) named(name string) (*elected, error) {
	if name == "" {
		return s.writes(), nil
	}
	names := make([]string, 0, len(s.elections))
	for _, e := range s.elections {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return nil, problem{
		Status: http.StatusNotFound, Detail: fmt.Sprintf("There is no election %.64q; there are: %s.", name, strings.Join(names, ", ")),
	}
}

// electionOf returns the election that the request is about.
func (s *Server) electionOf(r *http.Request) (*elected, error) {
	return s.named(r.URL.Query().Get(electionParam))
}
