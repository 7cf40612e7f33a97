package resources

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	planAttempts = 6
	// shardAttempts is how often a shard is begun again that ended without having been
	// killed by its node. Kubernetes waits for 10 s, twice as long each time, and for 10 min at
	// most, so this is more than an hour, beside the patience that pods have themselves.
	shardAttempts = 12
)

// Worker is what the pods of all runs are made of.
type Worker struct {
	// Image is that of batch-worker.
	Image string
	// Credits is the URL of what leases the part of a Model's limit that is left.
	Credits string
}

// PlanName is the name of the Job that plans a run.
func PlanName(b *v1alpha1.Batch) string { return kmeta.ChildName(b.Name, "-plan") }

// WorkName is the name of the Job that works on it.
func WorkName(b *v1alpha1.Batch) string { return kmeta.ChildName(b.Name, "-work") }

// PlanJob is the Job that counts the items of a Batch and divides them. The Batch has its
// defaults; model is the URL of its Model.
func PlanJob(b *v1alpha1.Batch, model string, w Worker) (*batchv1.Job, error) {
	job, err := newJob(b, PlanName(b), model, w)
	if err != nil {
		return nil, err
	}
	job.Spec.Template.Spec.Containers[0].Args = []string{"plan"}
	job.Spec.Completions, job.Spec.Parallelism, job.Spec.BackoffLimit = ptr(int32(1)), ptr(int32(1)), ptr(int32(planAttempts))
	return job, nil
}

// WorkJob is the Job whose pods each work on a shard of a Batch, as many of them at a time as
// it has workers.
func WorkJob(b *v1alpha1.Batch, model string, w Worker) (*batchv1.Job, error) {
	job, err := newJob(b, WorkName(b), model, w)
	if err != nil {
		return nil, err
	}
	shards := b.Status.Shards.Total
	mode := batchv1.IndexedCompletion
	job.Spec.Template.Spec.Containers[0].Args = []string{"work"}
	job.Spec.CompletionMode = &mode
	job.Spec.Completions, job.Spec.Parallelism = &shards, ptr(Parallelism(b))
	job.Spec.BackoffLimitPerIndex = ptr(int32(shardAttempts))
	return job, nil
}

// Parallelism is how many pods work on a run at a time.
func Parallelism(b *v1alpha1.Batch) int32 { return min(*b.Spec.Workers, b.Status.Shards.Total) }

func newJob(b *v1alpha1.Batch, name, model string, w Worker) (*batchv1.Job, error) {
	described, err := encodeTask(b, model, w)
	if err != nil {
		return nil, fmt.Errorf("telling the pods of Job %q what to do: %w", name, err)
	}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: b.Namespace, Labels: labels(b),
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(b)},
		},
		Spec: batchv1.JobSpec{
			Suspend:          ptr(false),
			PodFailurePolicy: failurePolicy(),
			Template:         template(b, described, w.Image),
		},
	}, nil
}

func labels(b *v1alpha1.Batch) map[string]string {
	return map[string]string{sluice.BatchLabelKey: b.Name, sluice.ManagedByLabelKey: sluice.ManagedBy}
}

// failurePolicy ends a run with what no other attempt would mend, and doesn't count a pod
// that its node or the scheduler took away.
func failurePolicy() *batchv1.PodFailurePolicy {
	return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionFailJob,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			ContainerName: ptr(containerName), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{task.ExitFinal},
		},
	}, {
		Action:          batchv1.PodFailurePolicyActionIgnore,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
	}}}
}

func ptr[T any](of T) *T { return &of }
