package resources

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// sidecarSizes are the annotations by which Knative sizes what it puts beside a model. What
// Sluice puts there goes by them too, since a quota or a LimitRange asks the same of both.
// A percentage of the model's own resources says nothing of it.
var sidecarSizes = []struct {
	name           corev1.ResourceName
	request, limit kmap.KeyPriority
}{
	{corev1.ResourceCPU, serving.QueueSidecarCPUResourceRequestAnnotation, serving.QueueSidecarCPUResourceLimitAnnotation},
	{corev1.ResourceMemory, serving.QueueSidecarMemoryResourceRequestAnnotation, serving.QueueSidecarMemoryResourceLimitAnnotation},
	{corev1.ResourceEphemeralStorage, serving.QueueSidecarEphemeralStorageResourceRequestAnnotation, serving.QueueSidecarEphemeralStorageResourceLimitAnnotation},
}

// unsaid are the resources that every warm-up container had before others could be said.
// These never change: templates that were built then have no pin of them.
func unsaid() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}
}

// WarmUpResources are what the container has that warms a Model's next revision up, for
// WarmUpPins: what the Model's annotations say, else the cluster's. Of a request and a limit
// that contradict each other, the cluster's gives way.
func WarmUpResources(m *v1alpha1.Model, cluster corev1.ResourceRequirements) string {
	out := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, size := range sidecarSizes {
		request, asked := annotated(m, size.request)
		limit, bounded := annotated(m, size.limit)
		if !asked {
			request = cluster.Requests[size.name]
		}
		if !bounded {
			limit = cluster.Limits[size.name]
		}
		if !limit.IsZero() && limit.Cmp(request) < 0 {
			if bounded {
				request = limit
			} else {
				limit = request
			}
		}
		if !request.IsZero() {
			out.Requests[size.name] = request
		}
		if !limit.IsZero() {
			out.Limits[size.name] = limit
		}
	}
	if equality.Semantic.DeepEqual(out, unsaid()) {
		return ""
	}
	text, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("resources are plain data: %v", err))
	}
	return string(text)
}

// annotated is a quantity that a Model says; one that can't be read says nothing, to Knative
// as well.
func annotated(m *v1alpha1.Model, key kmap.KeyPriority) (resource.Quantity, bool) {
	_, text, _ := key.Get(m.Annotations)
	quantity, err := resource.ParseQuantity(text)
	return quantity, err == nil
}

// pinnedResources are those of a pin.
func pinnedResources(pin string) corev1.ResourceRequirements {
	var out corev1.ResourceRequirements
	if pin == "" || json.Unmarshal([]byte(pin), &out) != nil {
		return unsaid()
	}
	return out
}
