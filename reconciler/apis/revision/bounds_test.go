package revision

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/autoscaler/config"
	kparesources "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
)

// What the first request starts is what Knative's autoscaler makes of it, by the
// revision's own annotations and the cluster's configuration.
func TestFromZero(t *testing.T) {
	const prefix = "autoscaling.knative.dev/"
	for name, test := range map[string]struct {
		cluster, own map[string]string
		// began is true of a revision that was ready once.
		began, unreachable bool
		want, most         int32
	}{
		"as it comes": {began: true, want: 1},
		"the initial scale is for the first start":   {own: map[string]string{"initial-scale": "3"}, want: 3},
		"and for no other":                           {own: map[string]string{"initial-scale": "3"}, began: true, want: 1},
		"nor out of reach":                           {own: map[string]string{"initial-scale": "3"}, unreachable: true, want: 1},
		"the cluster's initial scale":                {cluster: map[string]string{"initial-scale": "4"}, want: 4},
		"none at first":                              {cluster: map[string]string{"allow-zero-initial-scale": "true"}, own: map[string]string{"initial-scale": "0"}, want: 1},
		"none where that isn't allowed":              {cluster: map[string]string{"initial-scale": "2"}, own: map[string]string{"initial-scale": "0"}, want: 2},
		"the activation scale is for each":           {own: map[string]string{"activation-scale": "3"}, began: true, want: 3},
		"within max-scale":                           {own: map[string]string{"activation-scale": "3", "max-scale": "2"}, began: true, want: 2, most: 2},
		"within the cluster's":                       {cluster: map[string]string{"max-scale": "2"}, own: map[string]string{"activation-scale": "3"}, began: true, want: 2, most: 2},
		"the revision's wins over the cluster's":     {cluster: map[string]string{"max-scale": "2"}, own: map[string]string{"max-scale": "9", "activation-scale": "3"}, began: true, want: 3, most: 9},
		"no bound of its own":                        {cluster: map[string]string{"max-scale": "2"}, own: map[string]string{"max-scale": "0"}, began: true, want: 1},
		"never fewer than min-scale":                 {own: map[string]string{"min-scale": "2"}, began: true, want: 2},
		"nor than the cluster's":                     {cluster: map[string]string{"min-scale": "2"}, began: true, want: 2},
		"which doesn't count out of reach":           {cluster: map[string]string{"min-scale": "2"}, began: true, unreachable: true, want: 1},
		"an older spelling":                          {own: map[string]string{"maxScale": "2", "activation-scale": "5"}, began: true, want: 2, most: 2},
		"the initial scale wins over max-scale once": {own: map[string]string{"initial-scale": "3", "max-scale": "2"}, want: 3, most: 2},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, err := config.NewConfigFromMap(test.cluster)
			if err != nil {
				t.Fatal(err)
			}
			pa := &autoscalingv1alpha1.PodAutoscaler{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
			for key, value := range test.own {
				pa.Annotations[prefix+key] = value
			}
			if pa.Status.InitializeConditions(); test.began {
				pa.Status.MarkScaleTargetInitialized()
			}
			if test.unreachable {
				pa.Spec.Reachability = autoscalingv1alpha1.ReachabilityUnreachable
			}
			if got := FromZero(pa, cluster); got != test.want {
				t.Errorf("FromZero() = %d, want %d", got, test.want)
			}
			if got := Max(pa, cluster); got != test.most {
				t.Errorf("Max() = %d, want %d", got, test.most)
			}
			if got, want := Initial(pa, cluster), kparesources.GetInitialScale(cluster, pa); got != want {
				t.Errorf("Initial() = %d, Knative says %d", got, want)
			}
		})
	}
}
