package capacity

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Part is what is admitted for one revision, whatever leads there.
type Part struct {
	// Clusters are Envoy's names for where requests to the revision may go.
	Clusters []string
	Rate     *big.Rat
	Burst    time.Duration
}

// clumps is the least burst of a revision that has a share of the requests. They are
// dealt out at random, so they come to it less evenly than to the Model; a bucket
// that holds little would refuse many of them at a rate that is well within its own.
const clumps = time.Second

// CheckTraffic refuses what would be two buckets of one revision, or none of any.
func CheckTraffic(traffic []v1alpha1.RevisionTraffic) error {
	seen := sets.New[string]()
	for i, t := range traffic {
		if len(validation.IsDNS1035Label(t.Revision)) > 0 || seen.Has(t.Revision) || t.Percent < 0 || t.Percent > 100 {
			return fmt.Errorf("spec.traffic[%d] is revision %q with %d percent, want each revision once with 0 to 100", i, t.Revision, t.Percent)
		}
		seen.Insert(t.Revision)
	}
	return nil
}

// Parts are what the revisions of a RateLimit are held to one by one. As long as
// requests follow the percentages, the limit keeps each within its own, and there are
// none. A tag leads any number of requests to its revision. Then all are held, those
// without a tag too: when one refuses its part of a demand above the limit, what
// passes for the others would be more than theirs.
func (r Rule) Parts(l *v1alpha1.RateLimit, revisions []Replicas) []Part {
	if !slices.ContainsFunc(l.Spec.Traffic, func(t v1alpha1.RevisionTraffic) bool { return t.Tagged }) {
		return nil
	}
	out := make([]Part, 0, len(revisions))
	for _, s := range revisions {
		p := Part{Clusters: gateway.RevisionClusters(l.Namespace, s.Revision, s.Protocol), Rate: r.Admitted(s), Burst: l.Spec.Burst.Duration}
		if s.Percent > 0 {
			p.Burst = max(p.Burst, clumps)
		}
		out = append(out, p)
	}
	return out
}
