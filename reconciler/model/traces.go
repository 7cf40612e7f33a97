package model

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"
	servingapi "knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// tracer makes spans of what has ended, from what was noted of it.
var tracer = otel.Tracer("sluice.dev/sluice/reconciler/model")

// traceStep shows the step of a rollout that ended with its next status, if one did.
func traceStep(m *v1alpha1.Model, before, next *v1alpha1.RolloutStatus, now time.Time) {
	if before == nil || before.To.Name() != next.To.Name() || before.Phase == next.Phase && before.Percent == next.Percent {
		return
	}
	switch before.Phase {
	case v1alpha1.RolloutProgressing, v1alpha1.RolloutUndoing:
	default: // nothing was under way
		return
	}
	_, span := tracer.Start(context.Background(), "rollout step", trace.WithTimestamp(before.Since.Time), trace.WithAttributes(
		attribute.String("k8s.namespace.name", m.Namespace), attribute.String("sluice.model", m.Name),
		attribute.String("sluice.revision", next.To.Name()), attribute.String("sluice.revision.from", next.From.Name()),
		attribute.String("sluice.rollout.phase", string(before.Phase)), attribute.String("sluice.rollout.next", string(next.Phase)),
		attribute.Int("sluice.rollout.percent", int(before.Percent)), attribute.Int("sluice.rollout.percent.next", int(next.Percent)),
	))
	if next.Phase == v1alpha1.RolloutFailed {
		span.SetStatus(codes.Error, next.Reason)
	}
	span.End(trace.WithTimestamp(now))
}

// traceWarmUp begins the span of a warm-up that has ended by when the replica was asked, and
// returns what ends it. What is told of the warm-up goes on with the context.
func traceWarmUp(ctx context.Context, pod *corev1.Pod, model string, known seen) (of context.Context, end func()) {
	lasted := time.Duration(known.status.Seconds * float64(time.Second))
	ctx, span := tracer.Start(ctx, "warm-up", trace.WithNewRoot(), trace.WithTimestamp(known.asked.Add(-lasted)), trace.WithAttributes(
		attribute.String("k8s.namespace.name", pod.Namespace), attribute.String("k8s.pod.name", pod.Name),
		attribute.String("sluice.model", model), attribute.String("sluice.revision", pod.Labels[servingapi.RevisionLabelKey]),
		attribute.String("sluice.warmup.verdict", string(known.status.State)), attribute.Int("sluice.warmup.starts", known.status.Starts),
		attribute.Int("sluice.warmup.rounds", known.status.Rounds), attribute.Int64("sluice.warmup.requests", known.status.Requests),
		attribute.Float64("sluice.warmup.first_ms", known.status.FirstMilliseconds), attribute.Float64("sluice.warmup.last_ms", known.status.LastMilliseconds),
	))
	if known.status.State == warmup.Failed {
		span.SetStatus(codes.Error, known.status.Reason)
	}
	return ctx, func() { span.End(trace.WithTimestamp(known.asked)) }
}
