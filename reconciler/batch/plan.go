package batch

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/batch/resources"
)

// plan has the input counted and divided. Where that is written down is the output; what is
// needed here is how many items there are, and shards, which the pod that did it tells.
func (r *Reconciler) plan(ctx context.Context, p *pass) error {
	job, pods, err := r.job(ctx, p, resources.PlanName(p.Batch), func() (*batchv1.Job, error) {
		return resources.PlanJob(p.Batch, p.model, r.worker)
	})
	if err != nil || job == nil {
		return err
	}
	report, told := successes(pods)[""]
	switch end := over(job); {
	case told: // that its Job is over is said seconds later
		takePlan(p, report, r.Now())
	case end == nil && p.hold != nil:
		p.Status.MarkHeld(p.hold.reason, p.hold.message)
	case end == nil:
		return r.follow(ctx, p, job, pods)
	case end.Type == batchv1.JobFailed:
		reason, message := whyFailed(job, pods)
		p.Status.MarkFailed(r.Now(), reason, "The input couldn't be planned: "+message+again(p.Batch))
	default:
		return r.untold(ctx, p, job, pods)
	}
	return nil
}

// takePlan takes over what was planned.
func takePlan(p *pass, report task.Report, now time.Time) {
	switch {
	case report.Items == 0:
		p.Status.MarkFailed(now, reasonNoItems, "The input has no items. "+remedies[reasonNoItems]+again(p.Batch))
	case report.Items < 0 || report.Shards < 1 || report.Shards > task.MaxShards || int64(report.Shards) > report.Items:
		p.Status.MarkFailed(now, reasonWorkerFailed, fmt.Sprintf("The pod that planned the run tells of %d items in %d shards, which can't be. %s",
			report.Items, report.Shards, remedies[reasonWorkerFailed]+again(p.Batch)))
	default:
		p.Status.MarkPlanned(report.Items, int32(report.Shards))
	}
}

// reportsWithin is how long what pods ended with may take to come into the cache, once it
// has that their Job is over.
const reportsWithin = 5 * time.Second

// untold is for a Job that is over of which no pod has told what it found.
func (r *Reconciler) untold(ctx context.Context, p *pass, job *batchv1.Job, pods []*corev1.Pod) error {
	switch {
	case r.Since(over(job).LastTransitionTime.Time) < reportsWithin:
		r.later(p.Batch, reportsWithin)
	case slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded }):
		p.Status.MarkFailed(r.Now(), reasonWorkerFailed, "The pod that planned the run doesn't say what it found. "+remedies[reasonWorkerFailed]+again(p.Batch))
	default:
		// It has gone, with what it knew. Another one finds the plan that was written.
		_, err := r.kind(p.Batch).Remove(ctx, job.Name)
		return err
	}
	return nil
}
