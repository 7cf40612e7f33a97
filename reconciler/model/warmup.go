package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/logging"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/reconciler/model/resources"
)

const (
	// lookAgain is how often what a person has to mend outside of the Model is looked
	// at: nothing tells of ConfigMaps of others, which are too many to watch.
	// What is missing is looked for more often: a revision waits for it.
	lookAgain, lookForMissing = 30 * time.Second, 5 * time.Second
	// bodiesAge is how old a copy of bodies has to be to be taken for one that no
	// revision will ever need: Knative may be about to make that revision.
	bodiesAge = 10 * time.Minute

	probingRemedy = "Have the cluster's operator set multi-container-probing: enabled in Knative Serving's ConfigMap config-features."
)

var warmed = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_model_warmed_events_total",
	Help: "model.warmed events handed to the Broker, by outcome: sent, failed.",
}, []string{"outcome"})

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

// lackError says what a warm-up can't be made without, for a person to mend.
type lackError struct{ reason, message string }

func (e *lackError) Error() string { return e.message }

// rebuild is the Service with the template that the Model asks for now, its warm-up
// settled; the error is a *lackError where it can't be.
func (r *Reconciler) rebuild(ctx context.Context, m *v1alpha1.Model, tenant *v1alpha1.Tenant, existing *servingv1.Service) (*servingv1.Service, error) {
	pins, err := r.pin(ctx, m)
	if err != nil {
		return nil, err
	}
	return resources.RebuildService(m, tenant, resources.PinWarmUp(m, existing, pins)), nil
}

// pin settles what the Model's next revision is warmed up by.
func (r *Reconciler) pin(ctx context.Context, m *v1alpha1.Model) (resources.WarmUpPins, error) {
	pins := resources.WarmUpPins{Image: r.warmUpImage}
	if m.Spec.WarmUp == nil {
		return pins, nil
	}
	if r.warmUpImage == "" {
		return pins, &lackError{"ImageMissing", "The controller has no image for warm-ups: set WARM_UP_IMAGE in its Deployment."}
	}
	if !r.probing() {
		return pins, &lackError{"ProbingDisabled", "Knative doesn't probe more than one container of a pod. " + probingRemedy}
	}
	bodies, err := r.bodies(ctx, m)
	if err != nil || bodies == nil {
		return pins, err
	}
	pins.Bodies = bodies.Name
	return pins, r.keepBodies(ctx, m, bodies)
}

// sources are the ConfigMaps that there are of those that bodies come from.
func (r *Reconciler) sources(ctx context.Context, m *v1alpha1.Model) (map[string]*corev1.ConfigMap, error) {
	sources := map[string]*corev1.ConfigMap{}
	for _, name := range resources.WarmUpSources(m.Spec.WarmUp) {
		// As of the API server's cache, which is cheap.
		source, err := r.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("getting ConfigMap %q: %w", name, err)
		}
		sources[name] = source
	}
	return sources, nil
}

// bodies are those that the Model's warm-up has now.
func (r *Reconciler) bodies(ctx context.Context, m *v1alpha1.Model) (*corev1.ConfigMap, error) {
	sources, err := r.sources(ctx, m)
	if err != nil {
		return nil, err
	}
	bodies, err := resources.WarmUpBodies(m, sources)
	var tooLarge *apis.FieldError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &lackError{"BodiesTooLarge", err.Error()}
	case err != nil:
		return nil, &lackError{"BodyMissing", fmt.Sprintf("spec.warmUp: %v. Create it, or name another one.", err)}
	}
	return bodies, nil
}

// keepBodies has a copy of bodies be there.
func (r *Reconciler) keepBodies(ctx context.Context, m *v1alpha1.Model, bodies *corev1.ConfigMap) error {
	existing, err := r.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, bodies.Name, metav1.GetOptions{})
	switch {
	case apierrs.IsNotFound(err):
		if _, err := r.kube.CoreV1().ConfigMaps(m.Namespace).Create(ctx, bodies, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating ConfigMap %q: %w", bodies.Name, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("getting ConfigMap %q: %w", bodies.Name, err)
	case !metav1.IsControlledBy(existing, m):
		return &lackError{"NotOwned", fmt.Sprintf("There is a ConfigMap %q that this Model does not own; delete it.", bodies.Name)}
	}
	return nil
}

// sweepBodies deletes the copies that belong to no revision any more.
func (r *Reconciler) sweepBodies(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	of := labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name})
	revisions, err := r.revisions.Revisions(m.Namespace).List(of)
	if err != nil {
		return fmt.Errorf("listing the revisions: %w", err)
	}
	copies, err := r.kube.CoreV1().ConfigMaps(m.Namespace).List(ctx, metav1.ListOptions{LabelSelector: of.String()})
	if err != nil {
		return fmt.Errorf("listing the copies of bodies: %w", err)
	}
	used := func(name string) bool {
		return name == resources.WarmUpPinsOf(service).Bodies || slices.ContainsFunc(revisions, func(revision *servingv1.Revision) bool {
			return slices.ContainsFunc(revision.Spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap != nil && v.ConfigMap.Name == name })
		})
	}
	for _, c := range copies.Items {
		if !metav1.IsControlledBy(&c, m) || used(c.Name) || r.clock.Since(c.CreationTimestamp.Time) < bodiesAge {
			continue
		}
		if err := r.kube.CoreV1().ConfigMaps(m.Namespace).Delete(ctx, c.Name, metav1.DeleteOptions{}); err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("deleting ConfigMap %q: %w", c.Name, err)
		}
	}
	return nil
}

