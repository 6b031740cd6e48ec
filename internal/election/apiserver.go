package election

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// apiServerAway tells whether there was no answer, or one that says that the API server cannot give one. What it refuses
// is a word about the lock, and a missing permission must not pass for an outage.
func apiServerAway(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code >= http.StatusInternalServerError || code == http.StatusTooManyRequests
	}
	if errors.Is(err, context.Canceled) || errors.As(err, new(*tls.CertificateVerificationError)) {
		return false // we have given up ourselves, or are not to trust who answers
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// NewStrictLock makes a lock of which nothing counts as being away: who cannot renew it gives it up, as client-go does.
// That is for an election in which other clients take part, who do not ask the store whether its holder still leads.
func NewStrictLock(l Lock) Lock { return strictLock{l} }

type strictLock struct{ Lock }

// Away implements Lock.
func (strictLock) Away(error) bool { return false }

// Reasons of the Events.
const (
	reasonElected = "LeaderElected"
	reasonStopped = "LeaderStopped"
)

// announce records the change as an Event of the object; its UID, where that is known, is by what "kubectl describe" finds it.
// It does nothing without a recorder.
func announce(events resourcelock.EventRecorder, c Change, object corev1.ObjectReference, uid *types.UID) {
	if events == nil {
		return
	}
	if uid != nil {
		object.UID = *uid
	}
	kind, reason := corev1.EventTypeNormal, reasonElected
	if c.To == "" {
		reason = reasonStopped
	}
	if c.Amiss() {
		kind = corev1.EventTypeWarning
	}
	events.Eventf(&object, kind, reason, "%s", c)
}

// watchAgain runs once again whenever it ends, and has it send to the channel, which is closed when ctx is done.
func watchAgain(ctx context.Context, once func(ctx context.Context, holders chan<- string)) <-chan string {
	holders := make(chan string)
	go func() {
		defer close(holders)
		for ctx.Err() == nil {
			once(ctx, holders)
			waitChanged(ctx, nil, time.Second)
		}
	}()
	return holders
}

func sendHolder(ctx context.Context, holders chan<- string, holder string) bool {
	select {
	case holders <- holder:
		return true
	case <-ctx.Done():
		return false
	}
}
