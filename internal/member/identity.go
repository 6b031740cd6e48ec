package member

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.uber.org/zap"

	"github.com/leasehold/leasehold/internal/sabotage"
)

// identity is what a disk knows of itself besides etcd's data. It is on the disk before etcd is started by it.
type identity struct {
	DiskID string `json:"disk_id"` // random, made when the disk is first used
	// JoinOnly: this disk held a member once. It never forms a cluster, nor starts by a plan.
	JoinOnly  bool  `json:"join_only,omitempty"`
	ClusterID hexID `json:"cluster_id,omitempty"`
	MemberID  hexID `json:"member_id,omitempty"`
	// Started: etcd has run on this disk. If its data is gone all the same, the disk counts as another one.
	Started bool  `json:"started,omitempty"`
	Plan    *plan `json:"plan,omitempty"`
	// Accepted: the founder has noted this disk under our name, so no other disk can start by the plan in our place.
	Accepted bool `json:"accepted,omitempty"`
	// Founders is kept by ordinal 0 alone: the disk that it has accepted for each name of its plan.
	Founders map[string]string `json:"founders,omitempty"`
}

// plan is what the founding members start by: the same text on each of their disks.
type plan struct {
	Members map[string]string `json:"members"` // pod name to peer URL
	Token   string            `json:"token"`   // random: it sets this cluster's IDs apart from those of all others
	DiskID  string            `json:"disk_id"` // ordinal 0's, which made the plan
}

// complete says whether every founder has been accepted. Before that nobody starts by the plan, and it can be given up.
func (id *identity) complete() bool {
	return id.Plan != nil && len(id.Founders) == len(id.Plan.Members)
}

// forget drops the plan, which this disk has not been started by.
func (id *identity) forget() {
	*id = identity{DiskID: id.DiskID, JoinOnly: id.JoinOnly}
}

// renew makes it the identity of another disk, which was a member once.
func (id *identity) renew() {
	*id = identity{DiskID: randomID(), JoinOnly: true}
}

func newPlan(p Peers, replicas int, diskID string) *plan {
	members := make(map[string]string, replicas)
	for ordinal := range replicas {
		members[p.Name(ordinal)] = p.PeerURL(ordinal)
	}
	token := randomID()
	if sabotage.Token {
		token = "one for all clusters"
	}
	return &plan{Members: members, Token: token, DiskID: diskID}
}

// ids computes the IDs that etcd derives from the plan.
func (p *plan) ids(name string) (cluster, member hexID, err error) {
	urls := types.URLsMap{}
	for member, text := range p.Members {
		if urls[member], err = types.NewURLs([]string{text}); err != nil {
			return 0, 0, fmt.Errorf("plan: %w", err)
		}
	}
	c, err := membership.NewClusterFromURLsMap(zap.NewNop(), p.Token, urls)
	if err != nil {
		return 0, 0, fmt.Errorf("plan: %w", err)
	}
	if _, ok := p.Members[name]; !ok {
		return 0, 0, fmt.Errorf("plan: %s is not among the founders", name)
	}
	return hexID(c.ID()), hexID(c.MemberByName(name).ID), nil
}

func (p *plan) names() []string { return slices.Sorted(maps.Keys(p.Members)) }

// hexID is an ID of etcd's, written as etcd writes it.
type hexID uint64

func (id hexID) String() string { return strconv.FormatUint(uint64(id), 16) }

func (id hexID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

func (id *hexID) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	*id = hexID(n)
	return err
}

func randomID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

const identityFile = "identity.json"

// readIdentity returns the identity in dir, or a new one if there is none yet.
func readIdentity(dir string) (identity, error) {
	data, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return identity{DiskID: randomID()}, nil
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	err = json.Unmarshal(data, &id)
	if err == nil && id.DiskID == "" {
		err = errors.New("it has no disk ID")
	}
	if err != nil {
		return identity{}, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, identityFile), err)
	}
	return id, nil
}

// writeIdentity replaces the identity in dir: when it returns nil the new one is on the disk, otherwise the old one may be.
func writeIdentity(dir string, id identity) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, identityFile)
	if err := writeSynced(path+".tmp", data); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
