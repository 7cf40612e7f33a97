package ingress

import (
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// hostIndex is the index of Ingresses of our class by the hosts that they name.
const hostIndex = "sluice.dev/host"

// claims tells which Ingress holds a host: the first that named it. istiod would
// merge the routes of two VirtualServices of one host, so the second gets none.
type claims struct {
	indexer cache.Indexer
}

// newClaims adds the index of hosts to an Ingress informer's indexer.
func newClaims(indexer cache.Indexer) (*claims, error) {
	if err := indexer.AddIndexers(cache.Indexers{hostIndex: indexHosts}); err != nil {
		return nil, fmt.Errorf("indexing ingresses by host: %w", err)
	}
	return &claims{indexer: indexer}, nil
}

func indexHosts(object any) ([]string, error) {
	ing, ok := object.(*v1alpha1.Ingress)
	if !ok || !ours(ing) {
		return nil, nil
	}
	return hostsOf(ing), nil
}

// hostsOf returns the hosts of an Ingress, sorted, each once.
func hostsOf(ing *v1alpha1.Ingress) []string {
	hosts := sets.New[string]()
	for _, rule := range ing.Spec.Rules {
		hosts.Insert(rule.Hosts...)
	}
	return sets.List(hosts)
}

// check returns an error that names the first host that ing can't have: one that
// isn't a host, is reserved, or is held by another Ingress. The holder is named
// only within its own namespace.
func (c *claims) check(ing *v1alpha1.Ingress) error {
	for i, rule := range ing.Spec.Rules {
		if len(rule.Hosts) == 0 {
			return fmt.Errorf("spec.rules[%d].hosts is empty: a rule for every host would serve those of others", i)
		}
	}
	for _, host := range hostsOf(ing) {
		if err := checkHost(host); err != nil {
			return err
		}
		contenders, err := c.contenders(host)
		if err != nil {
			return err
		}
		switch holder := holderOf(contenders); {
		case holder == nil || keyOf(holder) == keyOf(ing):
		case holder.Namespace == ing.Namespace:
			return fmt.Errorf("host %q is held by Ingress %s of this namespace", host, holder.Name)
		default:
			return fmt.Errorf("host %q is held by an Ingress of another namespace", host)
		}
	}
	return nil
}

func checkHost(host string) error {
	if problems := validation.IsDNS1123Subdomain(host); len(problems) > 0 {
		return fmt.Errorf("host %q is not a host name: %s", host, strings.Join(problems, "; "))
	}
	if !strings.Contains(host, ".") {
		return fmt.Errorf("host %q has no domain: istiod would take it for a Service of the gateways' namespace", host)
	}
	if strings.HasSuffix(host, strings.TrimPrefix(gateway.ProbeHost(""), "limits.")) {
		return fmt.Errorf("host %q is reserved for the gateways' own probes", host)
	}
	return nil
}

// sharing returns the other Ingresses that name one of ing's hosts.
func (c *claims) sharing(ing *v1alpha1.Ingress) ([]types.NamespacedName, error) {
	others := sets.New[types.NamespacedName]()
	for _, host := range hostsOf(ing) {
		contenders, err := c.contenders(host)
		if err != nil {
			return nil, err
		}
		for _, contender := range contenders {
			others.Insert(keyOf(contender))
		}
	}
	others.Delete(keyOf(ing))
	return others.UnsortedList(), nil
}

func (c *claims) contenders(host string) ([]*v1alpha1.Ingress, error) {
	objects, err := c.indexer.ByIndex(hostIndex, host)
	if err != nil {
		return nil, fmt.Errorf("finding the ingresses of host %q: %w", host, err)
	}
	contenders := make([]*v1alpha1.Ingress, 0, len(objects))
	for _, object := range objects {
		if ing, ok := object.(*v1alpha1.Ingress); ok {
			contenders = append(contenders, ing)
		}
	}
	return contenders, nil
}

// holderOf returns the first come. Creation times are whole seconds: of those of
// one second the one that is served already keeps the host, then names decide.
func holderOf(contenders []*v1alpha1.Ingress) *v1alpha1.Ingress {
	if len(contenders) == 0 {
		return nil
	}
	sorted := append([]*v1alpha1.Ingress(nil), contenders...)
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
			return a.CreationTimestamp.Before(&b.CreationTimestamp)
		}
		if a, b := configured(a), configured(b); a != b {
			return a
		}
		return keyOf(a).String() < keyOf(b).String()
	})
	return sorted[0]
}

func configured(ing *v1alpha1.Ingress) bool {
	return ing.Status.GetCondition(v1alpha1.IngressConditionNetworkConfigured).IsTrue()
}

func keyOf(ing *v1alpha1.Ingress) types.NamespacedName {
	return types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}
}
