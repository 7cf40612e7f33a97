package ingress

import (
	"fmt"
	"sort"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// Pod is a gateway pod that takes traffic.
type Pod struct {
	// Name tells a pod from a later one of the same address.
	Name string
	IP   string
}

// Question is one request of a proof: a host, asked on an entry's port.
type Question struct {
	Port uint32
	Host string
}

// gatewayPods lists the pods behind the EndpointSlices of a gateway that are
// ready, by name.
func gatewayPods(lister discoveryv1listers.EndpointSliceLister, name string) ([]Pod, error) {
	slices, err := lister.EndpointSlices(gateway.Namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: name,
	}))
	if err != nil {
		return nil, fmt.Errorf("listing the endpoints of gateway %s: %w", name, err)
	}
	byName := map[string]Pod{}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready
			if (ready != nil && !*ready) || len(endpoint.Addresses) == 0 || endpoint.TargetRef == nil {
				continue
			}
			byName[endpoint.TargetRef.Name] = Pod{Name: endpoint.TargetRef.Name, IP: endpoint.Addresses[0]}
		}
	}
	pods := make([]Pod, 0, len(byName))
	for _, pod := range byName {
		pods = append(pods, pod)
	}
	sort.Slice(pods, func(i, j int) bool { return pods[i].Name < pods[j].Name })
	return pods, nil
}

// questions lists what each pod is asked to prove an Ingress: every host, on the
// entry of its rule.
func questions(ing *v1alpha1.Ingress) []Question {
	seen := map[Question]bool{}
	var out []Question
	for _, rule := range ing.Spec.Rules {
		port := gateway.External.Port
		if rule.Visibility == v1alpha1.IngressVisibilityClusterLocal {
			port = gateway.Local.Port
		}
		for _, host := range rule.Hosts {
			question := Question{Port: port, Host: host}
			if !seen[question] {
				seen[question] = true
				out = append(out, question)
			}
		}
	}
	return out
}
