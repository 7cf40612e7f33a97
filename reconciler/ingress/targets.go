package ingress

import (
	"fmt"
	"sort"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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

// entryPorts are the ports on which an Istio Gateway's routes answer.
var entryPorts = map[string]uint32{
	gateway.Namespace + "/" + gateway.Shared:            gateway.External.Port,
	gateway.Namespace + "/" + gateway.Shared + "-local": gateway.Local.Port,
}

// questions lists what each pod is asked to prove a VirtualService: every host,
// on every entry that it is bound to.
func questions(vs *istiov1.VirtualService) []Question {
	var out []Question
	for _, name := range vs.Spec.Gateways {
		for _, host := range vs.Spec.Hosts {
			out = append(out, Question{Port: entryPorts[name], Host: host})
		}
	}
	return out
}

// servicesOf lists the Services that an Ingress sends to, each once.
func servicesOf(ing *v1alpha1.Ingress) []types.NamespacedName {
	seen := map[types.NamespacedName]bool{}
	var out []types.NamespacedName
	for _, rule := range ing.Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			for _, split := range path.Splits {
				name := types.NamespacedName{Namespace: split.ServiceNamespace, Name: split.ServiceName}
				if !seen[name] {
					seen[name] = true
					out = append(out, name)
				}
			}
		}
	}
	return out
}
