package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/test/platform"
)

// underWay is the part of a part's requests that are answered when it is said to be under way.
const underWay = 0.4

// runs are the two that go side by side. What is a run's own is killed in the one; what both
// need, in the other. Each part of the input is a shard, with a pod of its own.
func (k *killing) runs() []*killRun {
	lines := &killRun{
		sleeper: sleeper{name: "lines", seconds: 0.05, concurrency: 20, perReplica: 250, min: 1, max: 1},
		items:   7 * partItems, rows: 1, online: 40,
	}
	rows := &killRun{
		sleeper: sleeper{name: "rows", seconds: 0.1, concurrency: 20, perReplica: 60, min: 1, max: 1},
		items:   10 * partItems, rows: 10, online: 25,
	}
	worker := k.worker(lines.name)
	plan := k.cut(lines, "_sluice/plan.json", halfway)
	lines.steps = []step{
		{"its plan half put", plan, k.planner(lines.name), k.kept(lines, "_sluice/plan.json")},
		{"the first part under way", k.part(lines, 0), worker, nil},
		{"the second part's results half put", k.cut(lines, resultsOf(1), halfway), worker, nil},
		{"the third part's results put, its errors not", k.cut(lines, errorsOf(2), arriving), worker, k.kept(lines, errorsOf(2))},
		{"the fourth part under way", k.part(lines, 3), k.model(lines.name), nil},
		{"the fifth part's results put, and the worker not told", k.put(lines, resultsOf(4), stored), worker, k.kept(lines, errorsOf(4))},
		{"the sixth part under way", k.part(lines, 5), k.replica(lines), nil},
		{"the last part under way", k.part(lines, 6), worker, nil},
	}
	function, controller, limiter := k.component("batch"), k.component("controller"), k.component("limiter")
	rows.steps = []step{
		{"just planned", k.planned(rows), function, nil},
		{"the first part's results half put", k.put(rows, resultsOf(0), halfway), controller, nil},
		{"a part under way", k.next(rows), limiter, nil},
		{"a part under way", k.next(rows), function, nil},
		{"a part under way", k.next(rows), controller, nil},
	}
	return []*killRun{lines, rows}
}

func resultsOf(part int) string { return fmt.Sprintf("results/%012d.jsonl", part*partItems) }

func errorsOf(part int) string { return fmt.Sprintf("errors/%012d.jsonl", part*partItems) }

type moment func(context.Context) (func(), error)

// put is when an object of a run's output is put so far. It is held until the victim has
// ended. The trap is set now.
func (k *killing) put(r *killRun, key string, at stretch) moment {
	t := k.before.set(outputOf(r.name)+key, at)
	return func(ctx context.Context) (func(), error) { return t.release, t.wait(ctx) }
}

// cut is put for a victim that puts the object itself: nothing more comes of that.
func (k *killing) cut(r *killRun, key string, at stretch) moment {
	t := k.before.set(outputOf(r.name)+key, at)
	return func(ctx context.Context) (func(), error) { return t.cut, t.wait(ctx) }
}

// kept returns when an object of a run's output was there.
func (k *killing) kept(r *killRun, key string) func(time.Time) (time.Time, bool) {
	return func(time.Time) (time.Time, bool) {
		at := k.before.since(outputOf(r.name) + key)
		return at, !at.IsZero()
	}
}

// planned is when a run's input was divided.
func (k *killing) planned(r *killRun) moment {
	return func(ctx context.Context) (func(), error) {
		return nil, platform.Until(ctx, atItWithin, "the run to be planned", func(ctx context.Context) (string, error) {
			got, err := k.clients.Sluice.SluiceV1alpha1().Batches(namespace).Get(ctx, r.name, metav1.GetOptions{})
			if err != nil {
				return "", fmt.Errorf("getting it: %w", err)
			}
			if !got.Status.IsPlanned() {
				return "it isn't", nil
			}
			return "", nil
		})
	}
}

// part is when a pod works on a part, and has had answers to some of it.
func (k *killing) part(r *killRun, part int) moment { return k.working(r, strconv.Itoa(part)) }

// next is part, of whichever is worked on.
func (k *killing) next(r *killRun) moment { return k.working(r, "") }

// working waits for a part, whichever where it isn't named.
func (k *killing) working(r *killRun, part string) moment {
	enough := int64(underWay * partItems / float64(r.rows))
	return func(ctx context.Context) (func(), error) {
		var pod string
		var from int64
		return nil, platform.Until(ctx, atItWithin, "part "+part+" to be under way", func(ctx context.Context) (string, error) {
			pods, err := k.worker(r.name).pods(ctx)
			if err != nil {
				return "", err
			}
			now := r.pulse.answered()
			switch at := worksOn(pods, part); {
			case at == "":
				return fmt.Sprintf("none of %d pods works on it", len(pods)), nil
			case at != pod:
				pod, from = at, now
				return "it has begun", nil
			}
			if now-from < enough {
				return fmt.Sprintf("%d of %d requests were answered", now-from, enough), nil
			}
			return "", nil
		})
	}
}

// worksOn is the name of the pod that works on a part.
func worksOn(pods []corev1.Pod, part string) string {
	for i := range pods {
		p := &pods[i]
		if p.DeletionTimestamp == nil && platform.IsReady(p) && (part == "" || p.Labels[batchv1.JobCompletionIndexAnnotation] == part) {
			return p.Name
		}
	}
	return ""
}
