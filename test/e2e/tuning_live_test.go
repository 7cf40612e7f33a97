//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/ptr"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// liveWithin bounds the time from a change of the Model to its effect; the autoscaler
	// decides every 2 s.
	liveWithin = 3 * time.Second
	// tunedRate is offered to each Model that is tuned.
	tunedRate = 50
	// filled is how long a window of 6 s takes to be full, and a second more.
	filled = 7 * time.Second
	// lull is how long there is hardly a request first, where the average over a minute is
	// to stay below what the last seconds have: by 20 a second for 7 s of tunedRate.
	lull = 12 * time.Second
	// lullRate keeps the endpoints in use meanwhile.
	lullRate = 2
	// graceful is Knative's scale-to-zero-grace-period, and a second more.
	graceful = 31 * time.Second
)

// tuning is a change of a live Model, told by its effect.
type tuning struct {
	// of is Knative's annotation.
	of string
	// from is what the Model is at first.
	from func(*v1alpha1.Model)
	// quiet is true where the demand is to be new.
	quiet bool
	// change is merged into it.
	change string
	// replicas that are asked for, before and after.
	before, after int32
	// effect is looked for instead, where it isn't replicas; "" once it is there.
	effect func(*stage, context.Context) (string, error)
	// rests is waited for before the change, at rest and not under load.
	rests func(*stage)
}

// tunings has a row for each annotation that is live, as the table of the API has it.
func tunings() []tuning {
	scaling := func(change func(*v1alpha1.AutoscalingSpec)) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { change(&m.Spec.Autoscaling) }
	}
	// minute has the demand averaged over a minute, and is of two minds of a rush.
	minute := func(annotations map[string]string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) {
			m.Annotations = annotations
			m.Spec.Autoscaling.Window, m.Spec.Autoscaling.Target = &metav1.Duration{Duration: time.Minute}, ptr.Int32(30)
		}
	}
	const threshold, part = autoscaling.PanicThresholdPercentageAnnotationKey, autoscaling.PanicWindowPercentageAnnotationKey
	annotate := func(key, value string) string {
		return fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, key, value)
	}
	return []tuning{
		{of: autoscaling.MinScaleAnnotationKey, change: `{"spec": {"autoscaling": {"minReplicas": 2}}}`, before: 1, after: 2},
		{
			of:     autoscaling.MaxScaleAnnotationKey,
			from:   scaling(func(a *v1alpha1.AutoscalingSpec) { a.Target, a.MaxReplicas = ptr.Int32(20), ptr.Int32(2) }),
			change: `{"spec": {"autoscaling": {"maxReplicas": 3}}}`, before: 2, after: 3,
		},
		{of: autoscaling.TargetAnnotationKey, change: `{"spec": {"autoscaling": {"target": 20}}}`, before: 1, after: 3},
		{of: autoscaling.TargetUtilizationPercentageKey, change: `{"spec": {"autoscaling": {"targetUtilization": 20}}}`, before: 1, after: 3},
		{
			// A request takes milliseconds, so fifty a second are never twenty at once.
			of:     autoscaling.MetricAnnotationKey,
			from:   scaling(func(a *v1alpha1.AutoscalingSpec) { a.Metric, a.Target = v1alpha1.MetricConcurrency, ptr.Int32(20) }),
			change: `{"spec": {"autoscaling": {"metric": "rps"}}}`, before: 1, after: 3,
		},
		{
			of: autoscaling.WindowAnnotationKey, from: minute(map[string]string{threshold: "1000"}), quiet: true,
			change: `{"spec": {"autoscaling": {"window": "6s"}}}`, before: 1, after: 2,
		},
		{
			of: threshold, from: minute(map[string]string{threshold: "1000"}), quiet: true,
			change: annotate(threshold, "150"), before: 1, after: 2,
		},
		{
			of: part, from: minute(map[string]string{threshold: "150", part: "100"}), quiet: true,
			change: annotate(part, "10"), before: 1, after: 2,
		},
		{
			of:   autoscaling.TargetBurstCapacityKey,
			from: func(*v1alpha1.Model) {}, change: `{"spec": {"autoscaling": {"targetBurstCapacity": -1}}}`, before: 1, after: 1,
			effect: (*stage).pastTheReplicas,
		},
		{
			of:   autoscaling.ActivationScaleKey,
			from: scaling(func(a *v1alpha1.AutoscalingSpec) { a.MinReplicas = ptr.Int32(0) }), change: annotate(autoscaling.ActivationScaleKey, "2"),
			before: 1, after: 2,
		},
		{
			of: autoscaling.ScaleToZeroPodRetentionPeriodKey,
			from: scaling(func(a *v1alpha1.AutoscalingSpec) {
				a.MinReplicas, a.TargetBurstCapacity, a.ScaleToZeroRetention = ptr.Int32(0), ptr.Int32(-1), &metav1.Duration{Duration: 10 * time.Minute}
			}),
			change: `{"spec": {"autoscaling": {"scaleToZeroRetention": "0s"}}}`, before: 1, after: 0,
			rests: (*stage).retained,
		},
	}
}

