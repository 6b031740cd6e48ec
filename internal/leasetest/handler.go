package leasetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	leasesPath = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
	eventsPath = "/api/v1/namespaces/{namespace}/events"

	maxBody = 1 << 20
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+leasesPath, s.listLeases)
	mux.HandleFunc("POST "+leasesPath, answering(http.StatusCreated, s.createLease))
	mux.HandleFunc("GET "+leasesPath+"/{name}", answering(http.StatusOK, s.getLease))
	mux.HandleFunc("PUT "+leasesPath+"/{name}", answering(http.StatusOK, s.updateLease))
	mux.HandleFunc("DELETE "+leasesPath+"/{name}", answering(http.StatusOK, s.deleteLease))
	mux.HandleFunc("POST "+eventsPath, answering(http.StatusCreated, s.createEvent))
	mux.HandleFunc("PATCH "+eventsPath+"/{name}", answering(http.StatusOK, s.patchEvent))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, corev1.Resource(""), "",
			"this stand-in has Leases and Events only", 0, false))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.admit(w, r) {
			mux.ServeHTTP(w, r)
		}
	})
}

// admit tells whether the request is to be carried out. Else it has been dealt with as the mode says.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	switch mode, changed := s.state(); mode {
	case Up:
		return true
	case Slow:
		select {
		case <-time.After(SlowBy):
			return true
		case <-changed:
		case <-r.Context().Done():
		}
	case Conflict:
		if r.Method != http.MethodPut {
			return true
		}
		fail(w, apierrors.NewConflict(corev1.Resource(""), "", errors.New("the stand-in lets nobody update anything")))
		return false
	case Unavailable:
		fail(w, apierrors.NewServiceUnavailable("the stand-in is switched off"))
		return false
	case BlackHole:
		select {
		case <-changed:
		case <-r.Context().Done():
		}
	}
	panic(http.ErrAbortHandler) // ends the connection without an answer
}

// answering answers with the object, in JSON, or with the error's Status.
func answering(status int, do func(r *http.Request) (runtime.Object, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		object, err := do(r)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, status, object)
	}
}

func fail(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.TypeMeta = statusType
	answer(w, int(status.Code), &status)
}

func answer(w http.ResponseWriter, status int, object runtime.Object) {
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object) // the client has gone, then
}

// decode reads the body, in any encoding that client-go may choose, into an object of the type T.
func decode[T runtime.Object](r *http.Request) (object T, err error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return object, err
	}
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return object, apierrors.NewBadRequest(err.Error())
	}
	object, ok := decoded.(T)
	if !ok {
		return object, apierrors.NewBadRequest(fmt.Sprintf("%T is not what belongs here", decoded))
	}
	return object, nil
}

func (s *Server) getLease(r *http.Request) (runtime.Object, error) {
	return s.objects.get(idOf(r))
}

func (s *Server) createLease(r *http.Request) (runtime.Object, error) {
	lease, err := decode[*coordinationv1.Lease](r)
	if err != nil {
		return nil, err
	}
	return s.objects.create(r.PathValue("namespace"), lease)
}

func (s *Server) updateLease(r *http.Request) (runtime.Object, error) {
	lease, err := decode[*coordinationv1.Lease](r)
	if err != nil {
		return nil, err
	}
	return s.objects.update(idOf(r), lease)
}

func (s *Server) deleteLease(r *http.Request) (runtime.Object, error) {
	return s.objects.remove(idOf(r))
}

func (s *Server) createEvent(r *http.Request) (runtime.Object, error) {
	event, err := decode[*corev1.Event](r)
	if err != nil {
		return nil, err
	}
	return s.objects.record(r.PathValue("namespace"), event)
}

func (s *Server) patchEvent(r *http.Request) (runtime.Object, error) {
	patch, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	return s.objects.patchEvent(idOf(r), patch)
}

// id is an object's namespace and name.
type id struct{ namespace, name string }

func idOf(r *http.Request) id { return id{r.PathValue("namespace"), r.PathValue("name")} }
