package batch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	_ "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/configmap"
	rtesting "knative.dev/pkg/reconciler/testing"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	batchinformer "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/batch"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/batch/fake"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model/fake"
)

func TestNewController(t *testing.T) {
	ctx, _ := rtesting.SetupFakeContext(t)
	if NewController(worker, said{}, &broker{})(ctx, configmap.NewStaticWatcher()) == nil {
		t.Error("no controller")
	}
}

// A Model that comes, goes or gets an address is told to the runs that ask it, and what else
// becomes of it isn't.
func TestWhenModelChanges(t *testing.T) {
	ctx, _ := rtesting.SetupFakeContext(t)
	batches := batchinformer.Get(ctx)
	other := batch(func(b *v1alpha1.Batch) { b.Name, b.Spec.Model = "other", "bidder" })
	over := batch(func(b *v1alpha1.Batch) { b.Name = "over" }, planned, completed)
	for _, b := range []*v1alpha1.Batch{batch(), other, over} {
		if err := batches.Informer().GetIndexer().Add(b); err != nil {
			t.Fatal(err)
		}
	}
	var enqueued []string
	handler := whenModelChanges(batches.Lister(), func(b any) { enqueued = append(enqueued, b.(*v1alpha1.Batch).Name) })
	going := func(m *v1alpha1.Model) { m.DeletionTimestamp = &metav1.Time{Time: noon} }
	for what, test := range map[string]struct {
		change func()
		want   string
	}{
		"comes":            {func() { handler.OnAdd(model(), false) }, name},
		"goes":             {func() { handler.OnDelete(model()) }, name},
		"goes, unseen":     {func() { handler.OnDelete(cache.DeletedFinalStateUnknown{Key: "search/ranker", Obj: model()}) }, name},
		"gets an address":  {func() { handler.OnUpdate(model(unready), model()) }, name},
		"loses it":         {func() { handler.OnUpdate(model(), model(unready)) }, name},
		"is being deleted": {func() { handler.OnUpdate(model(), model(going)) }, name},
		"has more":         {func() { handler.OnUpdate(model(), model(func(m *v1alpha1.Model) { m.Status.ReadyReplicas = 3 })) }, ""},
		"of another name":  {func() { handler.OnAdd(modelNamed("judge"), false) }, ""},
	} {
		enqueued = nil
		test.change()
		if got := strings.Join(enqueued, " "); got != test.want {
			t.Errorf("a Model that %s: enqueued %q, want %q", what, got, test.want)
		}
	}
}

// What another Batch of the name was isn't what changed, nor is what was read anew.
func TestOnlyChangesOfOneBatchAreAnnounced(t *testing.T) {
	t.Parallel()
	recorder := record.NewFakeRecorder(10)
	handler := whenWritten(recorder)
	other := batch(func(b *v1alpha1.Batch) { b.UID = "another" }, begun)
	handler.OnAdd(batch(begun), true)
	handler.OnUpdate(batch(), other)
	handler.OnUpdate(batch(begun), batch(begun))
	handler.OnDelete(batch(begun))
	if len(recorder.Events) > 0 {
		t.Errorf("announced: %s", <-recorder.Events)
	}
	if handler.OnUpdate(batch(), batch(begun)); len(recorder.Events) != 1 {
		t.Errorf("%d events of what has changed", len(recorder.Events))
	}
}

// That a namespace goes is told to all of its Batches, those that are over among them.
func TestWhenNamespaceGoes(t *testing.T) {
	ctx, _ := rtesting.SetupFakeContext(t)
	batches := batchinformer.Get(ctx)
	over := batch(func(b *v1alpha1.Batch) { b.Name = "over" }, planned, completed)
	elsewhere := batch(func(b *v1alpha1.Batch) { b.Namespace = "ads" })
	for _, b := range []*v1alpha1.Batch{batch(), over, elsewhere} {
		if err := batches.Informer().GetIndexer().Add(b); err != nil {
			t.Fatal(err)
		}
	}
	var enqueued []string
	handler := whenNamespaceGoes(batches.Lister(), func(b any) {
		enqueued = append(enqueued, b.(*v1alpha1.Batch).Namespace+"/"+b.(*v1alpha1.Batch).Name)
	})
	for what, test := range map[string]struct {
		change func()
		want   string
	}{
		"goes":                 {func() { handler.OnUpdate(namespaceOf(), namespaceOf(going)) }, "search/nightly search/over"},
		"was going at startup": {func() { handler.OnAdd(namespaceOf(going), true) }, "search/nightly search/over"},
		"is there":             {func() { handler.OnAdd(namespaceOf(), false) }, ""},
		"changes":              {func() { handler.OnUpdate(namespaceOf(), namespaceOf()) }, ""},
		"has gone":             {func() { handler.OnDelete(namespaceOf(going)) }, ""},
	} {
		enqueued = nil
		test.change()
		slices.Sort(enqueued)
		if got := strings.Join(enqueued, " "); got != test.want {
			t.Errorf("a namespace that %s: enqueued %q, want %q", what, got, test.want)
		}
	}
}

