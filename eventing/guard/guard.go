// Package guard keeps out events that the Broker didn't deliver, where Knative
// Eventing says who delivers. What an event has to be like is in eventing.
package guard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/pkg/configmap/informer"
	"knative.dev/pkg/logging"
)

var (
	// errUnknown is the answer until Knative Eventing's features are known: the Broker delivers
	// the event again.
	errUnknown = errors.New("it isn't known yet whether events are authenticated")
	// errNotReady is the answer until tokens can be told from others.
	errNotReady = errors.New("it isn't known yet who issues tokens: it was not to be had at the URL that Knative Eventing's features name, and is asked for again")
	// errKeysUnread is the answer while it can't be read by which keys they are signed.
	errKeysUnread = errors.New("the keys that tokens are signed by can't be read, and are asked for again")
)

// Guard lets in what a Trigger delivers: all there is where Knative Eventing's
// feature authentication-oidc is off.
type Guard struct {
	features func() feature.Flags
	build    func(at string) Verifier
	verifier atomic.Pointer[verifying]
	Door
}

// Door is what is guarded: the subscriber of Triggers, which has an audience.
type Door struct {
	// Trigger is whose event a request has to bring; an error where it can be nobody's.
	Trigger  func(*http.Request) (types.NamespacedName, error)
	Audience string
}

// Only is for the door of one Trigger.
func Only(trigger types.NamespacedName) func(*http.Request) (types.NamespacedName, error) {
	return func(*http.Request) (types.NamespacedName, error) { return trigger, nil }
}

// Watch returns the Guard of a door. It follows the features of the Knative Eventing in
// a namespace until the context, which has the logger, ends.
func Watch(ctx context.Context, config *rest.Config, namespace string, door Door) (*Guard, error) {
	log := logging.FromContext(ctx)
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the Kubernetes client: %w", err)
	}
	watcher := informer.NewInformedWatcherFromFactory(informers.NewSharedInformerFactoryWithOptions(kube, 0,
		informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", feature.FlagsConfigName).String()
		})), namespace)
	changed := make(chan struct{}, 1)
	store := feature.NewStore(log, func(string, any) {
		select {
		case changed <- struct{}{}:
		default: // it is known already
		}
	})
	store.WatchConfigs(watcher)
	g := &Guard{features: store.Load, build: builder(ctx, config), Door: door}
	go g.keepReady(ctx, changed)
	go func() {
		// It waits for as long as the API server doesn't answer.
		if err := watcher.Start(ctx.Done()); err != nil {
			log.Errorw("Features of Knative Eventing not read; no event is taken", zap.Error(err))
		}
	}()
	return g, nil
}

// subjectOf is the service account that Knative Eventing delivers a Trigger's events as.
func subjectOf(trigger types.NamespacedName) string {
	account := auth.GetOIDCServiceAccountNameForResource(
		eventingv1.SchemeGroupVersion.WithKind("Trigger"), metav1.ObjectMeta{Namespace: trigger.Namespace, Name: trigger.Name})
	return fmt.Sprintf("system:serviceaccount:%s:%s", trigger.Namespace, account)
}

// Admit returns why a request isn't let in, after it has written the status.
func (g *Guard) Admit(w http.ResponseWriter, r *http.Request) error {
	features := g.features()
	if features == nil {
		return notYet(w, errUnknown)
	}
	trigger, err := g.Trigger(r)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return err
	}
	if !features.IsOIDCAuthentication() {
		return nil
	}
	verifier := g.ready(features)
	if verifier == nil {
		return notYet(w, errNotReady)
	}
	answer := &withheld{ResponseWriter: w, status: http.StatusUnauthorized}
	err = verifier.VerifyRequestFromSubject(r.Context(), features, &g.Audience, subjectOf(trigger), r, answer)
	switch {
	case err == nil:
		return nil
	case unchecked(err):
		return notYet(w, fmt.Errorf("%w: %w", errKeysUnread, err))
	}
	w.WriteHeader(answer.status)
	return fmt.Errorf("sender: %w", err)
}

// notYet has the Broker deliver the event again: 401, as Knative's Verifier answers, is for good.
func notYet(w http.ResponseWriter, why error) error {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	return why
}
