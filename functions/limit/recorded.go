package limit

import (
	"fmt"
	"net/http"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"

	"sluice.dev/sluice/functions/callers"
	"sluice.dev/sluice/functions/limit/demand/history"
	"sluice.dev/sluice/functions/turns"
	"sluice.dev/sluice/reconciler/apis/gateway"
)

// NewRecording is a recording of which namespaces share the room.
func NewRecording(room int) *history.History {
	return history.New(room, func(virtualService string) string {
		namespace, _, _ := gateway.IngressOf(virtualService) // one that serves no Ingress is its own
		return namespace
	})
}

// recordReady tells how many ready replicas each limit's traffic has, as a pass saw them.
func (f *Function) recordReady(now time.Time, s *state) {
	if f.Scaled == nil {
		return
	}
	ready := make(map[string]int32, len(s.limits))
	for _, l := range s.limits {
		of := int32(0)
		for _, r := range s.replicas[key(l)] {
			of += r.Ready
		}
		ready[l.Spec.VirtualService] = of
	}
	f.Scaled(now, ready)
}

// tellAtOnce bounds the recordings that are told at the same time: each is some megabytes of
// text. A namespace is told one of them, so that none keeps others from theirs.
const tellAtOnce = 2

// RecordedHandler answers what came to a Model in each second of the last day, and how many of
// its replicas were ready, as lines `time,requests,replicas`, without requests with the mark of
// a batch. What came before its RateLimit
// was made is another's of that name, and isn't told. It tells pods of the Model's
// namespace, and of our own; caller says whose a request is. A replica that doesn't lead
// answers 503: another one knows. Where as many are told as may be it answers 429.
func (f *Function) RecordedHandler(recording *history.History, caller func(*http.Request) (callers.Caller, error), own string) http.Handler {
	telling := turns.New(tellAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace, name := r.PathValue("namespace"), r.PathValue("name")
		c, err := caller(r)
		switch {
		case err != nil:
			http.Error(w, err.Error(), callers.StatusOf(err))
			return
		case c.Namespace != namespace && c.Namespace != own:
			http.Error(w, fmt.Sprintf("a pod of namespace %s may not know of Models in %s: ask from there", c.Namespace, namespace), http.StatusForbidden)
			return
		case !f.leads.Load():
			http.Error(w, ErrStandby.Error(), http.StatusServiceUnavailable)
			return
		}
		// Nobody takes a turn who may not know.
		if !telling.Take(c.Namespace) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("namespace %s is told a recording already, or %d others are: ask again", c.Namespace, tellAtOnce), http.StatusTooManyRequests)
			return
		}
		defer telling.Leave(c.Namespace)
		limit, err := f.Caches.RateLimits.RateLimits(namespace).Get(name)
		if apierrs.IsNotFound(err) {
			http.Error(w, fmt.Sprintf("there is no Model %s in namespace %s", name, namespace), http.StatusNotFound)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		of, ok := recording.Of(limit.Spec.VirtualService, limit.CreationTimestamp.Time)
		if !ok {
			http.Error(w, fmt.Sprintf("no demand of Model %s is recorded: none came in the last %s, since it was made, or since this limiter leads", name, history.Keeps), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/csv")
		_ = of.Write(w) // who asked may have gone
	})
}
