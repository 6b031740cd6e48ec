package lab

import (
	"errors"
	"fmt"
)

// View is what a replica says of the cluster.
type View struct {
	Leader   string
	Epoch    uint64
	Replicas []ViewReplica
}

// ViewReplica is one replica in a View.
type ViewReplica struct {
	Pod              string
	Voter            bool
	Reachable, Ready bool
	BootID           string `json:"boot_id"`
}

// Boots are the boot IDs by replica.
func (v View) Boots() map[string]string {
	boots := map[string]string{}
	for _, r := range v.Replicas {
		boots[r.Pod] = r.BootID
	}
	return boots
}

// Fault is what is wrong with a cluster of that many replicas, by this view; nil if it is healthy.
func (v View) Fault(replicas int) error {
	if v.Leader == "" {
		return errors.New("nobody leads")
	}
	if len(v.Replicas) != replicas {
		return fmt.Errorf("there are %d members", len(v.Replicas))
	}
	for _, r := range v.Replicas {
		if !r.Voter || !r.Reachable || !r.Ready {
			return fmt.Errorf("%s: voter %t, reachable %t, ready %t", r.Pod, r.Voter, r.Reachable, r.Ready)
		}
	}
	return nil
}
