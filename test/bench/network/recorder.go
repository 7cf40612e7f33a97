package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	networkingv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkinginformers "knative.dev/networking/pkg/client/informers/externalversions"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servinginformers "knative.dev/serving/pkg/client/informers/externalversions"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluiceinformers "sluice.dev/sluice/reconciler/client/informers/externalversions"
	"sluice.dev/sluice/test/platform"
)

// milestone is a step on the way to the first answer.
type milestone string

const (
	serviceCreated  milestone = "Knative Service created"
	revisionCreated milestone = "Revision created"
	podCreated      milestone = "pod created"
	podReady        milestone = "pod ready"
	revisionReady   milestone = "Revision ready"
	ingressCreated  milestone = "Ingress created"
	routeWritten    milestone = "VirtualService written"
	routeProved     milestone = "route proved, Ingress ready"
	modelReady      milestone = "limit proved, Model Ready"
	firstAnswered   milestone = "first 200"
	serviceReady    milestone = "Knative Service Ready"
)

// milestones in the order in which they are usually reached.
var milestones = []milestone{
	serviceCreated, revisionCreated, podCreated, podReady, revisionReady,
	ingressCreated, routeWritten, firstAnswered, routeProved, serviceReady, modelReady,
}

// recorder notes when it first saw each milestone of each run. Its clock is the
// benchmark's own: the objects' timestamps are whole seconds.
type recorder struct {
	mu    sync.Mutex
	begun map[string]time.Time
	seen  map[sighting]time.Time
	// changed is closed, and made anew, whenever something is noted.
	changed chan struct{}
}

type sighting struct {
	run       string
	milestone milestone
}

func newRecorder() *recorder {
	return &recorder{begun: map[string]time.Time{}, seen: map[sighting]time.Time{}, changed: make(chan struct{})}
}

// begin starts a run's time and returns it.
func (r *recorder) begin(run string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun[run] = time.Now()
	return r.begun[run]
}

// note keeps the first sighting.
func (r *recorder) note(run string, m milestone, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := sighting{run: run, milestone: m}
	if _, ok := r.seen[key]; ok {
		return
	}
	r.seen[key] = at
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns once a milestone was seen.
func (r *recorder) wait(ctx context.Context, run string, m milestone) error {
	for {
		r.mu.Lock()
		_, ok := r.seen[sighting{run: run, milestone: m}]
		changed := r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %q of %s: %w", m, run, ctx.Err())
		}
	}
}

// after returns how long after its begin each of an arm's runs reached a milestone,
// in seconds.
func (r *recorder) after(a arm, m milestone) []float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var seconds []float64
	for run, begun := range r.begun {
		if at, ok := r.seen[sighting{run: run, milestone: m}]; ok && strings.HasPrefix(run, a.name+"-") {
			seconds = append(seconds, at.Sub(begun).Seconds())
		}
	}
	return seconds
}

// watchRuns records what is made of every Model and Knative Service of the
// benchmark's namespace, until ctx ends. A run is called as they are.
func watchRuns(ctx context.Context, c *platform.Clients) (*recorder, error) {
	r := newRecorder()
	kube := informers.NewSharedInformerFactoryWithOptions(c.Kube, 0, informers.WithNamespace(namespace))
	knative := servinginformers.NewSharedInformerFactoryWithOptions(c.Serving, 0, servinginformers.WithNamespace(namespace))
	networking := networkinginformers.NewSharedInformerFactoryWithOptions(c.Networking, 0, networkinginformers.WithNamespace(namespace))
	models := sluiceinformers.NewSharedInformerFactoryWithOptions(c.Sluice, 0, sluiceinformers.WithNamespace(namespace))
	istio := istioinformers.NewSharedInformerFactoryWithOptions(c.Istio, 0, istioinformers.WithNamespace(gateway.Namespace))

	var synced []cache.InformerSynced
	var failures []error
	watch := func(informer cache.SharedIndexInformer, look func(any) (string, []milestone)) {
		registration, err := informer.AddEventHandler(r.handler(look))
		if err != nil {
			failures = append(failures, err)
			return
		}
		synced = append(synced, registration.HasSynced)
	}
	watch(kube.Core().V1().Pods().Informer(), lookAtPod)
	watch(knative.Serving().V1().Services().Informer(), lookAtService)
	watch(knative.Serving().V1().Revisions().Informer(), lookAtRevision)
	watch(networking.Networking().V1alpha1().Ingresses().Informer(), lookAtIngress)
	watch(istio.Networking().V1().VirtualServices().Informer(), lookAtRoute)
	watch(models.Sluice().V1alpha1().Models().Informer(), lookAtModel)
	if err := errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("watching the runs: %w", err)
	}
	kube.Start(ctx.Done())
	knative.Start(ctx.Done())
	networking.Start(ctx.Done())
	istio.Start(ctx.Done())
	models.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil, fmt.Errorf("watching the runs: %w", ctx.Err())
	}
	return r, nil
}

func (r *recorder) handler(look func(any) (string, []milestone)) cache.ResourceEventHandler {
	note := func(object any) {
		now := time.Now()
		run, reached := look(object)
		for _, m := range reached {
			r.note(run, m, now)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, object any) { note(object) }}
}

func lookAtModel(object any) (string, []milestone) {
	m, ok := object.(*v1alpha1.Model)
	if !ok || !m.IsReady() {
		return "", nil
	}
	return m.Name, []milestone{modelReady}
}

func lookAtService(object any) (string, []milestone) {
	s, ok := object.(*servingv1.Service)
	if !ok {
		return "", nil
	}
	reached := []milestone{serviceCreated}
	if s.IsReady() {
		reached = append(reached, serviceReady)
	}
	return s.Name, reached
}

func lookAtRevision(object any) (string, []milestone) {
	revision, ok := object.(*servingv1.Revision)
	if !ok {
		return "", nil
	}
	reached := []milestone{revisionCreated}
	if revision.IsReady() {
		reached = append(reached, revisionReady)
	}
	return revision.Labels[serving.ServiceLabelKey], reached
}

func lookAtPod(object any) (string, []milestone) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return "", nil
	}
	reached := []milestone{podCreated}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			reached = append(reached, podReady)
		}
	}
	return pod.Labels[serving.ServiceLabelKey], reached
}

func lookAtIngress(object any) (string, []milestone) {
	ing, ok := object.(*networkingv1alpha1.Ingress)
	if !ok {
		return "", nil
	}
	reached := []milestone{ingressCreated}
	if ing.IsReady() {
		reached = append(reached, routeProved)
	}
	return ing.Name, reached
}

// lookAtRoute goes by the name: that of Sluice's VirtualService, or of one that was
// made by hand.
func lookAtRoute(object any) (string, []milestone) {
	route, ok := object.(*istiov1.VirtualService)
	if !ok {
		return "", nil
	}
	for _, prefix := range []string{gateway.VirtualServiceName(namespace, ""), handRoute("", "").Name} {
		if run, ok := strings.CutPrefix(route.Name, prefix); ok {
			return run, []milestone{routeWritten}
		}
	}
	return "", nil
}
