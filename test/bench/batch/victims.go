package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

const (
	// endsWithin bounds the time until a process that is killed has ended, backWithin that
	// until another is in its place: Kubernetes waits for 10 s before it starts one for the
	// second time, and for twice as long each time.
	endsWithin, backWithin = 5 * time.Second, 100 * time.Second
)

// victim is what is killed.
type victim struct {
	name string
	// pods are those of which it may be, command is the process, "" for all of a pod's.
	pods    func(context.Context) ([]corev1.Pod, error)
	command string
	// replaced is true where another pod comes in the place of one that ends.
	replaced bool
	// serves, if set, waits until what is there again answers online callers: it may be Ready
	// before.
	serves func(context.Context) error
}

// component is a process of Sluice's own.
func (b *bench) component(name string) victim {
	return victim{name: name, command: name, pods: func(ctx context.Context) ([]corev1.Pod, error) {
		return b.podsOf(ctx, sluice.SystemNamespace, "app.kubernetes.io/name=sluice,app.kubernetes.io/component="+name)
	}}
}

// planner and worker are pods of a Batch: of the Job that plans, and of the one that works,
// whose pods have numbers.
func (b *bench) planner(batch string) victim {
	return b.worksFor(batch, "planner", func(pod corev1.Pod) bool { return !hasNumber(pod) })
}

func (b *bench) worker(batch string) victim { return b.worksFor(batch, "worker", hasNumber) }

func hasNumber(pod corev1.Pod) bool {
	_, ok := pod.Labels[batchv1.JobCompletionIndexAnnotation]
	return ok
}

func (b *bench) worksFor(batch, name string, keep func(corev1.Pod) bool) victim {
	return victim{name: name, command: "batch-worker", replaced: true, pods: func(ctx context.Context) ([]corev1.Pod, error) {
		pods, err := b.podsOf(ctx, namespace, sluice.BatchLabelKey+"="+batch)
		return slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return !keep(pod) }), err
	}}
}

// model is the process of a Model's replica, replica all of its pod's: its address goes with
// them. Requests that Knative's activator had sent there hold the places of the replica until
// their timeout, and until then nobody is answered, however long another one is Ready.
func (b *bench) model(name string) victim {
	return victim{name: "model", command: "streams", pods: func(ctx context.Context) ([]corev1.Pod, error) { return b.replicas(ctx, name) }}
}

func (b *bench) replica(r *killRun) victim {
	v := b.model(r.name)
	v.name, v.command = "replica", ""
	v.serves = func(ctx context.Context) error {
		return platform.Until(ctx, backWithin, "an online request to be answered", func(ctx context.Context) (string, error) {
			asking, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			status, _, _, err := r.at.Post(asking, r.path(), []byte(number(0)))
			if err != nil || status/100 != 2 {
				return fmt.Sprintf("%d, %v", status, err), nil
			}
			return "", nil
		})
	}
	return v
}

// renew has new pods in the place of Sluice's own: of one that was killed a while ago, too,
// Kubernetes would wait the longer before it starts it again.
func (b *bench) renew(ctx context.Context) error {
	for _, name := range ours {
		v := b.component(name)
		v.replaced = true
		pods, err := v.pods(ctx)
		if err != nil {
			return err
		}
		for i := range pods {
			err := b.clients.Kube.CoreV1().Pods(pods[i].Namespace).Delete(ctx, pods[i].Name, metav1.DeleteOptions{})
			if stage.IgnoreNotFound(err) != nil {
				return fmt.Errorf("deleting pod %s: %w", pods[i].Name, err)
			}
		}
		if err := v.back(ctx, lives(pods)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) podsOf(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	pods, err := b.clients.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing the pods %s: %w", selector, err)
	}
	return pods.Items, nil
}

// lives are how often the pods that there are were started, by UID.
func lives(pods []corev1.Pod) map[string]int32 {
	known := map[string]int32{}
	for i := range pods {
		known[string(pods[i].UID)] = restarts(&pods[i])
	}
	return known
}

// kill ends one that runs by SIGKILL, and returns the lives from before. Once it returns the
// process has ended. That a pod runs is told later than it does, so its processes are what is
// looked for.
func (v victim) kill(ctx context.Context) (before map[string]int32, err error) {
	err = platform.Until(ctx, endsWithin, "a "+v.name+" to kill", func(ctx context.Context) (string, error) {
		pods, err := v.pods(ctx)
		if err != nil {
			return "", err
		}
		before = lives(pods)
		for i := range pods {
			p := &pods[i]
			if p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
				continue
			}
			switch killed, err := v.end(ctx, p); {
			case err != nil:
				return "", fmt.Errorf("%s: %w", p.Name, err)
			case killed:
				return "", nil
			}
		}
		return fmt.Sprintf("none of %d pods has such a process on this machine", len(pods)), nil
	})
	return before, err
}

// end ends those processes of a pod that are meant; false if there is none.
func (v victim) end(ctx context.Context, of *corev1.Pod) (killed bool, err error) {
	processes, err := platform.Processes(of.UID)
	if err != nil {
		return false, fmt.Errorf("looking for what to kill: %w", err)
	}
	for _, p := range processes {
		if v.command != "" && p.Command != v.command {
			continue
		}
		if err := p.Kill(); err != nil {
			return false, err
		}
		killed = true
		if err := platform.Until(ctx, endsWithin, fmt.Sprintf("process %d to end", p.ID), func(context.Context) (string, error) {
			if p.Runs() {
				return "it runs", nil
			}
			return "", nil
		}); err != nil {
			return false, err
		}
	}
	return killed, nil
}

// back waits until what was killed is there again: a pod that is Ready and was started since.
func (v victim) back(ctx context.Context, before map[string]int32) error {
	return platform.Until(ctx, backWithin, v.name+" to be there again", func(ctx context.Context) (string, error) {
		pods, err := v.pods(ctx)
		if err != nil {
			return err.Error(), nil //nolint:nilerr // it is asked again
		}
		for i := range pods {
			if v.stands(&pods[i], before) {
				return "", nil
			}
		}
		return fmt.Sprintf("none of %d pods is new, or was started since, and Ready", len(pods)), nil
	})
}

// stands tells whether a pod is in the place of what was killed. A short one may have ended
// already.
func (v victim) stands(pod *corev1.Pod, before map[string]int32) bool {
	started, known := before[string(pod.UID)]
	if pod.DeletionTimestamp != nil || known && (v.replaced || restarts(pod) <= started) {
		return false
	}
	return platform.IsReady(pod) || v.replaced && pod.Status.Phase == corev1.PodSucceeded
}
