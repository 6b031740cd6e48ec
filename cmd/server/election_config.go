package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/leasehold/leasehold/internal/store"
)

const (
	// Every election costs each replica requests to a lock and a journal in memory.
	maxElections = 8
	// What a name becomes part of, a label's key above all, must not grow too long.
	maxElectionName = 20
)

var electionName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// electionNames are the elections that are held, store.Writes the first.
func (c *serveConfig) electionNames() []string {
	names := []string{store.Writes}
	for name := range strings.SplitSeq(c.elections, ",") {
		if name != store.Writes {
			names = append(names, name)
		}
	}
	return names
}

// lockName is the name of the object that an election is held on.
func (c *serveConfig) lockName(election string) string {
	if election == store.Writes {
		return c.leaseName
	}
	return c.leaseName + "-" + election
}

func (c *serveConfig) validateElections() error {
	names := strings.Split(c.elections, ",")
	for i, name := range names {
		switch {
		case !electionName.MatchString(name) || len(name) > maxElectionName:
			return fmt.Errorf("--elections names %q; a name may have up to %d lower-case letters, digits and hyphens, and no hyphen at its ends", name, maxElectionName)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("--elections names %s twice; name each election once", name)
		case c.lockedByAPI() && len(validation.IsDNS1123Subdomain(c.lockName(name))) > 0:
			return fmt.Errorf("the lock of the election %s would be named %q, which is no name of an object: that has up to %d lower-case letters, digits, hyphens and dots, and a letter or digit at each end; change --leader-elect-resource-name",
				name, c.lockName(name), validation.DNS1123SubdomainMaxLength)
		}
	}
	if !slices.Contains(names, store.Writes) {
		return fmt.Errorf("--elections is %q; %s must be among them: its leader writes the data", c.elections, store.Writes)
	}
	if len(names) > maxElections {
		return fmt.Errorf("--elections names %d; there may be %d at most", len(names), maxElections)
	}
	return nil
}
