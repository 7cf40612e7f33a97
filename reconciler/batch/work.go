package batch

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

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
	told := successes(pods)
	far := r.follower.Progress(p.UID, seenOf(&p.Status, job, pods, told))
	p.starves = far.Starves
	whole := count(&p.Status, job, told, far)
	end, most, failing := over(job), p.Spec.MaxFailedItems, recordedOf(told).Failed
	if p.hold == nil {
		failing += failingOf(told, far)
	}
	p.Status.InFlight, p.Status.RequestsPerSecond, p.Status.EstimatedEnd = nil, nil, nil
	switch {
	// What workers that are at it say ends a run, as does what is recorded: of one that was killed,
	// and had not recorded its failures, they are asked again and may be answered then. A worker
	// ends its run by itself once more of its own shard have failed than may.
	case most != nil && failing > *most:
		atLeastFailed(&p.Status, failing)
		p.Status.MarkFailed(r.Now(), reasonTooManyFailedItems, fmt.Sprintf("%d items have failed, and %d may (spec.maxFailedItems). %s",
			failing, *most, remedies[reasonTooManyFailedItems]+again(p.Batch)))
	case end == nil && whole && *p.Status.Succeeded+*p.Status.Failed == *p.Status.Total:
		// So says a pod of each shard. The Job comes to say it some seconds later, in which
		// replicas would have nothing to do.
		p.Status.Shards.Complete, p.Status.Shards.Active = p.Status.Shards.Total, 0
		p.Status.MarkCompleted(r.Now())
	case end == nil && p.hold != nil:
		r.silences.end(p.UID)
		p.Status.ForgetPace()
		p.Status.MarkHeld(p.hold.reason, p.hold.message)
	case end == nil:
		r.pace(p, far)
		return r.follow(ctx, p, job, pods)
	case end.Type == batchv1.JobFailed:
		reason, message := whyFailed(job, pods)
		p.Status.MarkFailed(r.Now(), reason, givenUp(job)+message+again(p.Batch))
	case !whole && r.Since(end.LastTransitionTime.Time) < reportsWithin:
		r.later(p.Batch, reportsWithin)
	case whole && *p.Status.Succeeded+*p.Status.Failed != *p.Status.Total:
		p.Status.MarkFailed(r.Now(), reasonItemsMissing, fmt.Sprintf("All shards are complete, and of %d items %d are in the output or among its errors. "+
			"Something else may have written there; keep it from that.%s", *p.Status.Total, *p.Status.Succeeded+*p.Status.Failed, again(p.Batch)))
	default:
		p.Status.MarkCompleted(r.Now())
	}
	return nil
}

// seenOf is what is seen of a run beside what its workers say.
func seenOf(s *v1alpha1.BatchStatus, job *batchv1.Job, pods []*corev1.Pod, told map[string]task.Report) task.Seen {
	seen := task.Seen{Ended: make(map[int32]task.Tally, len(told)), Done: s.ItemsDone(), Starves: s.NoSlackSince()}
	for shard, report := range told {
		if n, ok := shardOf(shard); ok {
			seen.Ended[n] = task.Tally{Succeeded: report.Succeeded, Failed: report.Failed}
		}
	}
	begun := sets.New(slices.Collect(maps.Keys(seen.Ended))...)
	for _, pod := range pods {
		if n, ok := shardOf(pod.Labels[batchv1.JobCompletionIndexAnnotation]); ok {
			begun.Insert(n)
		}
	}
	for from, to := range ranges(job.Status.CompletedIndexes) {
		for n := from; n <= min(to, task.MaxShards-1); n++ {
			begun.Insert(int32(n))
		}
	}
	seen.Begun = sets.List(begun)
	return seen
}

// shardOf reads the number of a shard, as Kubernetes writes it.
func shardOf(index string) (int32, bool) {
	n, err := strconv.ParseInt(index, 10, 32)
	return int32(n), err == nil && n >= 0 && n < task.MaxShards
}

// failingOf is how many items have failed of shards that aren't complete, as their workers say
// that are at it.
func failingOf(told map[string]task.Report, far task.Progress) int64 {
	failing := int64(0)
	for shard, failed := range far.Failing {
		if _, known := told[strconv.Itoa(int(shard))]; !known {
			failing += failed
		}
	}
	return failing
}

// atLeastFailed has a status say that so many have failed, of all that it says have a result.
func atLeastFailed(s *v1alpha1.BatchStatus, failed int64) {
	if done := s.ItemsDone(); s.Failed == nil || *s.Failed < failed {
		succeeded := max(0, done-failed)
		s.Succeeded, s.Failed = &succeeded, &failed
	}
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
	for from, to := range ranges(list) {
		total += to - from + 1
	}
	return total
}

// ranges are those of a Job's list of indexes, from the first to the last of each.
func ranges(list string) iter.Seq2[int, int] {
	return func(yield func(first, last int) bool) {
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
			if !yield(first, last) {
				return
			}
		}
	}
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