// Of Batches that want one output, whichever of them have begun and whenever they were made, each
// but one finds another that comes first, and those that have begun hold back all others; so they
// don't wait for each other.
func TestOneComesFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all []*v1alpha1.Batch
		for i := range rapid.IntRange(1, 6).Draw(t, "batches") {
			all = append(all, batch(func(b *v1alpha1.Batch) {
				b.Name, b.UID = fmt.Sprint("b", i), types.UID(fmt.Sprint(i))
				// Seconds are all that Kubernetes keeps: some are made in the same.
				b.CreationTimestamp = metav1.NewTime(noon.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "second")) * time.Second))
			}))
		}
		begins := func(b *v1alpha1.Batch) bool {
			return !slices.ContainsFunc(all, func(other *v1alpha1.Batch) bool { return other != b && comesFirst(other, b) })
		}
		var first *v1alpha1.Batch
		for _, b := range all {
			if begins(b) && first != nil {
				t.Fatalf("%s and %s both begin", first.Name, b.Name)
			}
			if begins(b) {
				first = b
			}
		}
		if first == nil {
			t.Fatal("they wait for each other")
		}
		begun(first)
		for _, b := range all {
			if begins(b) != (b == first) {
				t.Fatalf("once %s has begun, %s may begin: %t", first.Name, b.Name, begins(b))
			}
		}
		first.Status.MarkFailed(noon, "InputMissing", "x")
		for _, b := range all {
			if b != first && comesFirst(first, b) {
				t.Fatalf("%s is over, and holds %s", first.Name, b.Name)
			}
		}
	})
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]int{"": 0, "0": 1, "1,3-5,7": 5, "0-999": 1000, "5-3": 0, "x,2": 1} {
		if got := indexes(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
}

// Each reason that a pod can end with, or that keeps one from starting, has a remedy that
// speaks of a Batch.
func TestRemedies(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{
		task.InputMissing, task.InputUnreadable, task.InputChanged, task.OutputInUse, task.OutputMissing, task.OutputUnsafe,
		task.StoreRefused, task.StoreAway, task.DiskFull, task.ModelAway, task.TooManyFailedItems, task.Interrupted,
	} {
		if remedies[reason] == "" {
			t.Errorf("%s has no remedy", reason)
		}
		if got := (outcome{exit: 1, report: task.Report{Reason: reason}}).reason(); got != reason {
			t.Errorf("%s is told as %s", reason, got)
		}
	}
	for _, reason := range []string{
		obstacle.SecretMissing, obstacle.ConfigMapMissing, obstacle.VolumeClaimMissing, obstacle.VolumeClaimPending, obstacle.VolumeNotMounted,
		obstacle.ServiceAccountMissing, obstacle.ImageMissing, obstacle.ImageForOtherPlatform, obstacle.ImageNameInvalid, obstacle.ImageAccessDenied,
		obstacle.RegistryUnreachable, obstacle.ImagePullFailed, obstacle.RunsAsRoot, obstacle.ContainerCannotStart, obstacle.ContainerExited,
		obstacle.OOMKilled, obstacle.QuotaExceeded, obstacle.ResourcesUnset, obstacle.OutOfLimitRange, obstacle.PodSecurityViolation,
		obstacle.PodRefused, obstacle.InsufficientResources, obstacle.NoNodeFits, obstacle.PodTurnedAway,
	} {
		got := remedyOf(&obstacle.Obstacle{Reason: reason, Remedy: "Correct spec.container.image of the replica."})
		if got == "" || strings.Contains(got, "spec.container") || strings.Contains(got, "replica") {
			t.Errorf("the remedy of %s is %q", reason, got)
		}
	}
}

// What a pod ended with is read as far as it says it, and what is repeated of it has bounds.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	oom := func(p *corev1.Pod) {
		ended(137, "")(p)
		p.Status.ContainerStatuses[0].State.Terminated.Reason = "OOMKilled"
	}
	evicted := func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Reason, p.Status.ContainerStatuses = corev1.PodFailed, "Evicted", nil
	}
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		reason  string
		message string // its beginning
	}{
		"a reason":            {pod(workJob(), "a", ended(1, `{"reason":"DiskFull","message":"no space left"}`)), "DiskFull", "no space left. Give what is full more room: the output's volume or bucket, the nodes' disks, or the run's pods"},
		"no more memory":      {pod(workJob(), "a", oom), "OOMKilled", "Pod nightly-work-a ended with exit code 137, OOMKilled. Raise memory"},
		"evicted":             {pod(workJob(), "a", evicted), "WorkerFailed", "Pod nightly-work-a was ended by its node, Evicted."},
		"a reason of its own": {pod(workJob(), "a", ended(1, `{"reason":"<script>","message":"x"}`)), "WorkerFailed", "x. See the log"},
		"its last lines":      {pod(workJob(), "a", ended(2, "panic:\n\tnil map")), "WorkerFailed", "panic: nil map. See the log"},
		"no end to it":        {pod(workJob(), "a", ended(2, strings.Repeat("é", 4096))), "WorkerFailed", "ééé"},
	} {
		o, ok := outcomeOf(test.pod)
		if !ok || o.reason() != test.reason || !strings.HasPrefix(o.sentence(), test.message) || len(o.sentence()) > longestSaid+200 {
			t.Errorf("%s: %t, %s: %s", name, ok, o.reason(), o.sentence())
		}
	}
	if o, ok := outcomeOf(pod(workJob(), "a", running)); ok {
		t.Errorf("one that runs ended with %+v", o)
	}
}

