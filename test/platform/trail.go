package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"
	autoscalinglisters "knative.dev/serving/pkg/client/listers/autoscaling/v1alpha1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"
	"knative.dev/serving/pkg/reconciler/serverlessservice/resources/names"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceinformers "sluice.dev/sluice/reconciler/client/informers/externalversions"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Moment is what was known of a Model from At until the next moment.
type Moment struct {
	At time.Time
	// Revisions that get traffic, by name.
	Revisions []Replicas
	// Rule by which the limit follows them.
	Rule Rule
	// Limit in force, in requests per second: what the limiter saw enforced on
	// every gateway pod. 0 while there is none.
	Limit float64
}

// Desired is the sum over the revisions.
func (m Moment) Desired() int32 {
	var sum int32
	for _, r := range m.Revisions {
		sum += r.Desired
	}
	return sum
}

// Ready is the sum over the revisions.
func (m Moment) Ready() int32 {
	var sum int32
	for _, r := range m.Revisions {
		sum += r.Ready
	}
	return sum
}

// Expected is the limit that follows from the moment's replicas.
func (m Moment) Expected() float64 { return m.Rule.Limit(m.Revisions) }

// Agrees tells whether the limit in force is the expected one.
func (m Moment) Agrees() bool { return sameRate(m.Limit, m.Expected()) }

// String says it in a few words.
func (m Moment) String() string {
	return fmt.Sprintf("desired %d, ready %d, limit %g", m.Desired(), m.Ready(), m.Limit)
}

func (m Moment) sameAs(other Moment) bool {
	return m.Rule == other.Rule && m.Limit == other.Limit && slices.Equal(m.Revisions, other.Revisions)
}

// Trail records every moment of one Model as its objects change: it watches, so it
// misses no change that the API server tells of, however short.
type Trail struct {
	namespace, model string

	models      sluicelisters.ModelLister
	rateLimits  sluicelisters.RateLimitLister
	services    servinglisters.ServiceLister
	autoscalers autoscalinglisters.PodAutoscalerLister
	endpoints   discoverylisters.EndpointSliceLister

	mu      sync.Mutex
	moments []Moment
}

// Follow begins a trail that grows until ctx ends.
func Follow(ctx context.Context, c *Clients, namespace, model string) (*Trail, error) {
	kube := informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(namespace))
	serving := servinginformers.NewSharedInformerFactoryWithOptions(c.Serving, 0, servinginformers.WithNamespace(namespace))
	sluice := sluiceinformers.NewSharedInformerFactoryWithOptions(c.Sluice, 0, sluiceinformers.WithNamespace(namespace))
	models, limits := sluice.Sluice().V1alpha1().Models(), sluice.Sluice().V1alpha1().RateLimits()
	services, autoscalers := serving.Serving().V1().Services(), serving.Autoscaling().V1alpha1().PodAutoscalers()
	slices := kube.Discovery().V1().EndpointSlices()

	t := &Trail{
		namespace: namespace, model: model,
		models: models.Lister(), rateLimits: limits.Lister(), services: services.Lister(),
		autoscalers: autoscalers.Lister(), endpoints: slices.Lister(),
	}
	var handled []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{
		models.Informer(), limits.Informer(), services.Informer(), autoscalers.Informer(), slices.Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { t.look() },
			UpdateFunc: func(_, _ any) { t.look() },
			DeleteFunc: func(any) { t.look() },
		})
		if err != nil {
			return nil, fmt.Errorf("watching the Model's objects: %w", err)
		}
		handled = append(handled, registration.HasSynced)
	}
	kube.Start(ctx.Done())
	serving.Start(ctx.Done())
	sluice.Start(ctx.Done())
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if !cache.WaitForCacheSync(wait.Done(), handled...) {
		return nil, errors.New("watching the Model's objects: the API server did not list them in time")
	}
	t.begin()
	return t, nil
}

// begin drops the moments in which only some of the caches were filled.
func (t *Trail) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moments = []Moment{t.read()}
}

// look appends a moment if anything changed.
func (t *Trail) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.read()
	if n := len(t.moments); n == 0 || !t.moments[n-1].sameAs(now) {
		t.moments = append(t.moments, now)
	}
}

