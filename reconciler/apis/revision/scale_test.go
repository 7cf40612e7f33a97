package revision

import (
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/kmeta"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	pa "knative.dev/serving/pkg/reconciler/autoscaling/resources"
	sks "knative.dev/serving/pkg/reconciler/serverlessservice/resources"
)

// The replicas of a revision are found, and told whose they are, whatever the length of
// its Service's name, as Knative's own code labels and names what holds them.
func TestEndpointsAreFoundAtEveryLength(t *testing.T) {
	for length := 1; length <= 63; length++ {
		service := strings.Repeat("m", length)
		name := kmeta.ChildName(service, "-00002")
		private, public := slicesOf(name)
		if !Endpoints(name).Matches(labels.Set(private.Labels)) || WithEndpoints(private) != name {
			t.Errorf("%s, of a name of %d: %v is told to be of %q", name, length, private.Labels, WithEndpoints(private))
		}
		if Endpoints(name).Matches(labels.Set(public.Labels)) || WithEndpoints(public) != "" {
			t.Errorf("%s, of a name of %d: its public Service, which may have the activator's, counts", name, length)
		}
		if other := kmeta.ChildName(service, "-00001"); Endpoints(other).Matches(labels.Set(private.Labels)) {
			t.Errorf("%s has the replicas of %s", other, name)
		}
	}
}

// slicesOf are the EndpointSlices of a revision's private and public Service: Kubernetes
// labels a slice as its Service, and with its name.
func slicesOf(name string) (private, public *discoveryv1.EndpointSlice) {
	autoscaler := &autoscalingv1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{
		Namespace: "team", Name: name, Labels: map[string]string{serving.RevisionLabelKey: name},
	}}
	serverless := pa.MakeSKS(autoscaler, v1alpha1.SKSOperationModeServe, 1)
	slice := func(of kmeta.Accessor) *discoveryv1.EndpointSlice {
		set := kmeta.UnionMaps(of.GetLabels(), map[string]string{discoveryv1.LabelServiceName: of.GetName()})
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: of.GetName() + "-x", Labels: set}}
	}
	return slice(sks.MakePrivateService(serverless, nil)), slice(sks.MakePublicService(serverless))
}
