package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/controller"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// The events of a run come when it begins and ends, and now and then of how far it is.
func TestNews(t *testing.T) {
	t.Parallel()
	n := newNews(nil)
	fresh, running := batch(), batch(observed, begun, planned, working, progressed(10, 1, v1alpha1.BatchShards{Total: 4}))
	end := batch(observed, begun, planned, completed, progressed(990, 10, v1alpha1.BatchShards{Total: 4, Complete: 4}))
	broken := batch(observed, begun, planned, failed("StoreAway", "Have it seen to."))
	at := func(seconds int) *v1alpha1.Batch {
		b := running.DeepCopy()
		b.Status.ProgressTime = &metav1.MicroTime{Time: noon.Add(time.Duration(seconds) * time.Second)}
		return b
	}
	for _, step := range []struct {
		what          string
		before, after *v1alpha1.Batch
		seconds       int
		want          []string
	}{
		{"it begins", fresh, batch(observed, begun, starting), 0, nil},
		{"that isn't seen yet, and it begins again", fresh, batch(observed, begun, starting), 1, nil},
		{"that is written", batch(observed, begun, starting), batch(observed, begun, starting), 1, []string{"started"}},
		{"it goes on", batch(observed, begun, starting), batch(observed, begun, planning), 1, nil},
		{"how far it is", at(0), at(5), 5, []string{"progressed"}},
		{"too soon", at(5), at(34), 34, nil},
		{"nothing new", at(34), at(34), 60, nil},
		{"time again", at(34), at(60), 60, []string{"progressed"}},
		{"it completes", at(60), end, 91, nil},
		{"that isn't seen yet, and it completes again", at(60), end, 92, nil},
		{"that is written too", end, end, 92, []string{"completed"}},
		{"once", end, end, 99, nil},
		{"it fails", at(60), broken, 62, nil},
		{"which is written", broken, broken, 62, []string{"failed"}},
		{"it was over before anybody looked", end, end, 99, nil},
	} {
		n.tell(t.Context(), step.after, &step.before.Status, noon.Add(time.Duration(step.seconds)*time.Second))
		if got := typesOf(n); !slices.Equal(got, step.want) {
			t.Errorf("%s: told %v, want %v", step.what, got, step.want)
		}
	}
	many := func(uid string, i int) *v1alpha1.Batch {
		b := at(0)
		b.UID = types.UID(fmt.Sprint(uid, i))
		return b
	}
	for i := range newsKept {
		b := many("p", i)
		n.tell(t.Context(), b, &at(-5).Status, noon)
	}
	if len(n.waiting) != newsKept/2 {
		t.Errorf("%d events wait of how far runs are, which leave room for %d others", len(n.waiting), newsKept-len(n.waiting))
	}
	for i := range newsKept {
		b := many("b", i)
		n.tell(t.Context(), b, &fresh.Status, noon)
		n.tell(t.Context(), b, &b.Status, noon)
	}
	for i := range 100 { // which are gone before they are written
		n.tell(t.Context(), many("g", i), &fresh.Status, noon)
	}
	if n.mayTell("new", noon.Add(time.Hour)); len(n.waiting) != newsKept || len(n.progressed) != 1 || len(n.unwritten) != 100 {
		t.Errorf("%d events wait, and %d runs are remembered, and %d that are to be written", len(n.waiting), len(n.progressed), len(n.unwritten))
	}
	if n.tell(t.Context(), fresh, &fresh.Status, noon.Add(unwrittenFor)); len(n.unwritten) != 0 {
		t.Errorf("%d are to be written yet after a time", len(n.unwritten))
	}
}

