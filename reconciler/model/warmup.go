package model

import (
	"cmp"
	"context"
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
	corev1listers "k8s.io/client-go/listers/core/v1"
	"knative.dev/pkg/logging"
	servingapi "knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/obstacle"
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

	probingRemedy = "Have the cluster's operator set multi-container-probing: enabled in Knative Serving's ConfigMap config-features."
)

var warmed = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "sluice_model_warmed_events_total",
	Help: "model.warmed events handed to the Broker, by outcome: sent, failed.",
}, []string{"outcome"})

// Losses are there from the start: of a counter that comes with its first one Prometheus sees
// no increase.
func init() {
	warmed.WithLabelValues("failed")
}

// Sender hands an event to the Broker.
type Sender interface {
	Send(ctx context.Context, event cloudevents.Event) error
}

// warmUps tell how far the replicas are, mark Warm, and tell the Broker of each
// verdict.
type warmUps struct {
	pods corev1listers.PodLister
	warming
	bodies *bodyCopies
	schedule
}

func (w *warmUps) reconcile(ctx context.Context, p *pass) error {
	m, service := p.Model, p.service
	if m.Spec.WarmUp == nil {
		m.Status.MarkNoWarmUp()
		return nil
	}
	pods, err := w.warmedPods(m)
	if err != nil {
		return err
	}
	key := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	w.warmth.keep(key, pods)
	rows := make([]v1alpha1.ReplicaWarmUp, 0, len(pods))
	for _, pod := range pods {
		if w.Since(pod.CreationTimestamp.Time) < settle {
			w.later(m, settle)
			continue
		}
		known := w.warmth.of(key, pod)
		rows = append(rows, replicaRow(pod, known.status))
		if !known.status.State.Ended() {
			w.later(m, pullAgain)
		}
		w.tellOfVerdict(ctx, m, pod, known)
	}
	lacking := m.Status.GetCondition(v1alpha1.ModelConditionWarm)
	m.Status.PropagateWarmUp(service.Status.LatestCreatedRevisionName, rows)
	switch {
	case !resources.BuiltFrom(m, service) && lacking.IsFalse():
		m.Status.MarkWarmUpLacking(lacking.Reason, lacking.Message)
		return nil
	case !w.probing():
		m.Status.MarkProbingDisabled(probingRemedy)
	}
	return w.compareBodies(ctx, m, service)
}

// warmedPods are the Model's replicas that are warmed up, the newest first.
func (w *warmUps) warmedPods(m *v1alpha1.Model) ([]*corev1.Pod, error) {
	all, err := w.pods.Pods(m.Namespace).List(labels.SelectorFromSet(labels.Set{sluice.ModelLabelKey: m.Name}))
	if err != nil {
		return nil, fmt.Errorf("listing the replicas: %w", err)
	}
	var pods []*corev1.Pod
	for _, pod := range all {
		if obstacle.Lives(pod) && isWarmed(pod) {
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
func (w *warmUps) tellOfVerdict(ctx context.Context, m *v1alpha1.Model, pod *corev1.Pod, known seen) {
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
	if !w.warmth.tell(pod.UID, now, func() error {
		traced, end := traceWarmUp(context.WithoutCancel(ctx), pod, m.Name, known)
		err := w.sender.Send(traced, event)
		if err != nil {
			warmed.WithLabelValues("failed").Inc()
			logger.Warnw("A verdict could not be told", "pod", pod.Name, zap.Error(err))
			return err
		}
		end()
		warmed.WithLabelValues("sent").Inc()
		return nil
	}) {
		w.later(m, lookAgain)
	}
}

// compareBodies names the ConfigMaps that have changed since the revision was made,
// which goes on with what they had.
func (w *warmUps) compareBodies(ctx context.Context, m *v1alpha1.Model, service *servingv1.Service) error {
	name := resources.WarmUpPinsOf(service).Bodies
	if name == "" {
		return nil
	}
	w.later(m, lookAgain)
	sources, err := w.bodies.sources(ctx, m)
	if err != nil {
		return err
	}
	pinned, err := w.bodies.kube.CoreV1().ConfigMaps(m.Namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
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
		return w.bodies.keep(ctx, m, bodies)
	}
	m.Status.MarkWarmUpLacking("BodiesLost", fmt.Sprintf("ConfigMap %q, the copy of bodies that replicas are warmed up with, was deleted, "+
		"and what it was made from has changed. Change spec.warmUp, for a new revision.", name))
	return nil
}