// reconcileWarmUp tells how far the replicas are, marks Warm, and tells the Broker of
// each verdict.
func (r *Reconciler) reconcileWarmUp(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	if m.Spec.WarmUp == nil {
		m.Status.MarkNoWarmUp()
		return nil
	}
	pods, err := r.warmedPods(m)
	if err != nil {
		return err
	}
	key := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	r.warmth.keep(key, pods)
	rows := make([]v1alpha1.ReplicaWarmUp, 0, len(pods))
	for _, pod := range pods {
		if r.clock.Since(pod.CreationTimestamp.Time) < settle {
			r.later(m, settle)
			continue
		}
		known := r.warmth.of(key, pod)
		rows = append(rows, replicaRow(pod, known.status))
		if !known.status.State.Ended() {
			r.later(m, pullAgain)
		}
		r.tellOfVerdict(ctx, m, pod, known)
	}
	lacking := m.Status.GetCondition(v1alpha1.ModelConditionWarm)
	m.Status.PropagateWarmUp(service.Status.LatestCreatedRevisionName, rows)
	switch {
	case !resources.BuiltFrom(m, service) && lacking.IsFalse():
		m.Status.MarkWarmUpLacking(lacking.Reason, lacking.Message)
		return nil
	case !r.probing():
		m.Status.MarkProbingDisabled(probingRemedy)
	}
	return r.compareBodies(ctx, m, service)
}

// warmedPods are the Model's replicas that are warmed up, the newest first.
func (r *Reconciler) warmedPods(m *v1alpha1.Model) ([]*corev1.Pod, error) {
	all, err := r.pods.Pods(m.Namespace).List(labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name}))
	if err != nil {
		return nil, fmt.Errorf("listing the replicas: %w", err)
	}
	var pods []*corev1.Pod
	for _, pod := range all {
		ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
		if pod.DeletionTimestamp == nil && !ended && isWarmed(pod) {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods, nil
}

// isWarmed tells whether a pod has the container that warms its model up.
func isWarmed(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == warmup.ContainerName })
}

// replicaRow is what a replica has said, or why it can't say anything.
func replicaRow(pod *corev1.Pod, status warmup.Status) v1alpha1.ReplicaWarmUp {
	row := v1alpha1.ReplicaWarmUp{
		Pod: pod.Name, Revision: pod.Labels[servingapi.RevisionLabelKey],
		State: string(status.State), Requests: status.Requests, Reason: status.Reason,
	}
	if status.Requests > 0 {
		row.FirstLatency, row.LastLatency = latency(status.FirstMilliseconds), latency(status.LastMilliseconds)
	}
	for _, c := range pod.Status.ContainerStatuses {
		if waiting := c.State.Waiting; waiting != nil && waiting.Reason != "" && !status.State.Ended() {
			row.Reason = fmt.Sprintf("container %s: %s %s", c.Name, waiting.Reason, waiting.Message)
		}
	}
	return row
}

func latency(milliseconds float64) *metav1.Duration {
	return &metav1.Duration{Duration: time.Duration(milliseconds * float64(time.Millisecond)).Round(time.Microsecond)}
}

// tellOfVerdict has the Broker told once of each verdict. One that is down is told
// later; nothing waits for it.
func (r *Reconciler) tellOfVerdict(ctx context.Context, m *v1alpha1.Model, pod *corev1.Pod, known seen) {
	now := verdict{known.status.Starts, known.status.State}
	if !now.state.Ended() || known.told == now {
		return
	}
	event, err := eventing.NewModelWarmed(eventing.ModelWarmed{
		Model: eventing.Ref{Namespace: m.Namespace, Name: m.Name}, Revision: pod.Labels[servingapi.RevisionLabelKey], Pod: pod.Name,
		Verdict: string(now.state), Starts: int32(now.starts), Requests: known.status.Requests,
		FirstMilliseconds: known.status.FirstMilliseconds, LastMilliseconds: known.status.LastMilliseconds,
		Seconds: known.status.Seconds, Reason: known.status.Reason, UID: string(pod.UID),
	})
	logger := logging.FromContext(ctx)
	if err != nil {
		logger.Errorw("A verdict can't be told", "pod", pod.Name, zap.Error(err))
		return
	}
	if !r.warmth.tell(pod.UID, now, func() error {
		err := r.sender.Send(context.WithoutCancel(ctx), event)
		if err != nil {
			warmed.WithLabelValues("failed").Inc()
			logger.Warnw("A verdict could not be told", "pod", pod.Name, zap.Error(err))
			return err
		}
		warmed.WithLabelValues("sent").Inc()
		return nil
	}) {
		r.later(m, lookAgain)
	}
}

// compareBodies names the ConfigMaps that have changed since the revision was made,
// which goes on with what they had.
func (r *Reconciler) compareBodies(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	name := resources.WarmUpPinsOf(service).Bodies
	if name == "" {
		return nil
	}
	r.later(m, lookAgain)
	sources, err := r.sources(ctx, m)
	if err != nil {
		return err
	}
	pinned, err := r.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case err == nil:
		m.Status.WarmUp.ChangedBodies = resources.ChangedBodies(m.Spec.WarmUp, sources, pinned)
		return nil
	case !apierrs.IsNotFound(err):
		return fmt.Errorf("getting ConfigMap %q: %w", name, err)
	}
	// Without the copy no replica can start. It can be made again from what it was
	// made from, unless that has changed.
	if bodies, err := resources.WarmUpBodies(m, sources); err == nil && bodies != nil && bodies.Name == name {
		return r.keepBodies(ctx, m, bodies)
	}
	m.Status.MarkWarmUpLacking("BodiesLost", fmt.Sprintf("ConfigMap %q, the copy of bodies that replicas are warmed up with, was deleted, "+
		"and what it was made from has changed. Change spec.warmUp, for a new revision.", name))
	return nil
}
