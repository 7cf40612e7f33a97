package ingress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
)

// Pod is a gateway pod that takes traffic.
type Pod struct {
	// Gateway is what it is a pod of.
	Gateway string
	// Name tells a pod from a later one of the same address.
	Name string
	IP   string
}

// Question is one request of a proof: a host, asked on an entry's port.
type Question struct {
	// Gateway is whose pods are asked.
	Gateway string
	Port    uint32
	Host    string
	// Certificate is the fingerprint of the one that is to be shown; "" on an entry
	// of plain HTTP.
	Certificate string
	// wild is true if that is served for every host of a domain.
	wild bool
}

// gatewayPods lists the pods of a gateway that are ready, by name.
func gatewayPods(lister corev1listers.PodLister, name string) ([]Pod, error) {
	found, err := lister.Pods(gateway.Namespace).List(labels.SelectorFromSet(labels.Set{gateway.LabelKey: name}))
	if err != nil {
		return nil, fmt.Errorf("listing the pods of gateway %s: %w", name, err)
	}
	var pods []Pod
	for _, pod := range found {
		if reach.Ready(pod) {
			pods = append(pods, Pod{Gateway: name, Name: pod.Name, IP: pod.Status.PodIP})
		}
	}
	slices.SortFunc(pods, func(a, b Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods, nil
}

// answers is true for endpoints of which one takes requests.
func answers(of *discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(of.Endpoints, func(e discoveryv1.Endpoint) bool {
		return len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready)
	})
}

// istioGateway returns an Istio Gateway as it is, or as s is about to have it; nil
// where there is none.
func (r *Reconciler) istioGateway(s *copied, qualifiedName string) (*istiov1.Gateway, error) {
	name := strings.TrimPrefix(qualifiedName, gateway.Namespace+"/")
	for _, own := range s.secure {
		if own.Name == name {
			return own, nil
		}
	}
	found, err := r.gateways.Gateways(gateway.Namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting istio gateway %s: %w", name, err)
	}
	return found, nil
}

// questions lists what the pods of an Istio Gateway's gateway are asked about the
// hosts of a VirtualService: each, on the entries where it serves them. Where it
// shows a certificate that isn't there, it returns what is missing instead.
func (r *Reconciler) questions(s *copied, of *istiov1.Gateway, hosts []string) (out []Question, missing string, err error) {
	for _, server := range of.Spec.Servers {
		certificate := ""
		if name := gateway.SecretOf(server.GetTls().GetCredentialName()); name != "" {
			if certificate, err = r.fingerprint(s, name); err != nil {
				return nil, "", err
			}
			if certificate == "" {
				return nil, "the certificate of Secret " + gateway.Namespace + "/" + name, nil
			}
		}
		for _, host := range hosts {
			if exact := slices.Contains(server.Hosts, "./"+host); exact || slices.ContainsFunc(server.Hosts, wildcardOf(host)) {
				out = append(out, Question{
					Gateway: of.Spec.Selector[gateway.LabelKey], Port: server.GetPort().GetNumber(), Host: host,
					Certificate: certificate, wild: !exact,
				})
			}
		}
	}
	return out, "", nil
}

// fingerprint is that of the certificate in a Secret among the gateways, as it is
// or as s has just written it; "" where there is none.
func (r *Reconciler) fingerprint(s *copied, name string) (string, error) {
	if secret, ok := s.copies[name]; ok {
		return tlssecret.FingerprintOf(secret), nil
	}
	secret, err := r.secrets.Secrets(gateway.Namespace).Get(name)
	if apierrs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("getting secret %s: %w", name, err)
	}
	return tlssecret.FingerprintOf(secret), nil
}

// wildcardOf tells whether one of a server's hosts is "./*", or "./*.<domain>" for
// a domain that a host is in.
func wildcardOf(host string) func(pattern string) bool {
	return func(pattern string) bool {
		suffix, wild := strings.CutPrefix(pattern, "./*")
		return wild && strings.HasSuffix(host, suffix)
	}
}

// shown leaves out the questions that nobody can ask: a gateway shows a host's own
// certificate where it has one, rather than that of its domain.
func shown(questions []Question) []Question {
	own := map[Question]bool{}
	for _, q := range questions {
		if !q.wild {
			own[Question{Gateway: q.Gateway, Port: q.Port, Host: q.Host}] = true
		}
	}
	return slices.DeleteFunc(questions, func(q Question) bool {
		return q.wild && own[Question{Gateway: q.Gateway, Port: q.Port, Host: q.Host}]
	})
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
