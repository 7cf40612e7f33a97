package main

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/batch/lease"
	"sluice.dev/sluice/reconciler/apis/sluice"
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

// Replicas are for what is to go on, by what its spec and its status say.
func TestRunsOf(t *testing.T) {
	start, now := metav1.NewTime(time.Unix(2_000_000_000, 0)), metav1.Now()
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for name, change := range map[string]func(*v1alpha1.Batch){
		"works": func(b *v1alpha1.Batch) {
			b.Status.MarkPlanned(1000, 4)
			b.Status.Succeeded, b.Status.Failed = ptr.Int64(90), ptr.Int64(10)
			b.Spec.Deadline, b.Spec.MaxReplicas = &metav1.Duration{Duration: time.Hour}, ptr.Int32(3)
			b.Spec.Format.Type, b.Spec.Format.Rows = v1alpha1.FormatRows, ptr.Int32(64)
		},
		"waits":     func(b *v1alpha1.Batch) { b.Status.StartTime = nil },
		"suspended": func(b *v1alpha1.Batch) { b.Spec.Suspend = true },
		"deleted":   func(b *v1alpha1.Batch) { b.DeletionTimestamp = &now },
		"over":      func(b *v1alpha1.Batch) { b.Status.MarkCompleted(now.Time) },
	} {
		b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name)}, Spec: v1alpha1.BatchSpec{Model: "ranker"}}
		b.Status.StartTime = &start
		change(b)
		if err := known.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	var starves time.Time
	if b, err := sluicelisters.NewBatchLister(known).Batches("team").Get("works"); err == nil {
		b.Status.MarkNoSlack()
		starves = b.Status.GetCondition(v1alpha1.BatchConditionRunning).LastTransitionTime.Inner.Time
	}
	want := []lease.Run{{UID: "works", Starves: starves, Model: "team/ranker", Items: 1000, Done: 100, PerRequest: 64, End: start.Add(time.Hour), MaxReplicas: 3}}
	if starves.IsZero() {
		t.Error("nobody knows since when a run has no credit")
	}
	if got, err := runsOf(sluicelisters.NewBatchLister(known))(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// A run is known to be planned unless something holds it.
func TestPlannedRun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*v1alpha1.BatchStatus)
		want   bool
	}{
		"not counted yet":              {(*v1alpha1.BatchStatus).MarkPlanning, false},
		"its workers are on their way": {func(s *v1alpha1.BatchStatus) { s.MarkPlanned(10, 1); s.MarkStarting() }, true},
		"its Model is missing":         {func(s *v1alpha1.BatchStatus) { s.MarkPlanned(10, 1); s.MarkHeld("ModelMissing", "gone") }, false},
	} {
		b := &v1alpha1.Batch{}
		c.change(&b.Status)
		if got := runOf(b).Planned; got.IsZero() == c.want {
			t.Errorf("%s: planned at %s", name, got)
		}
	}
}

// The Batches that events start are those of a label and its namespace, once they are known.
func TestStartedBy(t *testing.T) {
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, of := range [][3]string{{"team", "a", "nightly"}, {"team", "b", "hourly"}, {"team", "c", ""}, {"rival", "a", "nightly"}} {
		b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: of[0], Name: of[1], Labels: map[string]string{sluice.TriggerLabelKey: of[2]}}}
		if err := known.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	synced := false
	started := startedBy(sluicelisters.NewBatchLister(known), func() bool { return synced })
	if got, err := started("team", sluice.TriggerLabelKey, "nightly"); err == nil {
		t.Errorf("before the cache is filled: %v", got)
	}
	synced = true
	if got, err := started("team", sluice.TriggerLabelKey, "nightly"); err != nil || len(got) != 1 || got[0].Namespace != "team" || got[0].Name != "a" {
		t.Errorf("%v, %v", got, err)
	}
}
