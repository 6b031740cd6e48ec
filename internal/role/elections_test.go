package role

import (
	"slices"
	"testing"
)

// in has the labeler started next take another election's part.
func (s *apiServer) in(election string, ordinal int) *replica {
	return s.start(ordinal, func(cfg *Config) { cfg.Election = election })
}

// labels are the pods' labels and annotations of an election, as role and mark.
func (s *apiServer) labels(election string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.replicas {
		pod := s.pods[podName(i)]
		all = append(all, pod.Labels[LabelOf(election)]+" "+pod.Annotations[AnnotationOf(election)])
	}
	return all
}

func TestTwoElectionsLabelTheSamePods(t *testing.T) {
	bubble(t, func(s *apiServer) {
		writes, jobs := s.start(0), s.in("jobs", 1)
		writes.begin(3)
		jobs.elect(7) // both find the pods as they are, and patch them at the same time
		nextPass()
		if got, want := s.labels("writes"), []string{"leader 3-3f2a", "follower 3-3f2a", "follower 3-3f2a"}; !slices.Equal(got, want) {
			s.t.Errorf("by the writes the pods are %q, want %q", got, want)
		}
		if got, want := s.labels("jobs"), []string{"follower 7-3f2a", "leader 7-3f2a", "follower 7-3f2a"}; !slices.Equal(got, want) {
			s.t.Errorf("by the jobs the pods are %q, want %q", got, want)
		}
		s.load()
		for range 5 {
			nextPass()
		}
		if _, patches := s.load(); len(patches) > 0 {
			s.t.Errorf("each goes on to change what the other has done: %v", patches)
		}
		if logged := writes.logs.Len() + jobs.logs.Len(); logged > 0 {
			s.t.Errorf("that is nothing to log: %v %v", writes.logs.All(), jobs.logs.All())
		}
	})
}

// The epochs of two elections have nothing to do with each other.
func TestAnOlderEpochOfAnotherElectionLabels(t *testing.T) {
	bubble(t, func(s *apiServer) {
		s.start(0).elect(9)
		s.in("jobs", 2).elect(1)
		if got, want := s.labels("jobs"), []string{"follower 1-3f2a", "follower 1-3f2a", "leader 1-3f2a"}; !slices.Equal(got, want) {
			s.t.Errorf("the pods are %q, want %q", got, want)
		}
		s.expect(roles(Leader, Follower, Follower))
	})
}

func TestElectionsShareNoLabel(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, election := range []string{"writes", "jobs", "epoch", "jobs-epoch", "a", "a-epoch"} {
		for _, key := range []string{"label " + LabelOf(election), "annotation " + AnnotationOf(election)} {
			if other, taken := seen[key]; taken {
				t.Errorf("%s is that of %s and of %s", key, election, other)
			}
			seen[key] = election
		}
	}
	if LabelOf("writes") != Label || AnnotationOf("writes") != EpochAnnotation {
		t.Error("the writes have another label than before")
	}
}
