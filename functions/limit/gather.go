package limit

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiolisters "istio.io/client-go/pkg/listers/networking/v1alpha3"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/metadata/metadatalister"
	"k8s.io/client-go/tools/cache"
	"knative.dev/serving/pkg/autoscaler/config/autoscalerconfig"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"

	"sluice.dev/sluice/functions/limit/capacity"
	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/gateway/reach"
	"sluice.dev/sluice/reconciler/apis/revision"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Caches are the local copies of the cluster that a pass reads.
type Caches struct {
	RateLimits     listers.RateLimitLister
	Autoscalers    autoscalinglisters.PodAutoscalerLister
	EndpointSlices discoverylisters.EndpointSliceLister
	// Serving are the ConfigMaps of Knative Serving that say how revisions scale.
	Serving corelisters.ConfigMapNamespaceLister
	// Pods and Deployments are those of Models, by revision, without what nobody here
	// asks of them.
	Pods, Deployments cache.Indexer
	GatewayPods       corelisters.PodNamespaceLister
	// Slots are the metadata of the EnvoyFilters that are labelled as slots, and
	// EnvoyFilters the others: of every namespace, since some reach gateways from
	// elsewhere.
	Slots        metadatalister.Lister
	EnvoyFilters istiolisters.EnvoyFilterLister
	// VirtualServices are what limits are for, IstioGateways where they are served.
	VirtualServices istiov1listers.VirtualServiceNamespaceLister
	IstioGateways   istiov1listers.GatewayNamespaceLister
}

// Pod is a ready pod of a gateway.
type Pod struct {
	Gateway, Name, IP string
	// Slots is how many each of its entries has.
	Slots int
}

// state is the cluster as one pass sees it.
type state struct {
	limits []*v1alpha1.RateLimit
	// replicas by RateLimit, in the order of its traffic.
	replicas map[string][]capacity.Replicas
	// starts of the revisions that have fewer replicas than they are to have.
	starts map[revisionKey]capacity.Starts
	// pods by gateway, sorted by name.
	pods map[string][]Pod
	// counts of slots that pods of each gateway have, or are to have: more than one
	// while pods of another number take over.
	counts map[string]sets.Set[int]
	// claimed is what limits claim of slots, in bytes, by the slots' object names.
	claimed map[string]int
	// slots by object name.
	slots map[string]*metav1.PartialObjectMetadata
	// batches are the RateLimits on which batch runs, idle those of them that it holds no
	// replica for.
	batches, idle sets.Set[string]
	// strangers are the other EnvoyFilters that have a slot's extension or label, by name.
	strangers []*metav1.PartialObjectMetadata
	routing   *routing
}

// key names a RateLimit within this package.
func key(l *v1alpha1.RateLimit) string { return l.Namespace + "/" + l.Name }

func (c Caches) gather() (*state, error) {
	limits, err := c.RateLimits.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing rate limits: %w", err)
	}
	limits = slices.DeleteFunc(slices.Clone(limits), func(l *v1alpha1.RateLimit) bool { return l.DeletionTimestamp != nil })
	slices.SortFunc(limits, func(a, b *v1alpha1.RateLimit) int { return strings.Compare(key(a), key(b)) })

	s := &state{
		limits:   limits,
		replicas: make(map[string][]capacity.Replicas, len(limits)),
		starts:   map[revisionKey]capacity.Starts{},
		pods:     map[string][]Pod{},
		counts:   map[string]sets.Set[int]{},
		slots:    map[string]*metav1.PartialObjectMetadata{},
	}
	in, err := c.scales()
	if err != nil {
		return nil, err
	}
	for _, l := range limits {
		for _, t := range l.Spec.Traffic {
			r, err := c.revision(l.Namespace, t, in)
			if err != nil {
				return nil, err
			}
			s.replicas[key(l)] = append(s.replicas[key(l)], r)
			if r.Ready >= r.Desired {
				continue
			}
			if s.starts[revisionKey{limit: key(l), revision: r.Revision}], err = c.starts(l.Namespace, r.Revision); err != nil {
				return nil, err
			}
		}
	}
	filters, err := c.EnvoyFilters.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing envoy filters: %w", err)
	}
	labelled, err := c.Slots.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing slots: %w", err)
	}
	s.sortOut(labelled, filters)
	if err := errors.Join(c.gatewayPods(s), c.routes(s)); err != nil {
		return nil, err
	}
	return s, nil
}

// count notes that a gateway needs slots in that number, unless it is 0.
func (s *state) count(name string, slots int) {
	if slots == 0 {
		return
	}
	if s.counts[name] == nil {
		s.counts[name] = sets.New[int]()
	}
	s.counts[name].Insert(slots)
}

