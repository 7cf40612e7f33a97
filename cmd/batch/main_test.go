package main

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Credits are for what is to go on, and for no namesake of it.
func TestModelOf(t *testing.T) {
	now := metav1.Now()
	for name, tt := range map[string]struct {
		uid    types.UID
		change func(*v1alpha1.Batch)
		want   string
	}{
		"one that works":      {"b-1", func(*v1alpha1.Batch) {}, "team/ranker"},
		"an earlier namesake": {"b-0", func(*v1alpha1.Batch) {}, ""},
		"suspended":           {"b-1", func(b *v1alpha1.Batch) { b.Spec.Suspend = true }, ""},
		"deleted":             {"b-1", func(b *v1alpha1.Batch) { b.DeletionTimestamp = &now }, ""},
		"finished": {"b-1", func(b *v1alpha1.Batch) {
			b.GetConditionSet().Manage(&b.Status).MarkTrue(v1alpha1.BatchConditionComplete)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "nightly", UID: "b-1"}, Spec: v1alpha1.BatchSpec{Model: "ranker"}}
			tt.change(b)
			known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
			if err := known.Add(b); err != nil {
				t.Fatal(err)
			}
			got, err := modelOf(sluicelisters.NewBatchLister(known))("team", "nightly", tt.uid)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
	none := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	if got, err := modelOf(sluicelisters.NewBatchLister(none))("team", "nightly", "b-1"); err == nil {
		t.Errorf("a batch that isn't there asks %q", got)
	}
}