// Whatever Knative's autoscaler reads at run time takes effect on the revision that runs,
// within 3 s, while 50 requests a second are answered: by another number of replicas, or
// another way to them. No revision is made, no pod goes or starts anew, no request is lost.
//
// It isn't parallel to other tests, whose load would be measured; its rows are, each in its
// own namespace.
func TestTuningIsLive(t *testing.T) {
	rows := tunings()
	for _, key := range v1alpha1.LiveAutoscaling() {
		if !slices.ContainsFunc(rows, func(row tuning) bool { return row.of == key }) {
			t.Errorf("%s is live, and no row shows it", key)
		}
	}
	for _, row := range rows {
		t.Run(row.of[len(v1alpha1.AutoscalingPrefix):], func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.tune(row)
		})
	}
}

func (s *stage) tune(row tuning) {
	s.Helper()
	s.create(s.tunable(row.from))
	endpoint := s.serving("ranker")
	end := s.underLoad(endpoint, row.quiet)
	if row.rests != nil {
		s.untouched(end())
		row.rests(s)
	}
	revisions, pods := s.revisions("ranker"), s.restarts("ranker")
	s.untuned(row)

	changed := time.Now()
	s.patch("ranker", row.change)
	s.until(liveWithin, "the effect of "+row.of, func(ctx context.Context) (string, error) {
		if missing, err := s.asksFor(ctx, row.after); err != nil || missing != "" || row.effect == nil {
			return missing, err
		}
		return row.effect(s, ctx)
	})
	s.Logf("%s took effect after %.2f s", row.of, time.Since(changed).Seconds())
	if row.rests == nil {
		s.untouched(end())
		s.noneAnew(pods)
	}
	if now := s.revisions("ranker"); !slices.Equal(now, revisions) {
		s.Errorf("revisions %v, were %v", now, revisions)
	}
	s.predict(endpoint)
}

// underLoad returns once the window by which the autoscaler decides is full of what is
// offered, or, after a quiet time, what came last is far above its average.
func (s *stage) underLoad(endpoint platform.Endpoint, afterQuiet bool) (end func() *load.Report) {
	s.Helper()
	schedule, loaded := load.Schedule{load.Hold(tunedRate, time.Minute)}, filled
	if afterQuiet {
		schedule, loaded = append(load.Schedule{load.Hold(lullRate, lull)}, schedule...), lull+filled
	}
	p, reached := plan(endpoint, schedule), make(chan struct{})
	p.EachSecond = func(second load.Second) {
		if second.Index+1 == int(loaded.Seconds()) {
			close(reached)
		}
	}
	end = s.begin(p)
	select {
	case <-reached:
	case <-time.After(2 * loaded):
		s.Fatal("the load is not under way")
	}
	return end
}

// untuned checks that what a change is to do isn't there before it.
func (s *stage) untuned(row tuning) {
	s.Helper()
	if missing, err := s.asksFor(s.Context(), row.before); err != nil || missing != "" {
		s.Fatalf("before the change: %s, %v", missing, err)
	}
	if row.effect == nil {
		return
	}
	if missing, err := row.effect(s, s.Context()); err != nil || missing == "" {
		s.Fatalf("before the change, its effect is there, %v", err)
	}
}

// noneAnew checks that pods are there still, and that no container of theirs has started anew.
func (s *stage) noneAnew(before map[string]int32) {
	s.Helper()
	after := s.restarts("ranker")
	for pod, times := range before {
		if now, there := after[pod]; !there || now != times {
			s.Errorf("pod %s had started anew %d times, and has %d times, there: %t", pod, times, now, there)
		}
	}
}

