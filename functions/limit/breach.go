package limit

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Watch tells which RateLimits' bounds were passed.
type Watch interface {
	// Breach is how the bounds of a RateLimit were passed that are there since then, nil
	// while they weren't.
	Breach(limit types.NamespacedName, since metav1.MicroTime) *v1alpha1.RateLimitBreach
	// Run watches until the context ends.
	Run(ctx context.Context)
}

// Breached asks for the statuses to be compared with the breaches soon.
func (f *Function) Breached() { signal(f.breached) }

// reportBreaches has each status tell of the breach of those bounds that are in its spec, and
// of no others. It waits for no proof: what a trial does to callers has nothing to do with
// how far its limit is on its way.
func (f *Function) reportBreaches() {
	for i := range f.plans {
		p := &f.plans[i]
		if p.gone {
			continue
		}
		before := f.reported[idOf(p.of)]
		if before == nil {
			before = &p.of.Status
		}
		breach := f.breachOf(p.of, before)
		if equality.Semantic.DeepEqual(before.Breach, breach) {
			continue
		}
		status := before.DeepCopy()
		status.Breach = breach
		f.reported[idOf(p.of)] = status
		f.statuses.want(p.of, status)
	}
}

// breachOf is what a status is to tell: once it tells of a breach, that one, for as long as the
// bounds are there.
func (f *Function) breachOf(l *v1alpha1.RateLimit, before *v1alpha1.RateLimitStatus) *v1alpha1.RateLimitBreach {
	if l.Spec.Bounds == nil {
		return nil
	}
	if told := before.BreachOf(&l.Spec.Bounds.Since); told != nil {
		return told
	}
	return f.Watch.Breach(types.NamespacedName{Namespace: l.Namespace, Name: l.Name}, l.Spec.Bounds.Since)
}
