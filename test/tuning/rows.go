package tuning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
)

const (
	// Within bounds the time from a change of the Model to its effect; the autoscaler decides
	// every 2 s.
	Within = 3 * time.Second
	// Seen bounds it where only that there is one is asked, on a machine that may be busy: no
	// demand comes to the same by then without the change.
	Seen = 15 * time.Second
	// rate is offered to each Model that is tuned, in requests per second.
	rate = 50
	// filled is how long a window of 6 s takes to be full, and a second more.
	filled = 7 * time.Second
	// lull is how long there is hardly a request first, where the average over a minute is
	// to stay below what the last seconds have: it comes to 30 a second after 28 s of rate.
	lull = 20 * time.Second
	// lullRate keeps the endpoints in use meanwhile.
	lullRate = 2
)

// Row is a change of a live Model, told by its effect.
type Row struct {
	// Of is Knative's annotation.
	Of string
	// Change is merged into the Model.
	Change string
	// Rests is true where the change is made at rest, once Retained, and not under load.
	Rests bool

	// from is what the Model is at first.
	from func(*v1alpha1.Model)
	// quiet is true where the demand is to be new.
	quiet bool
	// before and after are the replicas that are asked for.
	before, after int32
	// effect is looked for instead, where it isn't replicas; "" once it is there.
	effect func(Place, context.Context) (string, error)
}

// Rows has one for each annotation that is live, as the table of the API has it.
func Rows() []Row {
	scaling := func(change func(*v1alpha1.AutoscalingSpec)) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { change(&m.Spec.Autoscaling) }
	}
	// minute has the demand averaged over a minute, and is of two minds of a rush.
	minute := func(annotations map[string]string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			m.Annotations = annotations
			m.Spec.Autoscaling.Window, m.Spec.Autoscaling.Target = &metav1.Duration{Duration: time.Minute}, ptr.Int32(30)
		}
	}
	const threshold, part = autoscaling.PanicThresholdPercentageAnnotationKey, autoscaling.PanicWindowPercentageAnnotationKey
	annotate := func(key, value string) string {
		return fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, key, value)
	}
	return []Row{
		{Of: autoscaling.MinScaleAnnotationKey, Change: `{"spec": {"autoscaling": {"minReplicas": 2}}}`, before: 1, after: 2},
		{
			Of:     autoscaling.MaxScaleAnnotationKey,
			from:   scaling(func(a *v1alpha1.AutoscalingSpec) { a.Target, a.MaxReplicas = ptr.Int32(20), ptr.Int32(2) }),
			Change: `{"spec": {"autoscaling": {"maxReplicas": 3}}}`, before: 2, after: 3,
		},
		{Of: autoscaling.TargetAnnotationKey, Change: `{"spec": {"autoscaling": {"target": 20}}}`, before: 1, after: 3},
		{Of: autoscaling.TargetUtilizationPercentageKey, Change: `{"spec": {"autoscaling": {"targetUtilization": 20}}}`, before: 1, after: 3},
		{
			// A request takes milliseconds, so fifty a second are never twenty at once.
			Of:     autoscaling.MetricAnnotationKey,
			from:   scaling(func(a *v1alpha1.AutoscalingSpec) { a.Metric, a.Target = v1alpha1.MetricConcurrency, ptr.Int32(20) }),
			Change: `{"spec": {"autoscaling": {"metric": "rps"}}}`, before: 1, after: 3,
		},
		{
			Of: autoscaling.WindowAnnotationKey, from: minute(map[string]string{threshold: "1000"}), quiet: true,
			Change: `{"spec": {"autoscaling": {"window": "6s"}}}`, before: 1, after: 2,
		},
		{
			Of: threshold, from: minute(map[string]string{threshold: "1000"}), quiet: true,
			Change: annotate(threshold, "150"), before: 1, after: 2,
		},
		{
			Of: part, from: minute(map[string]string{threshold: "150", part: "100"}), quiet: true,
			Change: annotate(part, "10"), before: 1, after: 2,
		},
		{
			Of:     autoscaling.TargetBurstCapacityKey,
			Change: `{"spec": {"autoscaling": {"targetBurstCapacity": -1}}}`, before: 1, after: 1,
			effect: Place.pastTheReplicas,
		},
		{
			Of:     autoscaling.ActivationScaleKey,
			from:   scaling(func(a *v1alpha1.AutoscalingSpec) { a.MinReplicas = ptr.Int32(0) }),
			Change: annotate(autoscaling.ActivationScaleKey, "2"), before: 1, after: 2,
		},
		{
			Of: autoscaling.ScaleToZeroPodRetentionPeriodKey,
			from: scaling(func(a *v1alpha1.AutoscalingSpec) {
				a.MinReplicas, a.TargetBurstCapacity, a.ScaleToZeroRetention = ptr.Int32(0), ptr.Int32(-1), &metav1.Duration{Duration: 10 * time.Minute}
			}),
			Change: `{"spec": {"autoscaling": {"scaleToZeroRetention": "0s"}}}`, before: 1, after: 0,
			Rests: true,
		},
	}
}

// Name is the annotation's without its prefix.
func (r Row) Name() string { return r.Of[len(v1alpha1.AutoscalingPrefix):] }

// Begin makes a Model what it is before the change: one replica serves all that is offered, as
// its limit says, requests go past the activator, and at most four replicas are asked for.
func (r Row) Begin(m *v1alpha1.Model) {
	serves := resource.MustParse("200")
	m.Spec.Limit.RequestsPerSecondPerReplica = &serves
	m.Spec.Autoscaling = v1alpha1.AutoscalingSpec{
		MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(4),
		Metric: v1alpha1.MetricRPS, Target: ptr.Int32(100), TargetUtilization: ptr.Int32(100),
		Window: &metav1.Duration{Duration: 6 * time.Second}, TargetBurstCapacity: ptr.Int32(0),
	}
	if r.from != nil {
		r.from(m)
	}
}

// Load is what is offered meanwhile, a minute of it at most, and after how long the change is
// due: once the window by which the autoscaler decides is full of what is offered, or, after a
// quiet time, what came last is far above its average.
func (r Row) Load() (offered load.Schedule, due time.Duration) {
	offered, due = load.Schedule{load.Hold(rate, time.Minute)}, filled
	if r.quiet {
		offered, due = append(load.Schedule{load.Hold(lullRate, lull)}, offered...), lull+filled
	}
	return offered, due
}

// Missing says what is missing until the change has had its effect, "" once nothing is.
func (r Row) Missing(ctx context.Context, of Place) (string, error) {
	if missing, err := of.AsksFor(ctx, r.after); err != nil || missing != "" || r.effect == nil {
		return missing, err
	}
	return r.effect(of, ctx)
}

// Before is an error if what the change is to do is there before it.
func (r Row) Before(ctx context.Context, of Place) error {
	missing, err := of.AsksFor(ctx, r.before)
	switch {
	case err != nil:
		return err
	case missing != "":
		return errors.New("before the change, " + missing)
	case r.effect == nil:
		return nil
	}
	missing, err = r.effect(of, ctx)
	if err == nil && missing == "" {
		err = errors.New("before the change, its effect is there")
	}
	return err
}