// read gathers a moment from the caches. What is not there yet counts as nothing.
func (t *Trail) read() Moment {
	now := Moment{At: time.Now()}
	if m, err := t.models.Models(t.namespace).Get(t.model); err == nil {
		now.Rule = RuleOf(m)
	}
	if l, err := t.rateLimits.RateLimits(t.namespace).Get(t.model); err == nil {
		now.Limit = inForce(l)
	}
	service, err := t.services.Services(t.namespace).Get(t.model)
	if err != nil {
		return now
	}
	percent := map[string]int32{}
	for _, target := range service.Status.Traffic {
		if target.Percent != nil {
			percent[target.RevisionName] += int32(*target.Percent)
		}
	}
	for revision, share := range percent {
		if share > 0 {
			now.Revisions = append(now.Revisions, t.replicas(revision, share))
		}
	}
	slices.SortFunc(now.Revisions, func(a, b Replicas) int {
		if a.Revision < b.Revision {
			return -1
		}
		return 1
	})
	return now
}

// replicas reads one revision's PodAutoscaler and the EndpointSlices of its own
// replicas, those of its private Service.
func (t *Trail) replicas(revision string, percent int32) Replicas {
	r := Replicas{Revision: revision, Percent: percent, Initial: 1}
	own := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: names.PrivateService(revision)})
	if endpoints, err := t.endpoints.EndpointSlices(t.namespace).List(own); err == nil {
		r.Ready = readyEndpoints(endpoints)
	}
	r.Desired = r.Ready
	pa, err := t.autoscalers.PodAutoscalers(t.namespace).Get(revision)
	if err != nil {
		return r
	}
	// Negative is Knative's "not decided yet".
	if desired := pa.Status.DesiredScale; desired != nil && *desired >= 0 {
		r.Desired = *desired
	}
	r.Max = annotated(pa, autoscaling.MaxScaleAnnotation, 0)
	r.Initial = fromZero(pa, r.Max)
	return r
}

// fromZero is how many replicas the first request starts. A revision's initial scale is
// for its own first start, which it counts as done from then on.
func fromZero(pa *autoscalingv1alpha1.PodAutoscaler, most int32) int32 {
	n := annotated(pa, autoscaling.ActivationScale, 1)
	if most > 0 {
		n = min(n, most)
	}
	least := annotated(pa, autoscaling.MinScaleAnnotation, 0)
	if !pa.Status.IsScaleTargetInitialized() {
		least = max(least, annotated(pa, autoscaling.InitialScaleAnnotation, 1))
	}
	return max(1, n, least)
}

// readyEndpoints counts pods, since a pod of two address families is in two slices.
func readyEndpoints(endpoints []*discoveryv1.EndpointSlice) int32 {
	pods := map[string]bool{}
	for _, slice := range endpoints {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			if e.TargetRef != nil {
				pods[e.TargetRef.Name] = true
			} else if len(e.Addresses) > 0 {
				pods[e.Addresses[0]] = true
			}
		}
	}
	return int32(len(pods))
}

func annotated(pa *autoscalingv1alpha1.PodAutoscaler, key kmap.KeyPriority, unset int32) int32 {
	if n, err := strconv.ParseInt(key.Value(pa.Annotations), 10, 32); err == nil {
		return int32(n)
	}
	return unset
}

// inForce is a limit that was seen on every gateway pod, or 0.
func inForce(l *v1alpha1.RateLimit) float64 {
	s := l.Status.Limit
	if s == nil || s.GatewayPods == 0 || s.ProvedGatewayPods < s.GatewayPods {
		return 0
	}
	return s.RequestsPerSecond.AsApproximateFloat64()
}

// Now is the latest moment.
func (t *Trail) Now() Moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.moments[len(t.moments)-1]
}

// Since returns the moments that were in force at a time or later, in order.
func (t *Trail) Since(at time.Time) []Moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := 0
	for i, m := range t.moments {
		if !m.At.After(at) {
			first = i
		}
	}
	return slices.Clone(t.moments[first:])
}

// Followed tells whether the limit in force now is the one that the formula gives
// for the replicas of some moment within the last given time, and returns the
// latest moment.
func (t *Trail) Followed(within time.Duration) (Moment, bool) {
	recent := t.Since(time.Now().Add(-within))
	now := recent[len(recent)-1]
	return now, slices.ContainsFunc(recent, func(m Moment) bool { return sameRate(now.Limit, m.Expected()) })
}

// Lags returns how long the limit took to follow each change of replicas that
// called for another one and was not overtaken by the next, among the given
// moments.
func Lags(moments []Moment) []time.Duration {
	var lags []time.Duration
	var since time.Time
	for i, m := range moments {
		if i > 0 && !sameRate(m.Expected(), moments[i-1].Expected()) {
			since = m.At
		}
		if !since.IsZero() && m.Agrees() {
			lags = append(lags, m.At.Sub(since))
			since = time.Time{}
		}
	}
	return lags
}
