package model

import (
	"testing"

	"k8s.io/client-go/tools/cache"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// What the template says counts only until a live revision says otherwise.
func TestMaxReplicasInForce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	revisions := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	f.w.caps.revisions = servinglisters.NewRevisionLister(revisions)
	template := func(s *servingv1.Service) {
		s.Spec.Template.Annotations = map[string]string{"autoscaling.knative.dev/maxScale": "8"}
	}
	check := func(when string, want int64) {
		got, err := f.w.caps.maxReplicas(service(template, ready, func(s *servingv1.Service) { s.Status.LatestCreatedRevisionName = second }))
		if err != nil || got != want {
			t.Errorf("%s: %d replicas, %v; want %d", when, got, err, want)
		}
	}
	check("no revision", 8)
	f.add(t, revisions, bounded(first, "5"))
	check("one of two", 5)
	f.add(t, revisions, bounded(second, "6"))
	check("both", 6)
	f.add(t, revisions, revision(second))
	check("one without a bound", v1alpha1.UnboundedReplicas)
}

func bounded(name, replicas string, changes ...func(*servingv1.Revision)) *servingv1.Revision {
	most := func(r *servingv1.Revision) { r.Annotations["autoscaling.knative.dev/max-scale"] = replicas }
	return revision(name, append(changes, most)...)
}
