package batch

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
)

// work has the shards worked on, and ends the run with them.
func (r *Reconciler) work(ctx context.Context, p *pass) error {
	job, pods, err := r.job(ctx, p, resources.WorkName(p.Batch), func() (*batchv1.Job, error) {
		return resources.WorkJob(p.Batch, p.model, r.worker)
	})
	if err != nil || job == nil {
		return err
	}
	far := r.follower.Progress(p.UID)
	told := successes(pods)
	whole := count(&p.Status, job, told, far)
	end, most, recorded := over(job), p.Spec.MaxFailedItems, recordedOf(told).Failed
	p.Status.InFlight, p.Status.RequestsPerSecond, p.Status.EstimatedEnd = nil, nil, nil
	switch {
	// What workers say while they are at it doesn't end a run: what one had not recorded when
	// it was killed is asked again, and may be answered then. A worker ends its run by itself
	// once more of its own shard have failed than may.
	case most != nil && recorded > *most:
		p.Status.MarkFailed(r.Now(), reasonTooManyFailedItems, fmt.Sprintf("%d items have failed, and %d may (spec.maxFailedItems). %s",
			recorded, *most, remedies[reasonTooManyFailedItems]+again))
	case end == nil && p.hold != nil:
		r.silences.end(p.UID)
		p.Status.ForgetPace()
		p.Status.MarkHeld(p.hold.reason, p.hold.message)
	case end == nil:
		r.pace(p, far)
		return r.follow(ctx, p, job, pods)
	case end.Type == batchv1.JobFailed:
		reason, message := whyFailed(job, pods)
		p.Status.MarkFailed(r.Now(), reason, givenUp(job)+message)
	case !whole && r.Since(end.LastTransitionTime.Time) < reportsWithin:
		r.later(p.Batch, reportsWithin)
	case whole && *p.Status.Succeeded+*p.Status.Failed != *p.Status.Total:
		p.Status.MarkFailed(r.Now(), reasonItemsMissing, fmt.Sprintf("All shards are complete, and of %d items %d are in the output or among its errors. "+
			"Something else may have written there; keep it from that.%s", *p.Status.Total, *p.Status.Succeeded+*p.Status.Failed, again))
	default:
		p.Status.MarkCompleted(r.Now())
	}
	return nil
}

// count takes over how far a Job is, and returns whether it is known of all shards how many
// items they came to. Pods tell that when their shards are complete, and of others their
// workers say how far they are; where some have gone, or haven't said it yet to whoever is
// asked now, what was known before stays.
func count(s *v1alpha1.BatchStatus, job *batchv1.Job, told map[string]task.Report, far task.Progress) (whole bool) {
	done, active := indexes(job.Status.CompletedIndexes), job.Status.Active
	if over(job) != nil || (job.Spec.Suspend != nil && *job.Spec.Suspend) {
		active = 0
	}
	failed := 0
	if job.Status.FailedIndexes != nil {
		failed = indexes(*job.Status.FailedIndexes)
	}
	s.Shards = &v1alpha1.BatchShards{Total: s.Shards.Total, Complete: int32(done), Failed: int32(failed), Active: active}
	whole = len(told) >= int(s.Shards.Total)
	if tally := tallyOf(told, far, s); whole || s.Succeeded == nil || tally.Items() >= s.ItemsDone() {
		s.Succeeded, s.Failed = &tally.Succeeded, &tally.Failed
	}
	return whole
}

// tallyOf is what pods ended with, and what workers say of the other shards, unless that is
// more than there is.
func tallyOf(told map[string]task.Report, far task.Progress, s *v1alpha1.BatchStatus) task.Tally {
	all := recordedOf(told)
	for shard, tally := range far.Shards {
		if _, known := told[strconv.Itoa(int(shard))]; !known && shard < s.Shards.Total {
			all.Succeeded, all.Failed = all.Succeeded+tally.Succeeded, all.Failed+tally.Failed
		}
	}
	if s.Total != nil && all.Items() > *s.Total {
		return recordedOf(told)
	}
	return all
}

// recordedOf is what pods ended with: the items of their shards that are in the output, or among
// its errors.
func recordedOf(told map[string]task.Report) task.Tally {
	var sum task.Tally
	for _, report := range told {
		sum.Succeeded, sum.Failed = sum.Succeeded+report.Succeeded, sum.Failed+report.Failed
	}
	return sum
}

// indexes is how many there are in a Job's list of them, as in "1,3-5,7".
func indexes(list string) int {
	total := 0
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil || last < first {
				continue
			}
		}
		total += last - first + 1
	}
	return total
}

// givenUp names the shards that a Job has given up.
func givenUp(job *batchv1.Job) string {
	if job.Status.FailedIndexes == nil || *job.Status.FailedIndexes == "" {
		return ""
	}
	const longest = 60
	list := *job.Status.FailedIndexes
	if len(list) > longest {
		list = list[:longest] + "…"
	}
	return fmt.Sprintf("%d of %d shards were given up (%s), the others are in the output: ", indexes(*job.Status.FailedIndexes), *job.Spec.Completions, list)
}
