package eventing

import (
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"pgregory.net/rapid"
)

// drawnRun are the parts of events about any run.
func drawnRun(t *rapid.T) (BatchRun, BatchItems, time.Time) {
	name, count := rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,30}[a-z0-9])?`), rapid.Int64Range(0, 1<<53)
	return BatchRun{
			Batch: Ref{Namespace: name.Draw(t, "namespace"), Name: name.Draw(t, "name")}, UID: name.Draw(t, "uid"), Model: name.Draw(t, "model"),
		}, BatchItems{Succeeded: count.Draw(t, "succeeded"), Failed: count.Draw(t, "failed")},
		time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "since"), 0).UTC()
}

func TestEventsOfBatchesKeepTheirSchemas(t *testing.T) {
	total := rapid.Int64Range(0, 1<<53)
	t.Run(BatchStartedType, rapid.MakeCheck(func(t *rapid.T) {
		run, _, since := drawnRun(t)
		keepsSchema(t, NewBatchStarted, read[BatchStarted](BatchStartedType), BatchStarted{BatchRun: run, Since: since})
	}))
	t.Run(BatchProgressedType, rapid.MakeCheck(func(t *rapid.T) {
		run, items, since := drawnRun(t)
		rate := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[0-9]{1,7}(\.[0-9]{1,3})?`)).Draw(t, "rate")
		end := rapid.SampledFrom([]*time.Time{nil, &since}).Draw(t, "end")
		keepsSchema(t, NewBatchProgressed, read[BatchProgressed](BatchProgressedType), BatchProgressed{
			BatchRun: run, BatchItems: items, Total: total.Draw(t, "total"), RequestsPerSecond: rate, EstimatedEnd: end, Since: since,
		})
	}))
	t.Run(BatchCompletedType, rapid.MakeCheck(func(t *rapid.T) {
		run, items, since := drawnRun(t)
		keepsSchema(t, NewBatchCompleted, read[BatchCompleted](BatchCompletedType), BatchCompleted{
			BatchRun: run, BatchItems: items, Total: total.Draw(t, "total"), Since: since, Seconds: rapid.Float64Range(0, 1e9).Draw(t, "seconds"),
		})
	}))
	t.Run(BatchFailedType, rapid.MakeCheck(func(t *rapid.T) {
		run, items, since := drawnRun(t)
		keepsSchema(t, NewBatchFailed, read[BatchFailed](BatchFailedType), BatchFailed{
			BatchRun: run, BatchItems: items, Reason: rapid.StringN(1, 20, -1).Draw(t, "reason"), Message: rapid.String().Draw(t, "message"), Since: since,
		})
	}))
}

// A run begins and ends once, however often and when it is told; what was seen of it at another
// time is another event, and another run's are others.
func TestIDsOfBatches(t *testing.T) {
	since := time.Date(2026, 3, 1, 13, 0, 0, 5, time.FixedZone("CET", 3600))
	run := BatchRun{Batch: Ref{Namespace: "search", Name: "nightly"}, UID: "b-1", Model: "ranker"}
	other := run
	other.UID = "b-2"
	started := func(run BatchRun, since time.Time) cloudevents.Event {
		return build(t, NewBatchStarted, BatchStarted{BatchRun: run, Since: since})
	}
	completed := func(run BatchRun, since time.Time) cloudevents.Event {
		return build(t, NewBatchCompleted, BatchCompleted{BatchRun: run, Since: since})
	}
	progressed := func(succeeded int64, since time.Time) cloudevents.Event {
		return build(t, NewBatchProgressed, BatchProgressed{BatchRun: run, BatchItems: BatchItems{Succeeded: succeeded}, Since: since})
	}
	failed := build(t, NewBatchFailed, BatchFailed{BatchRun: run, Reason: "StoreAway", Since: since})
	for what, same := range map[string]bool{
		"the start, told again":          started(run, since).ID() == started(run, since.Add(time.Second)).ID(),
		"the end, told again":            completed(run, since).ID() == completed(run, since.Add(time.Second)).ID(),
		"how far it was, told again":     progressed(1, since).ID() == progressed(1, since.UTC()).ID(),
		"that it failed isn't its end":   failed.ID() != completed(run, since).ID(),
		"the start isn't the end":        started(run, since).ID() != completed(run, since).ID(),
		"another run's start":            started(run, since).ID() != started(other, since).ID(),
		"another run's end":              completed(run, since).ID() != completed(other, since).ID(),
		"how far it is a moment later":   progressed(1, since).ID() != progressed(1, since.Add(time.Millisecond)).ID(),
		"how far it is with another one": progressed(1, since).ID() != progressed(2, since).ID(),
	} {
		if !same {
			t.Errorf("the id of %s is wrong", what)
		}
	}
	if got := started(run, since).Source(); got != "/apis/sluice.dev/v1alpha1/namespaces/search/batches/nightly" {
		t.Errorf("the source is %q", got)
	}
}
