package verdict

import (
	"fmt"
	"math"

	"sluice.dev/sluice/functions/whatif"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// leastBusy are the seconds in which requests have to come.
	leastBusy = 30
	// mostMissing is the share of a trial's seconds of which something may be missing.
	mostMissing = .1
	// holdsWithin is the share of what was measured that a replay may be off by.
	holdsWithin = .2
	// mostOver is the share of the seconds with requests that may miss the goal, and mostRefused
	// by how much more of the requests what is tried may refuse.
	mostOver, mostRefused = .02, .005
)

// replayed is what comes of the demand with what the Model says, and with what it tries.
type replayed struct {
	runs        int
	base, tried whatif.Figures
	// more is what tried takes more than base of ready replica-seconds, by runs that meet the
	// same requests.
	more whatif.Interval
	// assumed is what isn't known of the Model's replicas; "" where nothing is.
	assumed string
}

// tooLittle says why nothing can be found out by what was recorded; "" where something can.
func (m measured) tooLittle() string {
	switch missing := m.seconds - m.known; {
	case m.seconds <= 0 || float64(missing) > mostMissing*float64(m.seconds):
		return fmt.Sprintf("of its %d s, requests and replicas of %d s are recorded; at most a tenth may be missing", m.seconds, m.known)
	case m.busy < leastBusy:
		return fmt.Sprintf("requests came in %d s of it; it takes %d s to tell", m.busy, leastBusy)
	}
	return ""
}

func unverified(why string) v1alpha1.TrialVerdict {
	return v1alpha1.TrialVerdict{Reason: v1alpha1.TrialReasonUnverified, Message: "Whether it is better can't be told: " + why + "."}
}

// decide is whether a trial none of whose bounds was passed is better than what its Model says,
// by each of the replays. It is where no more is refused, and it took fewer ready
// replica-seconds than the low of the Model's own, as it does in the replay, run by run; or where by
// the low of these too many seconds miss the goal that what is tried keeps. A replay holds if it
// comes, with what was tried, to what was measured.
func decide(m measured, replays []replayed) v1alpha1.TrialVerdict {
	for _, r := range replays {
		if got := r.tried.ReadySeconds.Median; math.Abs(got-m.readySeconds) > holdsWithin*m.readySeconds {
			why := fmt.Sprintf("%.0f ready replica-seconds were measured, and what was tried comes to %.0f in the replay, which is more than %.0f %% off",
				m.readySeconds, got, 100*holdsWithin)
			if r.assumed != "" {
				why += "; " + r.assumed
			}
			return unverified(why)
		}
	}
	better, worst := true, replays[0]
	for _, r := range replays {
		if better = m.better(r); !better {
			worst = r
			break
		}
		if r.base.ReadySeconds.Low < worst.base.ReadySeconds.Low {
			worst = r
		}
	}
	verdict := v1alpha1.TrialVerdict{Reason: v1alpha1.TrialReasonNotBetter, Message: m.figures(worst)}
	if better {
		verdict.Reason = v1alpha1.TrialReasonBetter
	}
	return verdict
}

func (m measured) better(r replayed) bool {
	// Which requests a small bucket refuses is chance: what most runs come to tells more than the
	// worst.
	refusesMore := r.tried.RefusedShare.Median > r.base.RefusedShare.Median+mostRefused
	mends := r.base.OverShare.Low > mostOver && r.tried.OverShare.High <= mostOver
	return !refusesMore && (m.readySeconds < r.base.ReadySeconds.Low && r.more.High < 0 || mends)
}

// figures are what a verdict rests on, with the replay that speaks most against what was tried.
func (m measured) figures(r replayed) string {
	percent := func(i whatif.Interval) string { return fmt.Sprintf("%.1f to %.1f %%", 100*i.Low, 100*i.High) }
	out := fmt.Sprintf("It took %.0f ready replica-seconds in the %d s recorded, with %.0f requests, and passed no bound. "+
		"Replayed, the Model's own values take %.0f to %.0f, refuse %s of the requests and miss the latency in %s of the seconds; "+
		"what was tried takes %.0f to %.0f, refuses %s and misses it in %s (%d runs)",
		m.readySeconds, m.known, m.requests,
		r.base.ReadySeconds.Low, r.base.ReadySeconds.High, percent(r.base.RefusedShare), percent(r.base.OverShare),
		r.tried.ReadySeconds.Low, r.tried.ReadySeconds.High, percent(r.tried.RefusedShare), percent(r.tried.OverShare), r.runs)
	if r.assumed != "" {
		out += "; " + r.assumed
	}
	return out + "."
}
