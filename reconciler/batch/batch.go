package batch

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/clock"
	"knative.dev/pkg/reconciler"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
	sluiceclientset "sluice.dev/sluice/reconciler/client/clientset/versioned"
	batchreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/batch"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// Reconciler runs Batches.
type Reconciler struct {
	cluster
	worker   resources.Worker
	troubles *troubles
	// silences are those of which it can't be told when they are over, gaps those at which no pod
	// works.
	silences, gaps *silences
	outside
	schedule
}

var _ batchreconciler.Interface = (*Reconciler)(nil)

// cluster is what is seen of it, and what it is changed by.
type cluster struct {
	kube   kubernetes.Interface
	sluice sluiceclientset.Interface

	batches sluicelisters.BatchLister
	models  sluicelisters.ModelLister
	// jobs and pods are those of runs.
	jobs batchlisters.JobLister
	pods corev1listers.PodLister

	namespaces corev1listers.NamespaceLister
}

// Follower knows how far runs are, by what their workers say, and what else is seen of them.
type Follower interface {
	Progress(uid types.UID, seen task.Seen) task.Progress
}

// outside is what else the run is told by, and told to.
type outside struct {
	follower Follower
	news     *news
}

// schedule is the time, and what brings a Batch back after a while.
type schedule struct {
	clock.PassiveClock
	later func(b any, after time.Duration)
}

func newReconciler(c cluster, worker resources.Worker, o outside, s schedule) *Reconciler {
	return &Reconciler{cluster: c, worker: worker, troubles: newTroubles(c.kube, s), silences: newSilences(), gaps: newSilences(), outside: o, schedule: s}
}

// pass is one look at a Batch: what its steps go by.
type pass struct {
	*v1alpha1.Batch
	// model is the URL of its Model; "" while there is none.
	model string
	// hold is what keeps the run from going on; nil for nothing.
	hold *hold
	// starves is true where its workers ask, and have had no credit for long.
	starves bool
}

// ReconcileKind implements batchreconciler.Interface: the run begins, which is written down
// before anything is made of it, is planned, and is worked on. What has begun has one end.
func (r *Reconciler) ReconcileKind(ctx context.Context, b *v1alpha1.Batch) reconciler.Event {
	ctx, cancel := context.WithTimeout(ctx, reconciler.DefaultTimeout)
	defer cancel()

	if going, err := r.vacate(ctx, b); going || err != nil {
		return err
	}
	before := b.Status.DeepCopy()
	var err error
	if !before.IsFinished() {
		err = r.proceed(ctx, b)
	}
	if b.Status.IsFinished() {
		err = errors.Join(err, r.retire(ctx, b, before))
	}
	b.Status.Settle()
	if wait := b.Status.PaceProgress(before, r.Now()); wait > 0 {
		r.later(b, wait)
	}
	r.news.tell(ctx, b, before, r.Now())
	return err
}

// proceed takes the run as far as it can go now.
func (r *Reconciler) proceed(ctx context.Context, b *v1alpha1.Batch) error {
	p, err := r.look(b)
	if err != nil {
		return err
	}
	if end, ok := b.End(); ok {
		left := end.Sub(r.Now())
		if left <= 0 {
			return r.expire(ctx, p)
		}
		r.later(b, left)
	}
	if !b.Status.HasBegun() {
		return r.begin(ctx, p)
	}
	if !b.Status.IsPlanned() {
		if err := r.plan(ctx, p); err != nil || !b.Status.IsPlanned() {
			return err
		}
	}
	return r.work(ctx, p)
}

// expire ends a run whose deadline has passed: by what came of it, where it was over by itself
// and nobody looked in time.
func (r *Reconciler) expire(ctx context.Context, p *pass) error {
	switch through, err := r.isThrough(p); {
	case err != nil:
		return err
	case through && p.Status.IsPlanned():
		return r.work(ctx, p)
	case through:
		if err := r.plan(ctx, p); err != nil || p.Status.IsFinished() {
			return err
		}
	}
	p.Status.MarkFailed(r.Now(), reasonDeadlineExceeded, fmt.Sprintf("The run wasn't over %s after its start (spec.deadline). "+
		"What it wrote stays. Give another Batch, with an output of its own, more time or its Model more replicas.", p.Spec.Deadline.Duration))
	return nil
}

// begin writes down that the run has begun. From then on the webhook refuses changes of what
// is asked for, and the next pass, which sees that written, goes by the last there was.
func (r *Reconciler) begin(ctx context.Context, p *pass) error {
	hold, err := p.hold, error(nil)
	if hold == nil {
		hold, err = r.holdBeforeStart(ctx, p.Batch)
	}
	switch {
	case err != nil:
		return err
	case hold != nil:
		p.Status.MarkHeld(hold.reason, hold.message)
		r.later(p.Batch, lookAgain)
		return nil
	}
	p.Status.StartTime = &metav1.Time{Time: r.Now().Truncate(time.Second)}
	p.Status.MarkStarting()
	return nil
}

// retire stops what still runs of a run that is over, and deletes the Batch when it is time,
// though not before it is written, and told, what came of it.
func (r *Reconciler) retire(ctx context.Context, b *v1alpha1.Batch, before *v1alpha1.BatchStatus) error {
	// What is complete has no pod with anything left to do, also where its Job is yet to say so.
	if !b.Status.GetCondition(v1alpha1.BatchConditionComplete).IsTrue() {
		for _, name := range []string{resources.PlanName(b), resources.WorkName(b)} {
			if err := r.stop(ctx, b, name); err != nil {
				return err
			}
		}
	}
	expiry, ok := b.Expiry()
	if !ok || !before.IsFinished() {
		return nil
	}
	if left := expiry.Sub(r.Now()); left > 0 {
		r.later(b, left)
		return nil
	}
	background := metav1.DeletePropagationBackground
	err := r.sluice.SluiceV1alpha1().Batches(b.Namespace).Delete(ctx, b.Name, metav1.DeleteOptions{
		Preconditions: metav1.NewUIDPreconditions(string(b.UID)), PropagationPolicy: &background,
	})
	if err != nil && !apierrs.IsNotFound(err) {
		return fmt.Errorf("deleting the Batch, whose time is over: %w", err)
	}
	return nil
}
