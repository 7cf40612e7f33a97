package credits

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/limit/slack"
)

// crowd is a ledger that is as full as it gets, with who asks: those of the namespace that has
// most of them first, who all ask one Model, for as many batches as it may have.
func crowd(tb testing.TB) (l *Ledger, asks []Ask, models []string, now time.Time) {
	tb.Helper()
	l, now = NewLedger(start), start.Add(Longest)
	l.Offer(map[string]slack.Slack{"team-0/m": {Rate: 1e4, Expires: now.Add(time.Hour)}, "team-1/m": {Rate: 1e4, Expires: now.Add(time.Hour)}})
	for n := 0; l.workers < mostWorkers; n++ {
		before := l.workers
		for i := range mostWorkers / 2 {
			const of = mostWorkers / 2 / BatchesOf
			ask := Ask{
				Namespace: fmt.Sprint("team-", n), Batch: fmt.Sprint("b-", i/of), UID: types.UID(fmt.Sprint("b-", n, "-", i/of)),
				Worker: fmt.Sprint("w-", i), Wanted: float64(1 + i%7),
			}
			model := ask.Namespace + "/m"
			if _, err := l.Lease(model, ask, now); err != nil {
				break
			}
			asks, models = append(asks, ask), append(models, model)
		}
		if l.workers == before {
			break
		}
	}
	return l, asks, models, now
}

// BenchmarkLease is an ask where as many workers are known as may be, and half of them ask one
// Model, for a hundred batches.
func BenchmarkLease(b *testing.B) {
	l, asks, models, now := crowd(b)
	half, i := mostWorkers/2, 0
	second := now
	for b.Loop() {
		if i++; i%half == 0 {
			second = second.Add(AskEvery)
		}
		of := i % half
		lease, err := l.Lease(models[of], asks[of], second)
		if err != nil {
			b.Fatal(err)
		}
		asks[of].Lease = lease.Number
	}
	b.ReportMetric(float64(l.workers), "workers")
}
