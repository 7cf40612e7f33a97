package bounds

import (
	"fmt"
	"strings"
	"time"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// chance is the probability below which so many bad requests, or more, are no accident. It is
// asked of two windows each second, 172,800 times a day: so next to no trial ends whose
// requests keep its bounds, even where they just do.
const chance = 1e-6

// saidOf bounds what a message repeats of an error, in bytes.
const saidOf = 200

// Breach is how bounds are passed at the time of the last look; nil while they aren't.
//
// A bound allows a share of the requests: errorPercent those answered with a status of 500 or
// above, a percentile those that take longer than it may, 100 less the percentile. It is
// passed where, did each request fail or take so long with just that probability, so many of
// those that ended in the last 10 s would by a chance of less than one in a million, or of
// those in the last minute. That is an exact binomial test; one slow request never passes it,
// and where all are bad it takes three to a dozen of them at the usual bounds.
func (w Watch) Breach(of v1alpha1.RateLimitBounds, now time.Time) *v1alpha1.RateLimitBreach {
	for _, window := range []time.Duration{short, long} {
		counts := w.over(window, now)
		if percent := of.ErrorPercent; percent != nil && passes(counts.Errors, counts.Completed, share(*percent)) {
			return breach(of, v1alpha1.BreachErrorPercent,
				"%.0f of the %.0f requests that ended in the last %s were answered with a status of 500 or above; errorPercent allows %d %%",
				counts.Errors, counts.Completed, inSeconds(window), *percent)
		}
		if latency := of.Latency; latency != nil && passes(counts.Slow, counts.Timed, share(100-latency.Percentile)) {
			return breach(of, v1alpha1.BreachLatency,
				"%.0f of the %.0f requests that ended in the last %s took longer than %s; latency allows %d %% above %s, as its percentile is %d",
				counts.Slow, counts.Timed, inSeconds(window), max(counts.Above, latency.Above.Duration), 100-latency.Percentile, latency.Above.Duration, latency.Percentile)
		}
	}
	name, p, unread := w.unread(now)
	switch {
	case !unread:
		return nil
	case name == "":
		return breach(of, v1alpha1.BreachUnwatched, "no pod of the Model's gateway has been ready for %s, so nobody can tell whether the bounds are passed", inSeconds(UnreadFor))
	default:
		said := p.err.Error()
		return breach(of, v1alpha1.BreachUnwatched, "the counters of gateway pod %s haven't been read for %s, so nobody can tell whether the bounds are passed: %s",
			name, inSeconds(UnreadFor), strings.ToValidUTF8(said[:min(len(said), saidOf)], ""))
	}
}

// passes is true where so many bad requests of all are more than a share of them allows,
// chance apart.
func passes(bad, all, allowed float64) bool {
	return chanceOf(int64(bad), int64(all), allowed) < chance
}

func share(percent int32) float64 { return float64(percent) / 100 }

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

func breach(of v1alpha1.RateLimitBounds, reason, format string, args ...any) *v1alpha1.RateLimitBreach {
	return &v1alpha1.RateLimitBreach{Since: of.Since, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