// What passes say of a run that the cache is behind of is told once, as it is written; and
// what nobody could see any more isn't taken away before.
func TestMilestonesAreToldAsWritten(t *testing.T) {
	t.Parallel()
	brief := func(b *v1alpha1.Batch) {
		b.Spec.Deadline, b.Spec.TTLAfterFinished = &metav1.Duration{Duration: time.Minute}, &metav1.Duration{}
	}
	now, told := clocktesting.NewFakePassiveClock(noon), newNews(nil)
	sluice := sluicefake.NewSimpleClientset()
	deleted := 0
	sluice.PrependReactor("delete", "batches", func(clientgotesting.Action) (bool, runtime.Object, error) {
		deleted++
		return true, nil, nil
	})
	index := func(objects ...any) cache.Indexer {
		of := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		for _, object := range objects {
			if err := of.Add(object); err != nil {
				t.Fatal(err)
			}
		}
		return of
	}
	r := newReconciler(cluster{
		kube: fake.NewClientset(), sluice: sluice,
		batches: sluicelisters.NewBatchLister(index()), models: sluicelisters.NewModelLister(index(model())),
		jobs: batchlisters.NewJobLister(index()), pods: corev1listers.NewPodLister(index()), namespaces: corev1listers.NewNamespaceLister(index()),
	}, worker, outside{follower: said{}, news: told}, schedule{PassiveClock: now, later: func(any, time.Duration) {}})
	ctx := controller.WithEventRecorder(t.Context(), record.NewFakeRecorder(100))
	pass := func(seen *v1alpha1.Batch, after time.Duration) *v1alpha1.Batch {
		t.Helper()
		b := seen.DeepCopy()
		now.SetTime(noon.Add(after))
		if err := r.ReconcileKind(ctx, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	var sinces []time.Time
	nothing := func() {
		t.Helper()
		if len(told.waiting) > 0 || deleted > 0 {
			t.Fatalf("%d events, and %d deletions, before anything is written", len(told.waiting), deleted)
		}
	}
	tells := func(want string) {
		t.Helper()
		if len(told.waiting) != 1 {
			t.Fatalf("%d events, want that it %s", len(told.waiting), want)
		}
		e := <-told.waiting
		var of struct{ Since time.Time }
		if err := e.DataAs(&of); err != nil || e.Type() != want {
			t.Fatalf("told %s, %v", e.Type(), err)
		}
		sinces = append(sinces, of.Since)
	}
	fresh := batch(brief)
	pass(fresh, 0)
	written := pass(fresh, 2*time.Second)
	nothing()
	pass(written, 3*time.Second)
	tells(eventing.BatchStartedType)
	pass(written, 70*time.Second)
	over := pass(written, 75*time.Second)
	nothing()
	pass(over, 80*time.Second)
	tells(eventing.BatchFailedType)
	if want := []time.Time{written.Status.StartTime.Time, over.Status.CompletionTime.Time}; !slices.EqualFunc(sinces, want, time.Time.Equal) || deleted != 1 {
		t.Errorf("told of %v, want %v as it is written, and then it is deleted, %d times", sinces, want, deleted)
	}
}

// What an event says is what the status does.
func TestWhatNewsSay(t *testing.T) {
	t.Parallel()
	b := batch(observed, begun, planned, completed, progressed(990, 10, v1alpha1.BatchShards{Total: 4, Complete: 4}))
	b.Status.CompletionTime = &metav1.Time{Time: noon.Add(90 * time.Second)}
	events, err := changes(b, &b.Status, milestones{over: true}, func() bool { return false })
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	var got eventing.BatchCompleted
	if err := events[0].DataAs(&got); err != nil {
		t.Fatal(err)
	}
	want := eventing.BatchCompleted{
		BatchRun:   eventing.BatchRun{Batch: eventing.Ref{Namespace: namespace, Name: name}, UID: "b", Model: "ranker"},
		BatchItems: eventing.BatchItems{Succeeded: 990, Failed: 10}, Total: 1000, Since: noon.Add(90 * time.Second), Seconds: 90,
	}
	if got != want || events[0].Subject() != key {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// broker takes events, but for the first.
type broker struct{ got []string }

func (b *broker) Send(_ context.Context, e cloudevents.Event) error {
	b.got = append(b.got, e.Type())
	if len(b.got) == 1 {
		return errors.New("away")
	}
	return nil
}

// A Broker that takes one event not gets the next.
func TestNewsAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		n := newNews(b)
		ctx, cancel := context.WithCancel(t.Context())
		go n.run(ctx)
		for range 2 {
			n.tell(ctx, batch(observed, begun), &v1alpha1.BatchStatus{}, noon)
			n.tell(ctx, batch(observed, begun), &batch(observed, begun).Status, noon)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(b.got) != 2 {
			t.Errorf("got %v", b.got)
		}
	})
}
