//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/tuning"
)

// Whatever Knative's autoscaler reads at run time takes effect on the revision that runs, while
// 50 requests a second are answered: by another number of replicas, or another way to them. How
// soon is what make bench-tuning measures. No revision is made, no pod goes or starts anew, no
// request is lost.
//
// It isn't parallel to other tests, whose load would be measured; its rows are, each in its
// own namespace.
func TestTuningIsLive(t *testing.T) {
	// Two at a time, as each has a load of its own.
	turns := make(chan struct{}, 2)
	for _, row := range tuning.Rows() {
		t.Run(row.Name(), func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			s := newStage(t)
			s.tune(row)
		})
	}
}

func (s *stage) tune(row tuning.Row) {
	s.Helper()
	s.create(s.ranker("ranker", row.Begin))
	endpoint, place := s.serving("ranker"), s.place("ranker")
	end := s.underLoad(endpoint, row)
	if row.Rests {
		s.untouched(end())
		s.until(restWithin+tuning.RetainedWithin, "the last replica to be all that is kept", place.Retained)
	}
	before := s.standing(place)
	if err := row.Before(s.Context(), place); err != nil {
		s.Fatal(err)
	}

	changed := time.Now()
	s.patch("ranker", row.Change)
	s.until(tuning.Seen, "the effect of "+row.Of, func(ctx context.Context) (string, error) { return row.Missing(ctx, place) })
	s.Logf("%s took effect after %.2f s", row.Of, time.Since(changed).Seconds())
	now := s.standing(place)
	if !row.Rests {
		s.untouched(end())
		if gone := before.Gone(now); len(gone) > 0 {
			s.Errorf("of pods %v, %v have gone or started anew", before.Restarts, gone)
		}
	}
	if !slices.Equal(now.Revisions, before.Revisions) {
		s.Errorf("revisions %v, were %v", now.Revisions, before.Revisions)
	}
	s.predict(endpoint)
}

// place is where a Model is tuned.
func (s *stage) place(model string) tuning.Place {
	return tuning.Place{Clients: s.Clients, Namespace: s.namespace, Model: model}
}

func (s *stage) standing(of tuning.Place) tuning.Standing {
	s.Helper()
	standing, err := of.Standing(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return standing
}

// underLoad returns once what a row's change needs before it has been offered.
func (s *stage) underLoad(endpoint platform.Endpoint, row tuning.Row) (end func() *load.Report) {
	s.Helper()
	schedule, due := row.Load()
	p, reached := plan(endpoint, schedule), make(chan struct{})
	p.EachSecond = func(second load.Second) {
		if second.Index+1 == int(due.Seconds()) {
			close(reached)
		}
	}
	end = s.begin(p)
	select {
	case <-reached:
	case <-time.After(2 * due):
		s.Fatal("the load is not under way")
	}
	return end
}

// untouched checks that each request of a load was let through and answered.
func (s *stage) untouched(report *load.Report) {
	s.Helper()
	s.noneFailed(report)
	if report.Total.Limited > 0 {
		s.Errorf("%d requests were refused", report.Total.Limited)
	}
}

// What Knative settles when a revision is made stays what that was made with: the Model says
// what awaits the next revision, and no more once it is there.
func TestTuningThatAwaitsRevision(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker"))
	s.serving("ranker")
	const algorithm = autoscaling.MetricAggregationAlgorithmKey
	s.patch("ranker", fmt.Sprintf(`{"metadata": {"annotations": {%q: "weighted-exponential"}}, "spec": {"autoscaling": {"scaleDownDelay": "30s", "window": "8s"}}}`, algorithm))
	s.awaits("ranker", "metadata.annotations["+algorithm+"]", "spec.autoscaling.scaleDownDelay")
	made := s.annotationsOf(kmeta.ChildName("ranker", "-00001"))
	if made[algorithm] != "" || made[autoscaling.ScaleDownDelayAnnotationKey] != "" || made[autoscaling.WindowAnnotationKey] != "8s" {
		t.Errorf("the revision says %v, want no more than the window of what was changed", made)
	}

	s.patch("ranker", `{"metadata": {"annotations": {"example.com/release": "2"}}}`)
	s.awaits("ranker")
	s.serving("ranker")
	made = s.annotationsOf(kmeta.ChildName("ranker", "-00002"))
	if made[algorithm] != "weighted-exponential" || made[autoscaling.ScaleDownDelayAnnotationKey] != "30s" {
		t.Errorf("the next revision says %v", made)
	}
}

// awaits waits until a Model says that these fields await its next revision, and no others.
func (s *stage) awaits(model string, fields ...string) {
	s.Helper()
	s.until(saidWithin, fmt.Sprintf("Model %s to say that %q await its next revision", model, fields), func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil || slices.Equal(m.Status.NextRevision, fields) {
			return "", err
		}
		return fmt.Sprintf("it says %q", m.Status.NextRevision), nil
	})
}

func (s *stage) annotationsOf(revision string) map[string]string {
	s.Helper()
	r, err := s.Serving.ServingV1().Revisions(s.namespace).Get(s.Context(), revision, metav1.GetOptions{})
	if err != nil {
		s.Fatal("getting a revision:", err)
	}
	return maps.Clone(r.Annotations)
}
