package usage

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var ranker = types.NamespacedName{Namespace: "team", Name: "ranker"}

// What gateways counted before is nobody's; what they count then is, through a pod that goes, a ledger
// that follows another, and a Broker that is away.
func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.gateway("a", counts(1000, 100))
		end := w.run()
		pass(5 * time.Second)
		w.change(func() { w.shown["a"] = counts(1010, 105) })
		pass(2 * time.Minute)
		w.wants(10, 5)

		w.gateway("b", counts(7, 0))
		pass(2 * time.Minute)
		w.wants(17, 5)
		w.change(func() {
			w.shown["b"] = counts(9, 1)
			w.gateways["b"] = w.gateways["b"].DeepCopy()
			w.gateways["b"].DeletionTimestamp = &metav1.Time{Time: time.Now()}
		})
		pass(time.Second)
		w.change(func() { delete(w.shown, "b") })
		pass(time.Second)
		if got := w.usage().Status.Day.Total.Requests.Ended; got != 25 {
			t.Errorf("a second after the pod's end %d requests are written, want 25", got)
		}
		w.change(func() { delete(w.gateways, "b") })
		pass(2 * time.Minute)
		w.wants(19, 6)
		if u := w.usage(); u.Status.Day.Uncertain != nil || len(u.Status.Accounted.Gateways) != 1 {
			t.Errorf("uncertain %+v, accounts %+v", u.Status.Day.Uncertain, u.Status.Accounted.Gateways)
		}

		w.change(func() { w.away = true })
		w.change(func() { w.shown["a"] = counts(1011, 105) })
		pass(2 * time.Minute)
		end()
		w.change(func() { w.away = false; w.shown["a"] = counts(1020, 106) })
		end = w.run()
		pass(2 * time.Minute)
		w.wants(29, 7)

		at := len(w.sluice.Actions())
		pass(10 * time.Minute)
		if n := len(w.sluice.Actions()); n != at {
			t.Errorf("%d calls at rest: %v", n-at, w.sluice.Actions()[at:])
		}
		if unsent := w.usage().Status.Unsent; len(unsent) != 0 {
			t.Errorf("unsent at rest: %+v", unsent)
		}
		end()
	})
}

// Writes that fail, be they done all the same or not, and what others write, change no sum.
func TestWritesThatFail(t *testing.T) {
	for name, fail := range map[string]func(w *world, action clienttesting.UpdateAction) error{
		"not done": func(*world, clienttesting.UpdateAction) error {
			return apierrs.NewInternalError(errors.New("no leader"))
		},
		"done all the same": func(w *world, action clienttesting.UpdateAction) error {
			if err := w.sluice.Tracker().Update(action.GetResource(), action.GetObject(), action.GetNamespace()); err != nil {
				w.t.Error(err)
			}
			return apierrs.NewTimeoutError("too late", 1)
		},
		"another ledger's stands": func(w *world, action clienttesting.UpdateAction) error {
			other, ok := action.GetObject().DeepCopyObject().(*v1alpha1.Usage)
			if !ok {
				w.t.Error("no Usage is updated")
			}
			other.Status.Accounted.At = metav1.NewMicroTime(other.Status.Accounted.At.Add(-time.Millisecond))
			other.ResourceVersion = "another"
			if err := w.sluice.Tracker().Update(action.GetResource(), other, action.GetNamespace()); err != nil {
				w.t.Error(err)
			}
			return apierrs.NewConflict(v1alpha1.Resource("usages"), "ranker", errors.New("another wrote"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				end := w.run()
				pass(time.Second)
				w.gateway("a", counts(3, 1))
				pass(2 * time.Minute)
				failing := true
				w.sluice.PrependReactor("update", "usages", func(action clienttesting.Action) (bool, runtime.Object, error) {
					update, ok := action.(clienttesting.UpdateAction)
					if !failing || !ok {
						return false, nil, nil
					}
					failing = false
					return true, nil, fail(w, update)
				})
				w.change(func() { w.shown["a"] = counts(8, 2) })
				pass(2 * time.Minute)
				w.change(func() { w.shown["a"] = counts(9, 2) })
				pass(2 * time.Minute)
				if failing {
					t.Error("no write failed")
				}
				w.wants(9, 2)
				end()
			})
		})
	}
}

// A replica's time, CPU and memory are accounted from its node on until it is gone.
func TestReplicasAreAccounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		end := w.run()
		pass(time.Second)
		scheduled := time.Now()
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "replica", UID: "replica", Labels: map[string]string{
				sluice.ModelLabelKey: "ranker", serving.RevisionLabelKey: "ranker-00001",
			}},
			Spec: corev1.PodSpec{NodeName: "node"},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(scheduled)},
				{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(scheduled)},
			}},
		}
		w.change(func() { w.replicas = []*corev1.Pod{pod} })
		pass(20 * time.Second)
		ready := pod.DeepCopy()
		ready.Status.Conditions[1] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
		w.change(func() { w.replicas, w.cpu = []*corev1.Pod{ready}, 12.5 })
		pass(100 * time.Second)
		w.change(func() { w.replicas = nil })
		pass(2 * time.Minute)
		got := w.usage().Status.Day.Total
		if got.CPUSeconds.Total != 12500 {
			t.Errorf("CPU is %+v", got.CPUSeconds)
		}
		near := func(what string, got v1alpha1.Amount, want, within v1alpha1.Amount) {
			if got < want-within || got > want+within {
				t.Errorf("%s is %v, want %v", what, got, want)
			}
		}
		near("time", got.ReplicaSeconds.Total, 120_000, 1100)
		near("cold start", got.ReplicaSeconds.ColdStart, 20_000, 1100)
		near("idle", got.ReplicaSeconds.Idle, 100_000, 1100)
		near("memory", got.MemoryGiBSeconds.Total, 120_000, 6100)
		end()
	})
}