// gatewayPods fills in every gateway's ready pods. Those that aren't ready have slots,
// too.
func (c Caches) gatewayPods(s *state) error {
	pods, err := c.GatewayPods.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing gateway pods: %w", err)
	}
	for _, p := range pods {
		name, slots := p.Labels[gateway.LabelKey], gateway.SlotsOf(p.Labels)
		s.count(name, slots)
		if name != "" && reach.Ready(p) {
			s.pods[name] = append(s.pods[name], Pod{Gateway: name, Name: p.Name, IP: p.Status.PodIP, Slots: slots})
		}
	}
	for _, of := range s.pods {
		slices.SortFunc(of, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
	}
	return nil
}

// routes fills in what is served where.
func (c Caches) routes(s *state) error {
	gateways, err := c.IstioGateways.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing Istio gateways: %w", err)
	}
	services, err := c.VirtualServices.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("listing virtual services: %w", err)
	}
	s.routing = newRouting(gateways, services)
	return nil
}

// scales is what the scale of each revision is read by.
type scales struct {
	endpoints map[types.NamespacedName][]*discoveryv1.EndpointSlice
	// cluster is what Knative's autoscaler goes by where a revision says nothing.
	cluster *autoscalerconfig.Config
}

func (c Caches) scales() (scales, error) {
	endpoints, err := c.endpoints()
	return scales{endpoints: endpoints, cluster: config.Autoscaler(c.Serving.Get)}, err
}

// endpoints are the EndpointSlices of each revision: to look for each one's among all
// would take a time that grows with their square.
func (c Caches) endpoints() (map[types.NamespacedName][]*discoveryv1.EndpointSlice, error) {
	all, err := c.EndpointSlices.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing endpoints: %w", err)
	}
	of := make(map[types.NamespacedName][]*discoveryv1.EndpointSlice, len(all))
	for _, s := range all {
		name := types.NamespacedName{Namespace: s.Namespace, Name: revision.WithEndpoints(s)}
		of[name] = append(of[name], s)
	}
	return of, nil
}

// revision reads one revision's scale. An autoscaler that is not there yet wants
// what is ready.
func (c Caches) revision(namespace string, t v1alpha1.RevisionTraffic, in scales) (capacity.Replicas, error) {
	r := capacity.Replicas{Revision: t.Revision, Percent: t.Percent, Initial: 1}
	r.Ready = revision.Ready(in.endpoints[types.NamespacedName{Namespace: namespace, Name: t.Revision}])
	r.Desired = r.Ready
	pa, err := c.Autoscalers.PodAutoscalers(namespace).Get(t.Revision)
	if apierrs.IsNotFound(err) {
		return r, nil
	} else if err != nil {
		return r, fmt.Errorf("getting the autoscaler of %s/%s: %w", namespace, t.Revision, err)
	}
	r.Protocol = pa.Spec.ProtocolType
	r.Desired, r.Max, r.Initial = revision.Desired(pa, r.Ready), revision.Max(pa, in.cluster), revision.FromZero(pa, in.cluster)
	return r, nil
}

// ruleOf is the rule of a RateLimit's spec, the rest of which is checked too.
func ruleOf(spec v1alpha1.RateLimitSpec) (capacity.Rule, error) {
	q, ok := capacity.Rational(spec.RequestsPerSecondPerReplica)
	if !ok {
		return capacity.Rule{}, fmt.Errorf("spec.requestsPerSecondPerReplica is %s, want more than 0", spec.RequestsPerSecondPerReplica.String())
	}
	if spec.Burst.Duration <= 0 {
		return capacity.Rule{}, fmt.Errorf("spec.burst is %s, want more than 0s", spec.Burst.Duration)
	}
	if len(spec.Gateways) == 0 || spec.VirtualService == "" {
		return capacity.Rule{}, fmt.Errorf("spec.gateways is %q and spec.virtualService %q, want both", spec.Gateways, spec.VirtualService)
	}
	return capacity.Rule{PerReplica: q, Policy: spec.Policy, Headroom: big.NewRat(int64(spec.HeadroomPercent), 100)}, nil
}

// capOf is the rate of a RateLimit's cap, nil if it has none.
func capOf(spec v1alpha1.RateLimitSpec) (*big.Rat, error) {
	if spec.Cap == nil {
		return nil, nil
	}
	most, ok := capacity.Rational(spec.Cap.RequestsPerSecond)
	if !ok {
		return nil, fmt.Errorf("spec.cap.requestsPerSecond is %s, want more than 0", spec.Cap.RequestsPerSecond.String())
	}
	return most, nil
}
