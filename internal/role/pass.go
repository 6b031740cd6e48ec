package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// passes are those of one term.
type passes struct {
	*Labeler
	mark mark
	// reach is how many ordinals the next pass looks at, or more if the set is to have more. A term begins with as many
	// as there may be: a pod that is being scaled away may still carry the label.
	reach int
}

// errNewer ends a pass of a leader that has been replaced and does not know it yet.
var errNewer = errors.New("a newer leader has labeled a pod")

// pass looks at every pod and changes what is not right, this replica's own pod last: at the first failure it
// stops, and the next pass begins again. Where all is right it only reads.
func (p *passes) pass(ctx context.Context) error {
	pods, err := p.read(ctx)
	if err != nil {
		return err
	}
	var own *corev1.Pod
	for _, pod := range pods {
		if pod.Name == p.cfg.Pod {
			own = pod
			continue
		}
		if err := p.label(ctx, pod, Follower); err != nil {
			return err
		}
	}
	if own == nil {
		return nil
	}
	return p.label(ctx, own, Leader)
}

// read returns the pods that exist and may be read.
func (p *passes) read(ctx context.Context) ([]*corev1.Pod, error) {
	replicas, err := p.cfg.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	beyond := 0
	for ordinal := range max(replicas, p.reach) {
		pod, err := p.cfg.Pods.Get(ctx, p.cfg.Name(ordinal), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case apierrors.IsForbidden(err):
			p.forbid(err) // and so nobody has labeled it either
			continue
		case err != nil:
			return nil, fmt.Errorf("read pod %s: %w", p.cfg.Name(ordinal), err)
		case p.mark.olderThan(pod.Annotations[p.annotation]):
			return nil, fmt.Errorf("%w: %s has the mark %s, this replica's is %s", errNewer, pod.Name, pod.Annotations[p.annotation], p.mark)
		}
		pods = append(pods, pod)
		beyond = ordinal + 1
	}
	p.reach = beyond
	return pods, nil
}

// label gives the pod its role and the term's mark if it has not both. The pod must still be as it was read: who has
// been replaced meanwhile, or means a pod that is gone, changes nothing.
func (p *passes) label(ctx context.Context, pod *corev1.Pod, role string) error {
	if pod.Labels[p.key] == role && pod.Annotations[p.annotation] == p.mark.String() {
		return nil
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             pod.UID,
		"resourceVersion": pod.ResourceVersion,
		"labels":          map[string]string{p.key: role},
		"annotations":     map[string]string{p.annotation: p.mark.String()},
	}})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err = p.cfg.Pods.Patch(ctx, pod.Name, types.MergePatchType, data, metav1.PatchOptions{})
	if apierrors.IsForbidden(err) && role == Follower && pod.Labels[p.key] != Leader {
		p.forbid(err)
		return nil // it is not named the leader, so the others may be labeled
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("label pod %s %s: %w", pod.Name, role, err)
	}
	return nil
}

// note logs the failure of a pass, once until a pass succeeds. That a pod has changed since it was read is none: the
// next pass sees it as it is. (A pod that was replaced has another UID, which the API server calls invalid.)
func (l *Labeler) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil, apierrors.IsConflict(err), apierrors.IsInvalid(err):
	case apierrors.IsForbidden(err):
		l.forbid(err)
	case err == nil && l.failing:
		l.failing = false
		l.log.Info("the pods can be labeled again")
	case err != nil && !l.failing:
		l.failing = true
		l.log.Warn("the pods cannot be labeled with their roles; trying again and again", zap.Error(err))
	}
}

func (l *Labeler) forbid(err error) {
	if l.forbidden {
		return
	}
	l.forbidden = true
	l.log.Warn("a pod may not be labeled with its role; give the service account get and patch on it by name "+
		"(manifests/base/role.yaml), or do without the label: nothing else needs it", zap.Error(err))
}

// mark says under which epoch of which cluster a pod was labeled. Every pod gets a term's mark once, even if its role
// stays as it was: that is a change of the pod, so what an older term has still under way comes too late.
type mark struct {
	epoch   uint64
	cluster string
}

func (m mark) String() string { return fmt.Sprintf("%d-%s", m.epoch, m.cluster) }

// olderThan tells whether other is a newer mark of the same cluster.
func (m mark) olderThan(other string) bool {
	number, cluster, _ := strings.Cut(other, "-")
	epoch, err := strconv.ParseUint(number, 10, 64)
	return err == nil && cluster == m.cluster && epoch > m.epoch
}
