package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/pkg/controller"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
)

// keep has a Job of the run be there, unless something holds the run, and be suspended as
// long as something does. It returns the Job, nil where there is none. Kubernetes lets
// nothing else of a Job be changed, and what it was made with stays with an upgrade of Sluice.
func (r *Reconciler) keep(ctx context.Context, p *pass, name string, build func() (*batchv1.Job, error)) (*batchv1.Job, error) {
	kind := r.kind(p.Batch)
	existing, err := kind.Own(name)
	switch {
	case err != nil:
		return nil, notKept(p, name, err)
	case existing == nil && p.hold != nil:
		return nil, nil //nolint:nilnil // there is none, and needs to be none
	case existing == nil:
		desired, err := build()
		if err != nil {
			p.Status.MarkHeld(reasonInvalid, fmt.Sprintf("The run can't be begun: %v.", err))
			return nil, controller.NewPermanentError(err)
		}
		made, _, err := kind.Ensure(ctx, desired) // the cache may be behind
		return made, notKept(p, name, err)
	case over(existing) != nil || existing.DeletionTimestamp != nil:
		return existing, nil
	}
	desired, suspended := existing.DeepCopy(), p.hold != nil
	desired.Spec.Suspend = &suspended
	if mode := desired.Spec.CompletionMode; mode != nil && *mode == batchv1.IndexedCompletion {
		workers := resources.Parallelism(p.Batch)
		desired.Spec.Parallelism = &workers
	}
	kept, _, err := kind.Write(ctx, existing, desired)
	return kept, notKept(p, name, err)
}

// job has a Job of the run be as it should, and returns it with its pods; nil where something
// holds the run before there is one, which the status says then.
func (r *Reconciler) job(ctx context.Context, p *pass, name string, build func() (*batchv1.Job, error)) (*batchv1.Job, []*corev1.Pod, error) {
	job, err := r.keep(ctx, p, name, build)
	if err != nil {
		return nil, nil, err
	}
	if job == nil {
		p.Status.MarkHeld(p.hold.reason, p.hold.message)
		return nil, nil, nil
	}
	pods, err := r.podsOf(job)
	return job, pods, err
}

// notKept says of the run why a Job isn't as it should be; nil is no error.
func notKept(p *pass, name string, err error) error {
	var other *accessor.NotOwnedError
	switch {
	case errors.As(err, &other):
		p.Status.MarkJobNotOwned(name)
		return controller.NewPermanentError(err)
	case err != nil:
		p.Status.MarkJobNotWritten(name, err)
	}
	return err
}

// stop suspends a Job that still runs: its pods go, and what it tells stays.
func (r *Reconciler) stop(ctx context.Context, b *v1alpha1.Batch, name string) error {
	existing, err := r.own(b, name)
	if err != nil || existing == nil || over(existing) != nil || existing.DeletionTimestamp != nil {
		return err
	}
	desired, suspended := existing.DeepCopy(), true
	desired.Spec.Suspend = &suspended
	_, _, err = r.kind(b).Write(ctx, existing, desired)
	return err
}

// isThrough tells whether a run's present Job has nothing left to do: it is over or, which comes
// before that is said of it, a pod of each shard has ended well.
func (r *Reconciler) isThrough(p *pass) (bool, error) {
	name := resources.PlanName(p.Batch)
	if p.Status.IsPlanned() {
		name = resources.WorkName(p.Batch)
	}
	job, err := r.own(p.Batch, name)
	if err != nil || job == nil || over(job) != nil || !p.Status.IsPlanned() {
		return job != nil && over(job) != nil, err
	}
	pods, err := r.podsOf(job)
	ended := sets.New[string]()
	for _, pod := range pods {
		if endedWell(pod) {
			ended.Insert(pod.Labels[batchv1.JobCompletionIndexAnnotation])
		}
	}
	return max(indexes(job.Status.CompletedIndexes), ended.Len()) >= int(p.Status.Shards.Total), err
}

// own is a Job of the run; nil where there is none, or another's has its name.
func (r *Reconciler) own(b *v1alpha1.Batch, name string) (*batchv1.Job, error) {
	job, err := r.kind(b).Own(name)
	if other := (*accessor.NotOwnedError)(nil); errors.As(err, &other) {
		return nil, nil //nolint:nilnil // there is none of its own
	}
	return job, err
}

func (r *Reconciler) kind(b *v1alpha1.Batch) accessor.Kind[*batchv1.Job] {
	return accessor.Kind[*batchv1.Job]{
		Name:   "Job",
		Get:    r.jobs.Jobs(b.Namespace).Get,
		Client: r.kube.BatchV1().Jobs(b.Namespace),
		Owner:  accessor.ControlledBy(b),
		Content: accessor.Content[*batchv1.Job]{Adopt: func(existing, desired *batchv1.Job) {
			existing.Spec.Suspend, existing.Spec.Parallelism = desired.Spec.Suspend, desired.Spec.Parallelism
		}},
		Propagation: metav1.DeletePropagationBackground,
	}
}

// over is the condition of a Job that says that it is, and how; nil while it goes on.
func over(job *batchv1.Job) *batchv1.JobCondition {
	i := slices.IndexFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	})
	if i < 0 {
		return nil
	}
	return &job.Status.Conditions[i]
}

// podsOf are the pods that a Job has, and had.
func (r *Reconciler) podsOf(job *batchv1.Job) ([]*corev1.Pod, error) {
	pods, err := r.pods.Pods(job.Namespace).List(labels.SelectorFromSet(labels.Set{batchv1.JobNameLabel: job.Name}))
	if err != nil {
		return nil, fmt.Errorf("listing the pods of Job %q: %w", job.Name, err)
	}
	return slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return !metav1.IsControlledBy(pod, job) }), nil
}
