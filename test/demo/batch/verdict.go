package main

import (
	"errors"
	"fmt"

	"k8s.io/utils/ptr"

	"sluice.dev/sluice/test/demo/internal/show"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// tolerated is by how much, in requests per second, a batch may be above what is left, as
	// counted over two seconds that aren't the limiter's own.
	tolerated = 3.0
	// refusable is the part of online requests that may be refused: what a busy machine held
	// back comes all at once.
	refusable = 0.02
)

// verdict is what the demo saw, reduced to what decides its exit code.
type verdict struct {
	// rows are those of the object; total, succeeded, failed what the Batch says, errors how
	// many are set apart.
	rows, total, succeeded, failed int64
	broken, errors                 int
	// wrong is what isn't right of the output.
	wrong error
	// batches are how many there are of the object after its event came twice.
	batches int
	online  load.Second
	// before and during are what online callers saw without the batch and beside it.
	before, during platform.Answers
	// steady seconds, and by how much the batch was above what was left in the worst of them.
	steady int
	excess float64
	// taken is the part of what was left that the batch took in those.
	taken float64
}

// verdict reduces what was seen.
func (d *demo) verdict() verdict {
	t, s := &d.traffic, &d.batch.Status
	v := verdict{
		rows: d.input.Rows(), broken: len(d.input.Broken), errors: len(d.output.Errors), wrong: d.wrong, batches: d.batches,
		online: t.report.Total, before: t.between(t.start, t.putAt), during: t.between(s.StartTime.Time, t.endAt),
	}
	v.total, v.succeeded, v.failed = ptr.Deref(s.Total, 0), ptr.Deref(s.Succeeded, 0), ptr.Deref(s.Failed, 0)
	lefts := 0.0
	for i, at := range t.steady() {
		v.steady++
		v.taken += at.batch
		lefts += at.left
		if over := at.batch - at.left; i == 0 || over > v.excess {
			v.excess = over
		}
	}
	if lefts > 0 {
		v.taken /= lefts
	}
	return v
}

// ratio is that of online callers' p99 beside the batch to that without.
func (v verdict) ratio() float64 {
	return float64(v.during.Latency(0.99)) / float64(max(1, v.before.Latency(0.99)))
}

// problems are what must not be, none if all is well.
func (v verdict) problems() []error {
	var out []error
	problem := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Errorf(format, args...))
		}
	}
	problem(v.total != v.rows, "the object has %d rows, and the run %d items", v.rows, v.total)
	problem(v.succeeded+v.failed != v.rows, "%d items have succeeded and %d failed, of %d", v.succeeded, v.failed, v.rows)
	problem(v.failed != int64(v.broken) || v.errors != v.broken, "%d items have failed and %d are set apart, where %d rows are broken", v.failed, v.errors, v.broken)
	problem(v.wrong != nil, "the output isn't right: %w", v.wrong)
	problem(v.batches != 1, "after its event came twice the object has %d Batches", v.batches)
	problem(len(v.before) == 0 || len(v.during) == 0, "online callers got %d answers before the batch and %d beside it", len(v.before), len(v.during))
	lost := v.online.Failed + v.online.Errored + v.online.Dropped
	problem(lost > 0, "%d online requests got neither an answer nor a 429", lost)
	problem(float64(v.online.Limited) > refusable*float64(v.online.Offered), "%d of %d online requests were refused", v.online.Limited, v.online.Offered)
	problem(v.steady == 0, "there was no second in which online callers came evenly beside the batch")
	problem(v.excess > tolerated, "the batch took %.1f/s more than online callers left", v.excess)
	return out
}

// summarise prints the figures.
func (d *demo) summarise() {
	v := d.verdict()
	d.Title("Summary")
	took := d.batch.Status.CompletionTime.Sub(d.batch.Status.StartTime.Time)
	d.Line("items", "%d rows, %d records: %d scored, %d dead letters; in %.0f s", v.rows, len(d.output.Records), v.succeeded, v.failed, took.Seconds())
	d.Line("scores", "off by %.1e at most from the training library's", d.output.Difference)
	d.Line("slack", "the batch took %.0f %% of what was left, at most %.1f/s more than that", 100*v.taken, max(0, v.excess))
	d.Line("online", "%d requests, %d refused with 429, %d without an answer", v.online.Offered, v.online.Limited, v.online.Failed+v.online.Errored+v.online.Dropped)
	d.Line("online p50", "%s alone, %s beside the batch", show.Milliseconds(v.before.Latency(0.5)), show.Milliseconds(v.during.Latency(0.5)))
	d.Line("online p99", "%s alone, %s beside the batch: %.1f times", show.Milliseconds(v.before.Latency(0.99)), show.Milliseconds(v.during.Latency(0.99)), v.ratio())
	d.Line("event", "came twice; Batches: %d", v.batches)
	if errors.Join(v.problems()...) == nil {
		d.Line("verdict", "as it should be")
	}
}
