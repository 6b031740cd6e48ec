// Package role labels the pods of the set with their role, so that "kubectl get pods" shows who leads and a
// Service can select the leader.
//
// The label is for show and has no part in correctness: a write is routed by the leader record and fenced by the
// store, whatever the labels say. It is kept right by the leader alone. The invariant here: a pod is labeled
// leader only after every other pod has been marked a follower under the same epoch, and what is marked under
// an epoch is not changed under an older one.
package role

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/leasehold/leasehold/internal/store"
)

// Label is the role of a pod in the election store.Writes, Leader or Follower.
const (
	Label    = "leasehold.dev/role"
	Leader   = "leader"
	Follower = "follower"
)

const (
	// EpochAnnotation says under which epoch, of which cluster, the pod was labeled with Label.
	EpochAnnotation = "leasehold.dev/role-epoch"

	// MaxPods is how many pods the Role of the manifests (manifests/base/role.yaml) lets the leader label, by name.
	MaxPods = 9

	// again is the pause after a pass that somebody else's change of a pod has ended: the labeler of another election, as a rule.
	again = 100 * time.Millisecond

	// interval is the pause between two passes. Each reads the StatefulSet and every pod: with three replicas that is two
	// requests a second, of the leader alone.
	interval = 2 * time.Second
)

// Pods is what is used of Kubernetes' pods.
type Pods interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Pod, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Pod, error)
}

// Term is one stretch of leading. Context ends with it.
type Term struct {
	Context context.Context
	Epoch   uint64
}

// LabelOf is the label with the role of a pod in an election, and AnnotationOf the annotation that goes with it.
func LabelOf(election string) string {
	if election == store.Writes {
		return Label
	}
	return Label + "-" + election
}

// AnnotationOf is to LabelOf what EpochAnnotation is to Label.
func AnnotationOf(election string) string {
	if election == store.Writes {
		return EpochAnnotation
	}
	return LabelOf(election) + "-epoch"
}

// Config is what a Labeler needs.
type Config struct {
	// Election is whose roles it labels the pods with; store.Writes if empty.
	Election string
	// Pod is this replica's pod, Name that of the pod with an ordinal.
	Pod  string
	Name func(ordinal int) string
	Pods Pods
	// Replicas is how many pods the set is to have.
	Replicas func(ctx context.Context) (int, error)
	// Term returns the term under which this replica leads, nil while it does not, and a channel that is closed
	// when that changes.
	Term func() (*Term, <-chan struct{})
	// Cluster tells epochs of this cluster from those of one before it.
	Cluster string
	Log     *zap.Logger
}

// Labeler labels the pods while its own replica leads.
type Labeler struct {
	cfg        Config
	key        string // the label's
	annotation string
	log        *zap.Logger

	failing   bool // the last pass failed, and that is logged
	forbidden bool // that a permission is missing is logged
}

// New makes a Labeler that labels nothing yet.
func New(cfg Config) *Labeler {
	election := cmp.Or(cfg.Election, store.Writes)
	return &Labeler{cfg: cfg, key: LabelOf(election), annotation: AnnotationOf(election), log: cfg.Log}
}

// Run labels the pods during every term of this replica's, until ctx is done.
func (l *Labeler) Run(ctx context.Context) {
	for {
		term, changed := l.cfg.Term()
		if term != nil {
			l.lead(ctx, term)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// lead makes one pass at once, and then one an interval, until the term ends or ctx is done. One that found a pod changed under
// its hands is made again at once.
func (l *Labeler) lead(ctx context.Context, term *Term) {
	stop := ctx
	ctx, cancel := context.WithCancel(term.Context)
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	p := &passes{Labeler: l, mark: mark{term.Epoch, l.cfg.Cluster}, reach: MaxPods}
	for ctx.Err() == nil {
		err := p.pass(ctx)
		l.note(ctx, err)
		pause := interval
		if apierrors.IsConflict(err) {
			pause = again
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
