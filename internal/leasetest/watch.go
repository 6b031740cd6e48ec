package leasetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// list lists, or watches where the query says so.
func (s *Server) list(k kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		match, err := matcher(k, r.PathValue("namespace"), query.Get("fieldSelector"))
		if err != nil {
			fail(w, err)
			return
		}
		if watching, _ := strconv.ParseBool(query.Get("watch")); watching {
			s.watch(w, r, match)
			return
		}
		found, version := s.objects.list(match)
		all := &metav1.List{
			TypeMeta: metav1.TypeMeta{APIVersion: k.GroupVersion().String(), Kind: k.Kind + "List"},
			ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(version, 10)}, Items: []runtime.RawExtension{},
		}
		for _, o := range found {
			all.Items = append(all.Items, runtime.RawExtension{Object: o})
		}
		answer(w, http.StatusOK, all)
	}
}

func matcher(k kind, namespace, selector string) (func(id) bool, error) {
	selected, err := fields.ParseSelector(selector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	for _, r := range selected.Requirements() {
		if r.Field != metav1.ObjectNameField {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", r.Field))
		}
	}
	return func(name id) bool {
		return name.kind == k && name.namespace == namespace && selected.Matches(fields.Set{metav1.ObjectNameField: name.name})
	}, nil
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, match func(id) bool) {
	query := r.URL.Query()
	from, err := version(query)
	if err != nil {
		fail(w, err)
		return
	}
	ctx := r.Context()
	if seconds, err := strconv.Atoi(query.Get("timeoutSeconds")); err == nil && seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds)*time.Second)
		defer cancel()
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	st := &stream{
		server: s, out: json.NewEncoder(w), flush: http.NewResponseController(w).Flush, match: match, shape: shapeOf(r), at: from,
	}
	if from == 0 {
		st.initial()
	}
	st.run(ctx)
}

// version is the resource version that the query names. 0 is none: such a watch starts with the objects as they are.
func version(query url.Values) (int64, error) {
	if query.Get("sendInitialEvents") != "" {
		return 0, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "GET", corev1.Resource(""), "",
			"sendInitialEvents is forbidden for watch by this stand-in", 0, false)
	}
	text := query.Get("resourceVersion")
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q", text))
	}
	return v, nil
}

// stream is one watch.
type stream struct {
	server *Server
	out    *json.Encoder
	flush  func() error
	match  func(id) bool
	shape  func(object) runtime.Object
	at     int64 // the resource version up to which everything has been sent
}

func (st *stream) initial() {
	found, at := st.server.objects.list(st.match)
	for _, o := range found {
		st.send(watch.Added, st.shape(o))
	}
	st.at = at
}

// run sends changes until ctx is done or the server's mode ends the watch. In a black hole it sends nothing, and
// goes on after it.
func (st *stream) run(ctx context.Context) {
	began := st.server.outagesSoFar()
	for {
		changes, grown, ok := st.server.objects.since(st.at)
		mode, switched := st.server.state()
		switch {
		case mode == Unavailable || mode == Refused || st.server.outagesSoFar() != began:
			return
		case mode == BlackHole:
			grown = nil
		case !ok:
			st.expired()
			return
		default:
			st.sendAll(changes)
		}
		select {
		case <-grown:
		case <-switched:
		case <-ctx.Done():
			if mode == BlackHole {
				panic(http.ErrAbortHandler) // a watch that ends in good order would be an answer
			}
			return
		}
	}
}

func (st *stream) sendAll(changes []change) {
	for _, c := range changes {
		if st.match(c.name) {
			st.send(c.kind, st.shape(c.object))
		}
		st.at = c.version
	}
	_ = st.flush() // the client has gone, then, and the context ends
}

func (st *stream) expired() {
	status := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", st.at)).Status()
	status.TypeMeta = statusType
	st.send(watch.Error, &status)
	_ = st.flush()
}

func (st *stream) send(kind watch.EventType, object runtime.Object) {
	_ = st.out.Encode(metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Object: object}}) // as flush
}
