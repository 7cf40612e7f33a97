//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

func TestDeployToFirstAnswer(t *testing.T) {
	s := newStage(t)
	start := time.Now()
	s.create(s.ranker("ranker"))
	s.predict(s.serving("ranker"))
	t.Logf("from nothing to the first answer: %.1f s", time.Since(start).Seconds())
	s.reach(s.follow("ranker"), 10*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })
}

// From zero to one by a single request, to several by load, and back: the limit
// follows at every step, and no admitted request is lost.
func TestScalesFromZeroAndBack(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MinReplicas, m.Spec.Autoscaling.InitialReplicas = ptr.Int32(0), ptr.Int32(2)
	}))
	endpoint := s.serving("ranker")
	trail := s.follow("ranker")

	zero := s.reach(trail, restWithin, "zero replicas", atZero)
	// It was made with two replicas; from zero the first request starts one.
	if zero.Limit != 40 {
		t.Errorf("a limit of %g with no replica, want what one at 20/s serves and its headroom", zero.Limit)
	}
	s.predict(endpoint)
	s.reach(trail, 10*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })

	// 40/s at 15/s a replica are three replicas of at most four.
	var missed []platform.Moment
	p := plan(endpoint, load.Schedule{load.Ramp(10, 40, 3*time.Second), load.Hold(40, 12*time.Second)})
	p.EachSecond = func(load.Second) {
		if now, followed := trail.Followed(followWithin); !followed {
			missed = append(missed, now)
		}
	}
	var report *load.Report
	var err error
	var loading sync.WaitGroup
	loading.Go(func() { report, err = p.Run(t.Context()) })
	most := s.reach(trail, 15*time.Second, "several replicas", func(m platform.Moment) bool { return m.Ready() >= 3 })
	if most.Limit <= zero.Limit {
		t.Errorf("limit %g with %d replicas, %g with none", most.Limit, most.Ready(), zero.Limit)
	}
	loading.Wait()
	if err != nil {
		t.Fatal(err)
	}
	s.noneFailed(report)
	if len(missed) > 0 {
		t.Errorf("the limit did not follow within %v at %d samples: %v", followWithin, len(missed), missed)
	}
	last := s.reach(trail, restWithin, "zero replicas", atZero)
	if last.Limit != zero.Limit {
		t.Errorf("limit %g at the end, %g at the start", last.Limit, zero.Limit)
	}
	t.Logf("load: %+v; lags of the limit: %v", report.Total, platform.Lags(trail.Since(report.Start)))
}

// A Model that is warmed up has as many replicas as a plain Knative Service with the
// same annotations: none at first, from zero as many as its activation-scale says, and
// none again. A least number is there without any request. All are warm.
func TestWarmUpScalesAsKnative(t *testing.T) {
	s := newStage(t)
	s.allowInitialZero()
	const activated = 2
	s.create(s.ranker("ranker", warmed, asleep, func(m *v1alpha1.Model) {
		m.Annotations = map[string]string{autoscaling.ActivationScaleKey: strconv.Itoa(activated)}
	}))
	woken := map[string]platform.Endpoint{
		"ranker": s.serving("ranker"),
		"plain": {Address: cluster.address, Host: s.plain("plain", s.container(), nil, func(service *servingv1.Service) {
			service.Spec.Template.Annotations = map[string]string{
				autoscaling.InitialScaleAnnotationKey: "0", autoscaling.ActivationScaleKey: strconv.Itoa(activated),
				autoscaling.WindowAnnotationKey: "6s", autoscaling.MaxScaleAnnotationKey: "4",
				autoscaling.MetricAnnotationKey: autoscaling.RPS, autoscaling.TargetAnnotationKey: "20",
			}
		})},
	}
	for name := range woken {
		if pods := s.pods(name); len(pods) > 0 {
			t.Errorf("%s begins with %v", name, pods)
		}
	}
	for name, endpoint := range woken {
		s.predict(endpoint)
		s.scaledTo(name, activated) // before its window is over, however long the other takes
		if name != "ranker" {
			continue
		}
		m := s.condition(name, v1alpha1.ModelConditionWarm, corev1.ConditionTrue, fmt.Sprintf("%d of %[1]d replicas are warm", activated))
		if len(m.Status.WarmUp.Replicas) != activated {
			t.Errorf("%d replicas were warmed up, want %d", len(m.Status.WarmUp.Replicas), activated)
		}
		s.noneEarly(name)
	}
	for name := range woken {
		s.scaledTo(name, 0)
	}
	s.patch("ranker", `{"spec": {"autoscaling": {"minReplicas": 1}}}`)
	s.scaledTo("ranker", 1)
	s.condition("ranker", v1alpha1.ModelConditionWarm, corev1.ConditionTrue, "1 of 1 replicas are warm")
}

// scaledTo waits until the first revision of a Service has so many replicas, no more
// are wanted, and the others are ending.
func (s *stage) scaledTo(service string, replicas int32) {
	s.Helper()
	took := s.until(restWithin, fmt.Sprintf("%d replicas of %s", replicas, service), func(ctx context.Context) (string, error) {
		pa, err := s.Serving.AutoscalingV1alpha1().PodAutoscalers(s.namespace).Get(ctx, kmeta.ChildName(service, "-00001"), metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if desired, actual := ptr.Int32Value(pa.Status.DesiredScale), ptr.Int32Value(pa.Status.ActualScale); desired != replicas || actual != replicas {
			return fmt.Sprintf("%d wanted, %d there", desired, actual), nil
		}
		return "", nil
	})
	s.Logf("%s had %d replicas after %.1f s", service, replicas, took.Seconds())
}

func atZero(m platform.Moment) bool { return m.Desired() == 0 && m.Ready() == 0 }

// An autoscaler that aims at three times what a replica serves sees no need for another
// one in what is admitted, twice that; the demand at the gateway calls for them. Nothing
// of it is left on the revision when the demand has gone, and no revision is made.
func TestDemandIsNotStarved(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.Target, m.Spec.Autoscaling.TargetUtilization = ptr.Int32(60), ptr.Int32(100)
	}))
	endpoint, trail := s.serving("ranker"), s.follow("ranker")
	s.reach(trail, 10*time.Second, "one replica", func(m platform.Moment) bool { return m.Ready() == 1 })

	end := s.offer(endpoint, 70)
	s.reach(trail, 20*time.Second, "the four replicas that 70/s need at 20/s each", func(m platform.Moment) bool { return m.Ready() == 4 })
	s.noneFailed(end())

	s.until(restWithin, "nothing left of it on the revision", func(ctx context.Context) (string, error) {
		revisions, err := s.Serving.ServingV1().Revisions(s.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		if n := len(revisions.Items); n != 1 {
			return "", fmt.Errorf("%d revisions, want the one", n)
		}
		if least := revisions.Items[0].Annotations[autoscaling.MinScaleAnnotationKey]; least != "1" {
			return "min-scale is " + least, nil
		}
		return "", nil
	})
	s.reach(trail, restWithin, "one replica again", func(m platform.Moment) bool { return m.Ready() == 1 })
}