// Of two pods that worked on one shard, one counts; one that said nothing doesn't.
func TestSuccesses(t *testing.T) {
	t.Parallel()
	got := successes([]*corev1.Pod{
		pod(workJob(), "b", shard(0), ended(0, `{"succeeded":9}`)), pod(workJob(), "a", shard(0), ended(0, `{"succeeded":9}`)),
		pod(workJob(), "c", shard(1), ended(0, "")), pod(workJob(), "d", shard(2), ended(1, `{"succeeded":4,"reason":"StoreAway"}`)),
		pod(workJob(), "e", shard(3), running),
	})
	if len(got) != 1 || got["0"].Succeeded != 9 {
		t.Errorf("got %v", got)
	}
}

// What made no pods counts until one is made.
func TestRefusal(t *testing.T) {
	t.Parallel()
	at := func(reason string, seconds int) corev1.Event {
		e := *event(reason, "Error creating: pods \"x\" is forbidden: exceeded quota", "nightly-work")
		e.LastTimestamp = metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
		return e
	}
	if got := refusal([]corev1.Event{at("SuccessfulCreate", 1), at("FailedCreate", 2)}); !strings.HasPrefix(got.Message, "pods ") {
		t.Errorf("the last of them was refused, got %+v", got)
	}
	if got := refusal([]corev1.Event{at("FailedCreate", 1), at("SuccessfulCreate", 2)}); got.Reason != "" {
		t.Errorf("the last of them was made, got %+v", got)
	}
}

// What is kept of a run's pods is what is read of them; a Job is kept whole, as it is written
// back.
func TestSlim(t *testing.T) {
	t.Parallel()
	p := pod(workJob(), "a", shard(0), ended(0, `{"succeeded":9}`))
	p.Annotations, p.ManagedFields = map[string]string{"a": "b"}, []metav1.ManagedFieldsEntry{{}}
	p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: task.Variable, Value: strings.Repeat("x", 1000)}}
	kept, err := slim(p)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := outcomeOf(kept.(*corev1.Pod)); !ok || o.report.Succeeded != 9 || o.shard != "0" {
		t.Errorf("what it ended with is lost: %+v", o)
	}
	if p.Annotations != nil || p.ManagedFields != nil || len(p.Spec.Containers[0].Env) > 0 {
		t.Errorf("too much is kept: %+v", p)
	}
	job := workJob()
	job.Labels[sluice.BatchLabelKey] = name
	if kept, err := slim(job); err != nil || len(kept.(*batchv1.Job).Spec.Template.Spec.Containers) != 1 {
		t.Errorf("got %v, %v", kept, err)
	}
}
