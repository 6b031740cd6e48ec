package leasetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	eventsPath = "/api/v1/namespaces/{namespace}/events"

	maxBody        = 1 << 20
	maxAnnotations = 256 << 10 // of an object, together
)

// kind is a kind of object that elections are held on.
type kind struct {
	schema.GroupVersionKind
	resource string
	// strict says that an update has to name a resource version.
	strict bool
}

func kinds() []kind {
	return []kind{
		{coordinationv1.SchemeGroupVersion.WithKind("Lease"), "leases", true},
		{corev1.SchemeGroupVersion.WithKind("ConfigMap"), "configmaps", false},
		{corev1.SchemeGroupVersion.WithKind("Secret"), "secrets", false},
	}
}

func (k kind) path() string {
	prefix := "/apis/" + k.Group
	if k.Group == "" {
		prefix = "/api"
	}
	return prefix + "/" + k.Version + "/namespaces/{namespace}/" + k.resource
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, k := range kinds() {
		mux.HandleFunc("GET "+k.path(), s.list(k))
		mux.HandleFunc("POST "+k.path(), answering(http.StatusCreated, s.create(k)))
		mux.HandleFunc("GET "+k.path()+"/{name}", answering(http.StatusOK, s.get(k)))
		mux.HandleFunc("PUT "+k.path()+"/{name}", answering(http.StatusOK, s.update(k)))
		mux.HandleFunc("PATCH "+k.path()+"/{name}", answering(http.StatusOK, s.patch(k)))
		mux.HandleFunc("DELETE "+k.path()+"/{name}", answering(http.StatusOK, s.remove(k)))
	}
	mux.HandleFunc("POST "+eventsPath, answering(http.StatusCreated, s.createEvent))
	mux.HandleFunc("PATCH "+eventsPath+"/{name}", answering(http.StatusOK, s.patchEvent))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, corev1.Resource(""), "",
			"this stand-in has Leases, ConfigMaps, Secrets and Events only", 0, false))
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
		if r.Method != http.MethodPut && r.Header.Get("Content-Type") != string(types.MergePatchType) {
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

// decode reads the body, in any encoding that client-go may choose, into an object of the type T. A body that does not
// say what it is, as Python's client sends it, is of the kind of the URL.
func decode[T runtime.Object](r *http.Request, by kind) (object T, err error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return object, err
	}
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, &by.GroupVersionKind, nil)
	if err != nil {
		return object, apierrors.NewBadRequest(err.Error())
	}
	object, ok := decoded.(T)
	if !ok {
		return object, apierrors.NewBadRequest(fmt.Sprintf("%T is not what belongs here", decoded))
	}
	return object, nil
}

func (s *Server) get(k kind) func(*http.Request) (runtime.Object, error) {
	return func(r *http.Request) (runtime.Object, error) {
		return asAsked(r)(s.objects.get(idOf(k, r)))
	}
}

func (s *Server) create(k kind) func(*http.Request) (runtime.Object, error) {
	return func(r *http.Request) (runtime.Object, error) {
		created, err := decode[object](r, k)
		if err != nil {
			return nil, err
		}
		return asAsked(r)(s.objects.create(id{k, r.PathValue("namespace"), created.GetName()}, created))
	}
}

func (s *Server) update(k kind) func(*http.Request) (runtime.Object, error) {
	return func(r *http.Request) (runtime.Object, error) {
		updated, err := decode[object](r, k)
		if err != nil {
			return nil, err
		}
		return asAsked(r)(s.objects.update(idOf(k, r), updated))
	}
}

func (s *Server) patch(k kind) func(*http.Request) (runtime.Object, error) {
	return func(r *http.Request) (runtime.Object, error) {
		if got := r.Header.Get("Content-Type"); got != string(types.MergePatchType) {
			return nil, apierrors.NewBadRequest(got + " is not taken by this stand-in")
		}
		var patch map[string]any
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&patch); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return asAsked(r)(s.objects.patch(idOf(k, r), patch))
	}
}

func (s *Server) remove(k kind) func(*http.Request) (runtime.Object, error) {
	return func(r *http.Request) (runtime.Object, error) { return s.objects.remove(idOf(k, r)) }
}

// asAsked answers with the object's metadata alone, if that is what the request asks for.
func asAsked(r *http.Request) func(object, error) (runtime.Object, error) {
	return func(o object, err error) (runtime.Object, error) {
		if err != nil {
			return nil, err
		}
		return shapeOf(r)(o), nil
	}
}

// shapeOf is how the request wants to have objects.
func shapeOf(r *http.Request) func(object) runtime.Object {
	if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata;") {
		return func(o object) runtime.Object { return o }
	}
	return func(o object) runtime.Object {
		partial := meta.AsPartialObjectMetadata(o)
		partial.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
		return partial
	}
}

func (s *Server) createEvent(r *http.Request) (runtime.Object, error) {
	event, err := decode[*corev1.Event](r, kind{GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event")})
	if err != nil {
		return nil, err
	}
	return s.objects.record(id{namespace: r.PathValue("namespace"), name: event.Name}, event)
}

func (s *Server) patchEvent(r *http.Request) (runtime.Object, error) {
	patch, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	return s.objects.patchEvent(idOf(kind{}, r), patch)
}

// id is an object's kind, namespace and name.
type id struct {
	kind            kind
	namespace, name string
}

func (i id) resource() schema.GroupResource {
	return schema.GroupResource{Group: i.kind.Group, Resource: i.kind.resource}
}

func idOf(k kind, r *http.Request) id { return id{k, r.PathValue("namespace"), r.PathValue("name")} }
