package tenant

import (
	"context"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

var migrated = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_tenant_migrated_events_total",
	Help: "gateway.migrated events handed to the Broker, by outcome: sent, failed.",
}, []string{"outcome"})

// Losses are there from the start: of a counter that comes with its first one Prometheus sees
// no increase.
func init() {
	migrated.WithLabelValues("failed")
}

// tell makes known what a status that was written has changed. A controller that is
// killed before it tells doesn't tell later: the status says it all.
func (r *Reconciler) tell(ctx context.Context, before, after *v1alpha1.Tenant) {
	recorder := controller.GetEventRecorder(ctx)
	for _, change := range resources.Changes(before.Status, after.Status) {
		kind := corev1.EventTypeNormal
		if change.Warning {
			kind = corev1.EventTypeWarning
		}
		recorder.Event(after, kind, change.Reason, change.Message)
	}
	if !resources.Switched(before.Status, after.Status) {
		return
	}
	outcome := "sent"
	if err := r.send(ctx, before.Status.Gateway, after); err != nil {
		// Nothing waits for it.
		outcome = "failed"
		logging.FromContext(ctx).Warnw("Failed to tell the Broker of a tenant's move", "error", err)
	}
	migrated.WithLabelValues(outcome).Inc()
}

func (r *Reconciler) send(ctx context.Context, from string, t *v1alpha1.Tenant) error {
	event, err := eventing.NewGatewayMigrated(eventing.GatewayMigrated{
		Tenant: t.Name, From: from, To: t.Status.Gateway, Since: t.Status.GatewaySince.Time,
	})
	if err != nil {
		return err
	}
	return r.sender.Send(ctx, event)
}
