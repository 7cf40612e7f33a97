//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/networking/pkg/apis/networking"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// A Knative Service that is no Model, but names our class, is served like any.
func TestPlainServiceIsServed(t *testing.T) {
	s := newStage(t)
	s.predict(platform.Endpoint{Address: cluster.address, Host: s.plain("plain", s.container(), nil)})
}

// plain makes a Knative Service that names our class, waits until it is Ready and
// returns its host.
func (s *stage) plain(name string, container corev1.Container, labels map[string]string, changes ...func(*servingv1.Service)) string {
	s.Helper()
	service := &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name, Labels: labels,
			Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
		},
		Spec: servingv1.ServiceSpec{ConfigurationSpec: servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplateSpec{
			Spec: servingv1.RevisionSpec{PodSpec: corev1.PodSpec{Containers: []corev1.Container{container}}},
		}}},
	}
	for _, change := range changes {
		change(service)
	}
	if _, err := s.Serving.ServingV1().Services(s.namespace).Create(s.Context(), service, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating the Service:", err)
	}
	var host string
	s.until(readyWithin, "the Service to be Ready", func(ctx context.Context) (string, error) {
		got, err := s.Serving.ServingV1().Services(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !got.IsReady() || got.Status.URL == nil {
			return fmt.Sprintf("%+v", got.Status.GetCondition(servingv1.ServiceConditionReady)), nil
		}
		host = got.Status.URL.Host
		return "", nil
	})
	return host
}

// Half the limit, evenly, is admitted whole, however many gateway pods share the
// limit: a bucket must hold more than the request at hand.
func TestHalfTheLimitIsAdmitted(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("ranker", fixed("40")))
	endpoint := s.serving("ranker")
	s.predict(endpoint)
	total := s.run(plan(endpoint, load.Schedule{load.Hold(20, 5*time.Second)})).Total
	if total.Limited > 2 {
		t.Errorf("%d of %d refused, at half the limit", total.Limited, total.Offered)
	}
}

// Two Models on one gateway: a flood at one is held to its own limit and costs the
// other nothing.
func TestModelsDoNotDisturbEachOther(t *testing.T) {
	s := newStage(t)
	s.create(s.ranker("flooded", fixed("10")))
	s.create(s.ranker("quiet", fixed("50")))
	flooded, quiet := s.serving("flooded"), s.serving("quiet")
	s.predict(flooded)
	s.predict(quiet)

	const lasts = 6 * time.Second
	var reports [2]*load.Report
	var errs [2]error
	var loading sync.WaitGroup
	for i, p := range []load.Plan{plan(flooded, load.Schedule{load.Hold(100, lasts)}), plan(quiet, load.Schedule{load.Hold(20, lasts)})} {
		loading.Go(func() { reports[i], errs[i] = p.Run(t.Context()) })
	}
	loading.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
		s.noneFailed(reports[i])
	}
	// 10/s for 6 s, and what the buckets of the gateway's pods held before; less,
	// where a bucket this small is full before the next request comes along.
	if total := reports[0].Total; total.Admitted < 50 || total.Admitted > 66 {
		t.Errorf("the flooded Model: %+v, want about 60 admitted", total)
	}
	if total := reports[1].Total; total.Limited > 0 {
		t.Errorf("the quiet Model: %+v, want none refused", total)
	}
	t.Logf("flooded %+v\nquiet %+v", reports[0].Total, reports[1].Total)
}
