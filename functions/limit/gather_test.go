package limit

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/revision"
)

// Each revision gets the endpoints of its own Service, all of them, and of no other.
func TestEndpointsOfRevisions(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for name, of := range map[string]struct{ revision, service string }{
		"a-1": {"r", "r-private"}, "a-2": {"r", "r-private"}, "b": {"r", "r"}, "c": {"other", "other-private"}, "d": {},
		"anybody's": {"r", "mine-private"},
	} {
		for _, namespace := range []string{"x", "y"} {
			if err := indexer.Add(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: name,
				Labels: map[string]string{discoveryv1.LabelServiceName: of.service, serving.RevisionLabelKey: of.revision},
			}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	lister := discoverylisters.NewEndpointSliceLister(indexer)
	got, err := Caches{EndpointSlices: lister}.endpoints()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"r": 2, "other": 1, "r-private": 0, "nobody": 0} {
		selected, err := lister.EndpointSlices("x").List(revision.Endpoints(name))
		if n := len(got[types.NamespacedName{Namespace: "x", Name: name}]); err != nil || n != want || len(selected) != want {
			t.Errorf("%s has %d slices, and %d by its selector; want %d", name, n, len(selected), want)
		}
	}
}
