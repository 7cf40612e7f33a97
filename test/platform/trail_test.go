package platform

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"knative.dev/pkg/ptr"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

var named = metav1.ObjectMeta{Namespace: "demo", Name: "ranker"}

func autoscaler(desired int32) *autoscalingv1alpha1.PodAutoscaler {
	return &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "ranker-00001", Annotations: map[string]string{"autoscaling.knative.dev/max-scale": "4"}},
		Status:     autoscalingv1alpha1.PodAutoscalerStatus{DesiredScale: &desired},
	}
}

// endpoints has a pod ready, one not, and one of another Service.
func endpoints() []*discoveryv1.EndpointSlice {
	pod := func(name string, ready bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{
			Addresses:  []string{"10.244.0.1"},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef:  &corev1.ObjectReference{Name: name},
		}
	}
	slice := func(name, service string, of ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			Endpoints:  of,
		}
	}
	return []*discoveryv1.EndpointSlice{
		slice("own", "ranker-00001-private", pod("a", true), pod("b", false)),
		slice("own-ipv6", "ranker-00001-private", pod("a", true)),
		slice("public", "ranker-00001", pod("activator", true)),
	}
}

func rateLimit(rate string, pods, proved int32) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{ObjectMeta: named, Status: v1alpha1.RateLimitStatus{Limit: &v1alpha1.LimitStatus{
		RequestsPerSecond: v1alpha1.Rate{Quantity: resource.MustParse(rate)}, GatewayPods: pods, ProvedGatewayPods: proved,
	}}}
}

func TestTrailFollowsAModel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	q, headroom := resource.MustParse("40"), int32(100)
	model := &v1alpha1.Model{ObjectMeta: named, Spec: v1alpha1.ModelSpec{Limit: v1alpha1.LimitSpec{
		RequestsPerSecondPerReplica: &q, Policy: v1alpha1.PolicyDemand, HeadroomPercent: &headroom,
	}}}
	service := &servingv1.Service{ObjectMeta: named, Status: servingv1.ServiceStatus{RouteStatusFields: servingv1.RouteStatusFields{
		Traffic: []servingv1.TrafficTarget{{RevisionName: "ranker-00001", Percent: ptr.Int64(100)}, {RevisionName: "ranker-00000", Tag: "old"}},
	}}}
	clients := &Clients{
		Kube:    kubefake.NewClientset(),
		Serving: servingfake.NewSimpleClientset(service, autoscaler(1)),
		Sluice:  sluicefake.NewSimpleClientset(model, rateLimit("80", 2, 2)),
	}
	for _, s := range endpoints() {
		if _, err := clients.Kube.DiscoveryV1().EndpointSlices("demo").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	trail, err := Follow(ctx, clients, "demo", "ranker")
	if err != nil {
		t.Fatal(err)
	}
	want := Moment{
		Revisions: []Replicas{{Revision: "ranker-00001", Percent: 100, Desired: 1, Ready: 1, Initial: 1, Max: 4}},
		Rule:      Rule{PerReplica: 40, Policy: v1alpha1.PolicyDemand, Headroom: 1},
		Limit:     80,
	}
	if got := trail.Now(); !got.sameAs(want) || !got.Agrees() {
		t.Fatalf("first moment %+v, want %+v", got, want)
	}

	before := time.Now()
	if _, err := clients.Serving.AutoscalingV1alpha1().PodAutoscalers("demo").Update(ctx, autoscaler(3), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "desired 3", func() bool { return trail.Now().Desired() == 3 })
	if now, followed := trail.Followed(time.Minute); !followed || now.Agrees() {
		t.Errorf("a limit that was right a moment ago: followed %v, agrees %v, want true, false", followed, now.Agrees())
	}
	if _, followed := trail.Followed(0); followed {
		t.Error("followed within no time, want not")
	}
	if _, err := clients.Sluice.SluiceV1alpha1().RateLimits("demo").Update(ctx, rateLimit("240", 2, 1), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "a limit that isn't proved", func() bool { return trail.Now().Limit == 0 })
	if _, err := clients.Sluice.SluiceV1alpha1().RateLimits("demo").Update(ctx, rateLimit("240", 2, 2), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "limit 240", func() bool { return trail.Now().Agrees() })
	moments := trail.Since(before)
	if n := len(moments); n != 4 || moments[0].Desired() != 1 {
		t.Errorf("%d moments %v, want 4", n, moments)
	}
	if lags := Lags(moments); len(lags) != 1 || lags[0] <= 0 {
		t.Errorf("lags %v, want one", lags)
	}
}

func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	if err := Until(t.Context(), 5*time.Second, what, func(context.Context) (string, error) {
		if met() {
			return "", nil
		}
		return "not yet", nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestLags(t *testing.T) {
	start := time.Unix(0, 0)
	moment := func(at time.Duration, desired int32, limit float64) Moment {
		return Moment{
			At: start.Add(at), Limit: limit, Rule: Rule{PerReplica: 10, Policy: v1alpha1.PolicyReady},
			Revisions: []Replicas{{Percent: 100, Desired: desired, Ready: desired}},
		}
	}
	got := Lags([]Moment{
		moment(0, 1, 10),
		moment(1*time.Second, 2, 10), // overtaken
		moment(2*time.Second, 3, 10),
		moment(2500*time.Millisecond, 3, 20), // late
		moment(3*time.Second, 3, 30),
		moment(5*time.Second, 1, 30),
		moment(5200*time.Millisecond, 1, 10),
		moment(6*time.Second, 1, 10),
	})
	if want := []time.Duration{time.Second, 200 * time.Millisecond}; !slices.Equal(got, want) {
		t.Errorf("lags %v, want %v", got, want)
	}
}