// tunable is a Model of which one replica serves all that is offered, as its limit says, and
// to which requests go past the activator.
func (s *stage) tunable(change func(*v1alpha1.Model)) *v1alpha1.Model {
	return s.ranker("ranker", func(m *v1alpha1.Model) {
		rate := resource.MustParse("200")
		m.Spec.Limit.RequestsPerSecondPerReplica = &rate
		a := &m.Spec.Autoscaling
		a.Target, a.TargetUtilization, a.TargetBurstCapacity = ptr.Int32(100), ptr.Int32(100), ptr.Int32(0)
		if change != nil {
			change(m)
		}
	})
}

// untouched checks that each request of a load was let through and answered.
func (s *stage) untouched(report *load.Report) {
	s.Helper()
	s.noneFailed(report)
	if report.Total.Limited > 0 {
		s.Errorf("%d requests were refused", report.Total.Limited)
	}
}

// asksFor says what is missing until a Model's first revision is made to have so many
// replicas.
func (s *stage) asksFor(ctx context.Context, replicas int32) (string, error) {
	pa, err := s.autoscaler(ctx)
	if err != nil {
		return "", err
	}
	deployment, err := s.Kube.AppsV1().Deployments(s.namespace).Get(ctx, pa.Spec.ScaleTargetRef.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if asked := ptr.Int32Value(deployment.Spec.Replicas); asked != replicas {
		return fmt.Sprintf("%d replicas are asked for, want %d; the autoscaler wants %d", asked, replicas, ptr.Int32Value(pa.Status.DesiredScale)), nil
	}
	return "", nil
}

// autoscaler is that of the ranker's first revision.
func (s *stage) autoscaler(ctx context.Context) (*autoscalingv1alpha1.PodAutoscaler, error) {
	return s.Serving.AutoscalingV1alpha1().PodAutoscalers(s.namespace).Get(ctx, kmeta.ChildName("ranker", "-00001"), metav1.GetOptions{})
}

// pastTheReplicas says what is missing until requests go to the activator and to no replica.
func (s *stage) pastTheReplicas(ctx context.Context) (string, error) {
	pa, err := s.autoscaler(ctx)
	if err != nil {
		return "", err
	}
	routed, err := s.Kube.DiscoveryV1().EndpointSlices(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + pa.Status.ServiceName})
	if err != nil {
		return "", err
	}
	pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=ranker"})
	if err != nil {
		return "", err
	}
	replicas := map[string]bool{}
	for i := range pods.Items {
		replicas[pods.Items[i].Status.PodIP] = true
	}
	others := 0
	for _, slice := range routed.Items {
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				if replicas[address] {
					return "a replica is in the route, at " + address, nil
				}
				others++
			}
		}
	}
	if others == 0 {
		return "nothing is in the route", nil
	}
	return "", nil
}

// retained waits until nothing but the time for which the last replica is kept keeps it.
func (s *stage) retained() {
	s.Helper()
	s.until(restWithin+graceful, "the last replica to be all that is kept", func(ctx context.Context) (string, error) {
		pa, err := s.autoscaler(ctx)
		if err != nil {
			return "", err
		}
		sks, err := s.Networking.NetworkingV1alpha1().ServerlessServices(s.namespace).Get(ctx, pa.Name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !pa.Status.IsInactive() || sks.Status.ProxyFor() < graceful {
			return fmt.Sprintf("inactive: %t; the activator has been in the path for %s", pa.Status.IsInactive(), sks.Status.ProxyFor()), nil
		}
		return s.asksFor(ctx, 1)
	})
}

// restarts are how many times each container of a Model's pods has started anew, by pod.
func (s *stage) restarts(model string) map[string]int32 {
	s.Helper()
	list, err := s.Kube.CoreV1().Pods(s.namespace).List(s.Context(), metav1.ListOptions{LabelSelector: serving.ServiceLabelKey + "=" + model})
	if err != nil {
		s.Fatal("listing pods:", err)
	}
	restarts := map[string]int32{}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		restarts[pod.Name] = 0
		for _, container := range pod.Status.ContainerStatuses {
			restarts[pod.Name] += container.RestartCount
		}
	}
	return restarts
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
