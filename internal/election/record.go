package election

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lockRecord is the record of a lock that is kept as JSON: client-go's, and the holder's boot ID, which no other client
// knows and every one drops when it writes. So a record without one is a stranger's.
type lockRecord struct {
	resourcelock.LeaderElectionRecord
	BootID string
}

const (
	// unreadable stands for the holder whose record nobody can read.
	unreadable = "(an unreadable record)"
	// maxRecord is how long a record may be, in bytes, and maxIdentity its holder's name. One of ours has 300 bytes. A longer
	// one is nobody's record, and is neither parsed nor passed on to logs and Events.
	maxRecord   = 16 << 10
	maxIdentity = 1 << 10
)

var errNotARecord = errors.New("it is no record of an election")

// wireRecord is a record as it is written, and as other clients write it.
type wireRecord struct {
	HolderIdentity       string  `json:"holderIdentity"`
	LeaseDurationSeconds seconds `json:"leaseDurationSeconds"`
	AcquireTime          moment  `json:"acquireTime"`
	RenewTime            moment  `json:"renewTime"`
	LeaderTransitions    count   `json:"leaderTransitions"`
	BootID               string  `json:"leaseholdBootID,omitempty"`
	// fabric8's ConfigMapLock (Java) names the duration so, and knows no other.
	LeaseDuration seconds `json:"leaseDuration,omitempty"`
}

// encodeRecord writes the record so that every client can read it. Each renewal makes another text, since an update that
// changes nothing is none: the times have microseconds, which client-go reads though it does not write them.
func encodeRecord(record resourcelock.LeaderElectionRecord, boot string) ([]byte, error) {
	if record.AcquireTime.IsZero() {
		// Taken over from a record without a legible one. Python's client takes a record that lacks a time for free.
		record.AcquireTime = record.RenewTime
	}
	return json.Marshal(wireRecord{
		HolderIdentity: record.HolderIdentity, LeaseDurationSeconds: seconds(record.LeaseDurationSeconds),
		AcquireTime: moment{record.AcquireTime.Time}, RenewTime: moment{record.RenewTime.Time},
		LeaderTransitions: count(record.LeaderTransitions), BootID: boot,
	})
}

// decodeRecord reads a record, whoever wrote it. Nothing is an empty one, which is free, and what makes no sense one that
// is held by nobody knows whom: it is waited out as any stranger's is, and then replaced. An error would end all
// elections until a person repairs it. A duration of 0 is one that is not named, or not legible.
func decodeRecord(text []byte) lockRecord {
	if len(text) <= maxRecord && len(bytes.TrimSpace(text)) == 0 {
		return lockRecord{}
	}
	wire, err := parseRecord(text)
	if err != nil {
		return lockRecord{LeaderElectionRecord: resourcelock.LeaderElectionRecord{HolderIdentity: unreadable}}
	}
	duration := wire.LeaseDurationSeconds
	if duration == 0 {
		duration = wire.LeaseDuration
	}
	return lockRecord{resourcelock.LeaderElectionRecord{
		HolderIdentity: wire.HolderIdentity, LeaseDurationSeconds: int(duration),
		AcquireTime: metav1.NewTime(wire.AcquireTime.Time), RenewTime: metav1.NewTime(wire.RenewTime.Time),
		LeaderTransitions: int(wire.LeaderTransitions),
	}, wire.BootID}
}

// holderOf is the holder that the record names.
func holderOf(text []byte) string { return decodeRecord(text).HolderIdentity }

func parseRecord(text []byte) (*wireRecord, error) {
	if len(text) > maxRecord {
		return nil, errNotARecord
	}
	var wire *wireRecord
	if err := json.Unmarshal(text, &wire); err != nil {
		return nil, err
	}
	if wire == nil || len(wire.HolderIdentity) > maxIdentity || len(wire.BootID) > maxIdentity {
		return nil, errNotARecord
	}
	return wire, nil
}

// seconds is a duration. Seen: a whole number (client-go; the kubernetes-client organization's Java and C#), a text such as "17" or
// "2.5" (Python's kubernetes package 22), a number such as 15.000000000, or "PT15S" (fabric8, by how its mapper is set).
// Parts of a second count as a whole one. What is none of these is 0.
type seconds int

// UnmarshalJSON never fails: that a duration is not legible does not make its holder less of one.
func (s *seconds) UnmarshalJSON(text []byte) error {
	*s = 0
	bare := strings.Trim(string(text), `"`)
	n, err := strconv.ParseFloat(bare, 64)
	if err != nil {
		d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(bare, "PT")))
		if err != nil {
			return nil //nolint:nilerr // it is 0
		}
		n = d.Seconds()
	}
	if n > 0 { // and so a number
		*s = seconds(min(math.Ceil(n), math.MaxInt32))
	}
	return nil
}

// count is a number. Python's clients leave it out.
type count int

// UnmarshalJSON never fails: it is for people to look at.
func (c *count) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 32)
	if err != nil {
		n = 0
	}
	*c = count(n)
	return nil
}

// moment is a time. No decision rests on one: clocks differ, and Python's names no zone. But a renewal carries the time of
// the acquisition on.
type moment struct{ time.Time }

// MarshalJSON writes the form that the most clients read.
func (m moment) MarshalJSON() ([]byte, error) {
	return json.Marshal(m.UTC().Format(metav1.RFC3339Micro))
}

// UnmarshalJSON never fails: what is not legible is the zero time.
func (m *moment) UnmarshalJSON(text []byte) error {
	bare := strings.Trim(string(text), `"`)
	for _, layout := range []string{
		time.RFC3339,                // client-go; with parts of a second: fabric8, and the kubernetes-client organization's Java and C#
		"2006-01-02 15:04:05",       // Python's kubernetes package 22: str(datetime.now()), without the parts where they are 0
		"2006-01-02T15:04:05",       // datetime.isoformat()
		"2006-01-02 15:04:05Z07:00", // str() of a datetime with a zone
	} {
		if t, err := time.Parse(layout, bare); err == nil {
			m.Time = t
			return nil
		}
	}
	m.Time = time.Time{}
	return nil
}
