// Package recording records the events that reconcilers tell, and not those that tell
// nothing: that the status of an object couldn't be written which somebody has deleted
// meanwhile is no failure.
package recording

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
)

// WithRecorder gives a context the recorder that a reconciler made with it records by, in
// place of the one that Knative would make. The component is what tells the events.
func WithRecorder(ctx context.Context, component string) context.Context {
	if controller.GetEventRecorder(ctx) != nil {
		return ctx // a test's
	}
	broadcaster := record.NewBroadcaster()
	watches := []watch.Interface{
		broadcaster.StartLogging(logging.FromContext(ctx).Named("event-broadcaster").Infof),
		broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: kubeclient.Get(ctx).CoreV1().Events("")}),
	}
	context.AfterFunc(ctx, func() {
		for _, w := range watches {
			w.Stop()
		}
	})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
	return controller.WithEventRecorder(ctx, ofTheLiving{recorder})
}

// ofTheLiving leaves out that a status couldn't be written because its object is gone.
type ofTheLiving struct{ record.EventRecorder }

// statusNotWritten is the reason that Knative's reconcilers give.
const statusNotWritten = "UpdateFailed"

// Eventf implements record.EventRecorder.
func (r ofTheLiving) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	if reason == statusNotWritten {
		for _, arg := range args {
			if err, ok := arg.(error); ok && apierrs.IsNotFound(err) {
				return
			}
		}
	}
	r.EventRecorder.Eventf(object, kind, reason, format, args...)
}
