package batch

import (
	"math"
	"math/big"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// followEvery is how often a run that is at work is asked how far it is.
	followEvery = 5 * time.Second
	// longestEstimate bounds how far off an end is told.
	longestEstimate = 10 * 365 * 24 * time.Hour
	// unknownFor is how long it can't be told when a run is over, or no pod works on it, before
	// that is said: one worker ends, the next begins, and a rate takes some answers.
	unknownFor = 20 * time.Second
)

// pace says how fast a run is that is at work, and when it will be over at that rate. What
// nobody says any more isn't said here either.
func (r *Reconciler) pace(p *pass, far task.Progress) {
	r.later(p.Batch, followEvery)
	end, has := p.End()
	if !has {
		p.Status.ForgetPace()
	}
	if far.Heard {
		inFlight := int32(min(far.InFlight, math.MaxInt32))
		p.Status.InFlight, p.Status.RequestsPerSecond = &inFlight, rateOf(far.RequestsPerSecond)
	}
	estimate, known := estimateOf(&p.Status, far, r.Now())
	switch {
	case known:
		r.silences.end(p.UID)
		p.Status.EstimatedEnd = &metav1.Time{Time: estimate}
		if has {
			p.Status.MarkPace(estimate, end, r.Now())
		}
	case has && r.silences.lasts(p.UID, r.Now()) >= unknownFor:
		p.Status.MarkPaceUnknown(r.Now())
	}
}

// estimateOf is when a run is over, in whole seconds; false where it can't be told, as where
// nobody says anything.
func estimateOf(s *v1alpha1.BatchStatus, far task.Progress, now time.Time) (time.Time, bool) {
	if !far.Heard || far.ItemsPerSecond <= 0 || s.Total == nil {
		return time.Time{}, false
	}
	seconds := float64(task.Left(*s.Total, s.ItemsDone(), far.Again)) / far.ItemsPerSecond
	if seconds > longestEstimate.Seconds() {
		return time.Time{}, false
	}
	return now.Add(time.Duration(seconds * float64(time.Second))).Truncate(time.Second), true
}

// rateOf is an observed rate in three digits behind the point, or one where it is ten or
// more; nil for none.
func rateOf(perSecond float64) *v1alpha1.Rate {
	digits := 1000.0
	if perSecond >= 10 {
		digits = 10
	}
	n := math.Round(perSecond * digits)
	if !(n > 0) || n > math.MaxInt32 {
		return nil
	}
	rate := v1alpha1.RateOf(big.NewRat(int64(n), int64(digits)))
	return &rate
}
