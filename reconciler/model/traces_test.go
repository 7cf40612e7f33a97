package model

import (
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
)

// spans are those of all tests: the process has one provider.
var spans = sync.OnceValue(func() *tracetest.SpanRecorder {
	recorder := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	return recorder
})

// of are the spans that a Model's name tells from those of other tests.
func of(model string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range spans().Ended() {
		if slices.Contains(s.Attributes(), attribute.String("sluice.model", model)) {
			found = append(found, s)
		}
	}
	return found
}

// Each step of a rollout that was under way has a span of its time, and nothing else has one.
func TestStepsOfRolloutsAreTraced(t *testing.T) {
	spans()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	status := func(phase v1alpha1.RolloutPhase, percent int32, to string) *v1alpha1.RolloutStatus {
		return &v1alpha1.RolloutStatus{
			Phase: phase, Percent: percent, From: &v1alpha1.RolloutRevision{RevisionName: "m-1"}, To: &v1alpha1.RolloutRevision{RevisionName: to}, Since: metav1.NewTime(noon),
		}
	}
	for name, tt := range map[string]struct {
		before, next *v1alpha1.RolloutStatus
		want         int
		code         codes.Code
	}{
		"the first":    {nil, status(v1alpha1.RolloutProgressing, 0, "m-2"), 0, codes.Unset},
		"further":      {status(v1alpha1.RolloutProgressing, 10, "m-2"), status(v1alpha1.RolloutProgressing, 50, "m-2"), 1, codes.Unset},
		"no further":   {status(v1alpha1.RolloutProgressing, 10, "m-2"), status(v1alpha1.RolloutProgressing, 10, "m-2"), 0, codes.Unset},
		"the last":     {status(v1alpha1.RolloutProgressing, 50, "m-2"), status(v1alpha1.RolloutComplete, 100, "m-2"), 1, codes.Unset},
		"a failure":    {status(v1alpha1.RolloutProgressing, 50, "m-2"), status(v1alpha1.RolloutFailed, 0, "m-2"), 1, codes.Error},
		"back":         {status(v1alpha1.RolloutUndoing, 50, "m-2"), status(v1alpha1.RolloutUndone, 0, "m-2"), 1, codes.Unset},
		"not any more": {status(v1alpha1.RolloutKeepingWarm, 100, "m-2"), status(v1alpha1.RolloutComplete, 100, "m-2"), 0, codes.Unset},
		"another's":    {status(v1alpha1.RolloutProgressing, 50, "m-2"), status(v1alpha1.RolloutProgressing, 0, "m-3"), 0, codes.Unset},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "rollout " + name}}
			traceStep(m, tt.before, tt.next, noon.Add(time.Minute))
			found := of(m.Name)
			if len(found) != tt.want {
				t.Fatalf("%d spans, want %d", len(found), tt.want)
			}
			for _, s := range found {
				if lasted := s.EndTime().Sub(s.StartTime()); s.Name() != "rollout step" || lasted != time.Minute || s.Status().Code != tt.code {
					t.Errorf("%s of %s with status %v, want a minute and %v", s.Name(), lasted, s.Status().Code, tt.code)
				}
			}
		})
	}
}

// A warm-up's span has its time, and what is told of it goes on with the trace; one that
// couldn't be told yet has none.
func TestWarmUpsAreTraced(t *testing.T) {
	spans()
	asked := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	known := seen{asked: asked, status: warmup.Status{State: warmup.Failed, Starts: 1, Seconds: 2.5, Reason: "answered 500"}}
	ctx, _ := traceWarmUp(t.Context(), replica("ranker-a"), "warm-up", known)
	if found := of("warm-up"); len(found) != 0 {
		t.Errorf("before it was told there are %d spans", len(found))
	}
	again, end := traceWarmUp(ctx, replica("ranker-a"), "warm-up", known)
	end()
	found := of("warm-up")
	if len(found) != 1 {
		t.Fatalf("%d spans, want one", len(found))
	}
	s := found[0]
	if !s.EndTime().Equal(asked) || s.EndTime().Sub(s.StartTime()) != 2500*time.Millisecond || s.Status().Code != codes.Error || s.Parent().IsValid() {
		t.Errorf("from %s to %s with status %v, of parent %s", s.StartTime(), s.EndTime(), s.Status(), s.Parent().SpanID())
	}
	if trace.SpanContextFromContext(again).SpanID() != s.SpanContext().SpanID() {
		t.Error("what is told of it isn't in its trace")
	}
}
