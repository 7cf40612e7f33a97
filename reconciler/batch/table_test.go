package batch

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	fakekubeclient "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	"knative.dev/pkg/reconciler"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/batch/resources"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	fakesluiceclient "sluice.dev/sluice/reconciler/client/injection/client/fake"
	batchreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/batch"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

const (
	namespace = "search"
	name      = "nightly"
	key       = namespace + "/" + name
	address   = "http://ranker.search.svc.cluster.local"
)

var (
	noon   = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	worker = resources.Worker{Image: "registry.example.com/batch-worker@sha256:0", Credits: "http://batch.sluice-system.svc"}
)

func TestReconcile(t *testing.T) {
	slices.Concat(startRows(), planRows(), workRows(), holdRows(), endRows(), jobRows(), progressRows()).Test(t, factory)
}

// startRows take a Batch to where it has begun.
func startRows() rtesting.TableTest {
	older := func(b *v1alpha1.Batch) {
		b.Name, b.UID, b.CreationTimestamp = "older", "o", metav1.NewTime(noon.Add(-2*time.Hour))
	}
	inUse := waits("OutputInUse", `Batch "older" writes to the same place. Give this one an output of its own (spec.output).`)
	return rtesting.TableTest{{
		Name: "bad key",
		Key:  "too/many/parts",
	}, {
		Name: "gone",
		Key:  key,
	}, {
		Name:    "being deleted",
		Key:     key,
		Objects: []runtime.Object{batch(func(b *v1alpha1.Batch) { b.DeletionTimestamp = &metav1.Time{Time: noon} })},
	}, {
		Name:              "that it begins is written before anything is made of it",
		Key:               key,
		Objects:           []runtime.Object{batch(), model()},
		WantStatusUpdates: status(batch(observed, begun, starting)),
		WantEvents:        []string{normal("Started", "The run has begun")},
	}, {
		Name:              "what couldn't be written isn't announced",
		Key:               key,
		Objects:           []runtime.Object{batch(), model()},
		OtherTestData:     map[string]any{"refused": apierrs.NewBadRequest("read only")},
		WantErr:           true,
		WantStatusUpdates: status(batch(observed, begun, starting)),
		WantEvents:        []string{warning("UpdateFailed", `Failed to update status for "nightly": read only`)},
	}, {
		Name:              "suspended from the beginning, it hasn't begun",
		Key:               key,
		Objects:           []runtime.Object{batch(suspended), model()},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(suspended, observed, waits("Suspended", "spec.suspend is true: the run has no pods. Set it to false, and it goes on."))),
		WantEvents:        []string{normal("Suspended", "spec.suspend is true: the run has no pods. Set it to false, and it goes on.")},
	}, {
		Name:              "without its Model",
		Key:               key,
		Objects:           []runtime.Object{batch(), modelNamed("bidder")},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, waits("ModelMissing", `There is no Model "ranker" in namespace "search". Create it, or correct spec.model.`))),
		WantEvents:        []string{warning("ModelMissing", `There is no Model "ranker" in namespace "search". Create it, or correct spec.model.`)},
	}, {
		Name:              "with a Model of another namespace, which is none of its own",
		Key:               key,
		Objects:           []runtime.Object{batch(), model(func(m *v1alpha1.Model) { m.Namespace = "ads" })},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, waits("ModelMissing", `There is no Model "ranker" in namespace "search". Create it, or correct spec.model.`))),
		WantEvents:        []string{warning("ModelMissing", `There is no Model "ranker" in namespace "search". Create it, or correct spec.model.`)},
	}, {
		Name:              "with its Model misspelt",
		Key:               key,
		Objects:           []runtime.Object{batch(), modelNamed("rankers")},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, waits("ModelMissing", `There is no Model "ranker" in namespace "search". Did you mean "rankers"? Correct spec.model, or create the Model.`))),
		WantEvents:        []string{warning("ModelMissing", `There is no Model "ranker" in namespace "search". Did you mean "rankers"? Correct spec.model, or create the Model.`)},
	}, {
		Name:              "with a Model that has no address yet",
		Key:               key,
		Objects:           []runtime.Object{batch(), model(unready)},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, waits("ModelNotReady", `Model "ranker" has no address yet. It says ImageMissing: No such image.`))),
		WantEvents:        []string{warning("ModelNotReady", `Model "ranker" has no address yet. It says ImageMissing: No such image.`)},
	}, {
		Name:              "with the output of one that came first",
		Key:               key,
		Objects:           []runtime.Object{batch(), model(), batch(older)},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, inUse)),
		WantEvents:        []string{warning("OutputInUse", `Batch "older" writes to the same place. Give this one an output of its own (spec.output).`)},
	}, {
		Name: "with the output of one that is over, of which the plan will tell",
		Key:  key,
		Objects: []runtime.Object{batch(), model(), batch(older, func(b *v1alpha1.Batch) {
			b.Status.MarkFailed(noon, "InputMissing", "x")
		})},
		WantStatusUpdates: status(batch(observed, begun, starting)),
		WantEvents:        []string{normal("Started", "The run has begun")},
	}, {
		Name:          "that the webhook would refuse, and wasn't asked about",
		Key:           key,
		Objects:       []runtime.Object{batch(func(b *v1alpha1.Batch) { b.Spec.Request.Path = "score" }), model()},
		OtherTestData: looksAgain(lookAgain),
		WantStatusUpdates: status(batch(func(b *v1alpha1.Batch) { b.Spec.Request.Path = "score" }, observed,
			waits("Invalid", `Correct the Batch: invalid value: must be a path that begins with /, with or without a query, is "score": spec.request.path.`))),
		WantEvents: []string{warning("Invalid", `Correct the Batch: invalid value: must be a path that begins with /, with or without a query, is "score": spec.request.path.`)},
	}}
}

// planRows take it to where its input is divided.
func planRows() rtesting.TableTest {
	secretMissing := `A volume of pod nightly-plan-x can't be mounted: MountVolume.SetUp failed for volume "input-credentials": secret "store" not found. ` +
		"Create the Secret, with the keys accessKeyID and secretAccessKey or, for Kafka, username and password, in the Batch's namespace, or correct what names it in spec.input or spec.output."
	quota := `No pod can be made: exceeded quota: team, requested: pods=1, used: pods=5, limited: pods=5. ` +
		"Ask for less in spec.resources, or for fewer pods in spec.workers, or have the namespace's ResourceQuota raised."
	inUse := "The input couldn't be planned: runs/1 is another's. Give the Batch an output of its own (spec.output), or remove what is there. Then create the Batch again, with an output of its own."
	noTopic := "The input couldn't be planned: there is no topic clicks. Correct spec.input, or put there what it names. Then create the Batch again."
	return rtesting.TableTest{{
		Name:          "its Job is made",
		Key:           key,
		Objects:       []runtime.Object{batch(observed, begun, starting), model()},
		OtherTestData: looksAgain(lookAgain),
		WantCreates:   []runtime.Object{planJob()},
	}, {
		Name:              "its pod reads",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, starting), model(), planJob(), pod(planJob(), "x", running)},
		WantStatusUpdates: status(batch(observed, begun, planning)),
	}, {
		Name: "a Secret that isn't there",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, starting), model(), planJob(), pod(planJob(), "x", pending),
			event("FailedMount", `MountVolume.SetUp failed for volume "input-credentials": secret "store" not found`, "nightly-plan-x")},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, begun, waits("SecretMissing", secretMissing))),
		WantEvents:        []string{warning("SecretMissing", secretMissing)},
	}, {
		Name: "no pod by a quota",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, starting), model(), planJob(),
			event("FailedCreate", `Error creating: pods "nightly-plan-x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=5, limited: pods=5`, "nightly-plan")},
		OtherTestData:     looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, begun, waits("QuotaExceeded", quota))),
		WantEvents:        []string{warning("QuotaExceeded", quota)},
	}, {
		Name: "the store is away, and it is tried again",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(),
			pod(planJob(), "x", ended(1, `{"reason":"StoreAway","message":"dial tcp: connection refused"}`))},
		OtherTestData: looksAgain(lookAgain),
		WantStatusUpdates: status(batch(observed, begun, waits("StoreAway",
			"dial tcp: connection refused. Have the store seen to, or correct its endpoint, or bootstrapServers and tls; the run's pods have to reach it. It is tried again on its own."))),
		WantEvents: []string{warning("StoreAway",
			"dial tcp: connection refused. Have the store seen to, or correct its endpoint, or bootstrapServers and tls; the run's pods have to reach it. It is tried again on its own.")},
	}, {
		Name: "planned, and worked on at once, before its Job is said to be over",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(),
			pod(planJob(), "x", ended(0, `{"items":1000,"parts":4,"shards":4}`))},
		OtherTestData:     looksAgain(followEvery, lookAgain),
		WantCreates:       []runtime.Object{workJob()},
		WantStatusUpdates: status(batch(observed, begun, planned, starting, progressed(0, 0, v1alpha1.BatchShards{Total: 4}))),
		WantEvents:        []string{normal("Planned", "The input has 1000 items, in 4 shards")},
	}, {
		Name: "planned while it is held",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning, suspended), model(), planJob(),
			pod(planJob(), "x", ended(0, `{"items":1000,"parts":4,"shards":4}`))},
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: planJob(suspendedJob)}},
		WantStatusUpdates: status(batch(observed, begun, planned, waits("Suspended", "spec.suspend is true: the run has no pods. Set it to false, and it goes on."), seenNow, suspended)),
		WantEvents: []string{normal("Planned", "The input has 1000 items, in 4 shards"),
			normal("Suspended", "spec.suspend is true: the run has no pods. Set it to false, and it goes on.")},
	}, {
		Name: "what its pod found is on its way",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(complete, func(j *batchv1.Job) {
			j.Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon)
		}), pod(planJob(), "x", running)},
		OtherTestData: looksAgain(reportsWithin),
	}, {
		Name:        "its pod has gone with what it found, and it is planned again",
		Key:         key,
		Objects:     []runtime.Object{batch(observed, begun, planning), model(), planJob(complete)},
		WantDeletes: []clientgotesting.DeleteActionImpl{deletion("nightly-plan")},
	}, {
		Name: "no items",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(complete),
			pod(planJob(), "x", ended(0, `{}`))},
		WantStatusUpdates: status(batch(observed, begun, failed("NoItems",
			"The input has no items. Put some there, or correct spec.input. Then create the Batch again, with an output of its own."))),
		WantEvents: []string{warning("NoItems",
			"The input has no items. Put some there, or correct spec.input. Then create the Batch again, with an output of its own.")},
	}, {
		Name: "a plan that can't be",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(complete),
			pod(planJob(), "x", ended(0, `{"items":3,"shards":2000000}`))},
		WantStatusUpdates: status(batch(observed, begun, failed("WorkerFailed", "The pod that planned the run tells of 3 items in 2000000 shards, which can't be. "+
			"See the log of its pod (kubectl logs). Then create the Batch again, with an output of its own."))),
		WantEvents: []string{warning("WorkerFailed", "The pod that planned the run tells of 3 items in 2000000 shards, which can't be. "+
			"See the log of its pod (kubectl logs). Then create the Batch again, with an output of its own.")},
	}, {
		Name: "an output that is another's",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(failedJob("PodFailurePolicy")),
			pod(planJob(), "a", ended(1, `{"reason":"StoreAway","message":"away"}`)),
			pod(planJob(), "b", ended(3, `{"reason":"OutputInUse","message":"runs/1 is another's"}`))},
		WantStatusUpdates: status(batch(observed, begun, failed("OutputInUse", inUse))),
		WantEvents:        []string{warning("OutputInUse", inUse)},
	}, {
		Name: "a topic that isn't there, to be run again with the same output",
		Key:  key,
		Objects: []runtime.Object{batch(ofTopics, observed, begun, planning), model(), planJob(failedJob("PodFailurePolicy")),
			pod(planJob(), "a", ended(3, `{"reason":"InputMissing","message":"there is no topic clicks"}`))},
		WantStatusUpdates: status(batch(ofTopics, observed, begun, failed("InputMissing", noTopic))),
		WantEvents:        []string{warning("InputMissing", noTopic)},
	}, {
		Name: "a pod that says nothing that is known isn't repeated",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planning), model(), planJob(failedJob("BackoffLimitExceeded")),
			pod(planJob(), "x", ended(2, "panic: nil map"))},
		WantStatusUpdates: status(batch(observed, begun, failed("WorkerFailed",
			"The input couldn't be planned: panic: nil map. See the log of its pod (kubectl logs). Then create the Batch again, with an output of its own."))),
		WantEvents: []string{warning("WorkerFailed",
			"The input couldn't be planned: panic: nil map. See the log of its pod (kubectl logs). Then create the Batch again, with an output of its own.")},
	}}
}

// ofTopics has a Batch read a topic and write to one.
func ofTopics(b *v1alpha1.Batch) {
	at := func(topic string) v1alpha1.BatchKafkaTopic {
		return v1alpha1.BatchKafkaTopic{BootstrapServers: []string{"kafka:9092"}, Topic: topic}
	}
	b.Spec.Input = v1alpha1.BatchInput{Kafka: &v1alpha1.BatchKafkaInput{BatchKafkaTopic: at("clicks")}}
	b.Spec.Output = v1alpha1.BatchOutput{Kafka: &v1alpha1.BatchKafkaOutput{BatchKafkaTopic: at("scores")}}
}

// workRows take it from there to its end.
func workRows() rtesting.TableTest {
	at := func(done int32) func(*v1alpha1.Batch) {
		return progressed(int64(done)*250-int64(done), int64(done), v1alpha1.BatchShards{Total: 4, Complete: done, Active: 2})
	}
	shards := func(n int) []runtime.Object {
		var out []runtime.Object
		for i := range n {
			out = append(out, pod(workJob(), fmt.Sprint(i), shard(i), ended(0, `{"succeeded":249,"failed":1}`)))
		}
		return out
	}
	with := func(objects []runtime.Object, more ...runtime.Object) []runtime.Object {
		return append(more, objects...)
	}
	seconds := func(ago int) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) {
			b.Status.ProgressTime = &metav1.MicroTime{Time: noon.Add(-time.Duration(ago) * time.Second)}
		}
	}
	bound := func(n int64) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) { b.Spec.MaxFailedItems = &n }
	}
	tooMany := "2 items have failed, and 1 may (spec.maxFailedItems). See the errors in the output, mend what they tell of, or raise spec.maxFailedItems. Then create the Batch again, with an output of its own."
	givenUp := "2 of 4 shards were given up (1,3), the others are in the output: 503 for 10m0s. See the Model's conditions (kubectl describe model). Then create the Batch again, with an output of its own."
	missing := "All shards are complete, and of 1000 items 996 are in the output or among its errors. Something else may have written there; keep it from that. Then create the Batch again, with an output of its own."
	return rtesting.TableTest{{
		Name:              "its pods ask",
		Key:               key,
		OtherTestData:     looksAgain(followEvery),
		Objects:           with(nil, batch(observed, begun, planned, starting, at(0), seconds(1)), model(), workJob(active(2, "")), pod(workJob(), "0", shard(0), running)),
		WantStatusUpdates: status(batch(observed, begun, planned, working, at(0), seconds(1))),
	}, {
		Name:          "the one that works has ended well, and its pod doesn't say so yet",
		Key:           key,
		OtherTestData: looksAgain(followEvery, lookAgain),
		Objects:       with(nil, batch(observed, begun, planned, working, at(0), seconds(1)), model(), workJob(active(2, "")), pod(workJob(), "0", shard(0), ended(0, ""), behind)),
	}, {
		Name:              "a shard is complete",
		Key:               key,
		OtherTestData:     looksAgain(followEvery),
		Objects:           with(shards(1), batch(observed, begun, planned, working, at(0), seconds(5)), model(), workJob(active(2, "0")), pod(workJob(), "1", shard(1), running)),
		WantStatusUpdates: status(batch(observed, begun, planned, working, at(1), seconds(0))),
	}, {
		Name:          "which was written a moment ago",
		Key:           key,
		Objects:       with(shards(2), batch(observed, begun, planned, working, at(1), seconds(2)), model(), workJob(active(2, "0,1")), pod(workJob(), "2", shard(2), running)),
		OtherTestData: looksAgain(followEvery, 3*time.Second),
	}, {
		Name:          "a pod has gone with its report, and what was known stays",
		Key:           key,
		OtherTestData: looksAgain(followEvery),
		Objects: with(shards(1), batch(observed, begun, planned, working, at(2), seconds(9)), model(), workJob(active(2, "0-2")),
			pod(workJob(), "3", shard(3), running)),
		WantStatusUpdates: status(batch(observed, begun, planned, working, at(2), seconds(0), func(b *v1alpha1.Batch) { b.Status.Shards.Complete = 3 })),
	}, {
		Name:          "more workers",
		Key:           key,
		OtherTestData: looksAgain(followEvery),
		Objects:       with(nil, batch(observed, begun, planned, working, at(0), workers(3)), model(), workJob(active(2, "")), pod(workJob(), "0", shard(0), running)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: workJob(active(2, ""), func(j *batchv1.Job) {
			j.Spec.Parallelism = ptr(int32(3))
		})}},
	}, {
		Name:              "complete",
		Key:               key,
		Objects:           with(shards(4), batch(observed, begun, planned, working, at(3), seconds(1)), model(), planJob(complete), workJob(complete, active(0, "0-3"))),
		WantStatusUpdates: status(batch(observed, begun, planned, completed, progressed(996, 4, v1alpha1.BatchShards{Total: 4, Complete: 4}), seconds(0))),
		WantEvents:        []string{normal("Completed", "Each item is in the output or among its errors.")},
	}, {
		Name:              "complete, and its Job is yet to say so",
		Key:               key,
		Objects:           with(shards(4), batch(observed, begun, planned, working, at(3), seconds(1)), model(), planJob(complete), workJob(active(2, "0-1"))),
		WantStatusUpdates: status(batch(observed, begun, planned, completed, progressed(996, 4, v1alpha1.BatchShards{Total: 4, Complete: 4}), seconds(0))),
		WantEvents:        []string{normal("Completed", "Each item is in the output or among its errors.")},
	}, {
		Name: "complete, and what its last pod said is on its way",
		Key:  key,
		Objects: with(shards(3), batch(observed, begun, planned, working, at(3), seconds(1)), model(), pod(workJob(), "3", shard(3), running),
			workJob(complete, active(2, "0-3"), func(j *batchv1.Job) { j.Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon) })),
		OtherTestData: looksAgain(reportsWithin, 4*time.Second),
	}, {
		Name:    "complete, and a pod has gone with what it said",
		Key:     key,
		Objects: with(shards(3), batch(observed, begun, planned, working, at(3), seconds(1)), model(), workJob(complete, active(0, "0-3"))),
		WantStatusUpdates: status(batch(observed, begun, planned, completed, at(3), seconds(0), func(b *v1alpha1.Batch) {
			b.Status.Shards = &v1alpha1.BatchShards{Total: 4, Complete: 4}
		})),
		WantEvents: []string{normal("Completed", "Each item is in the output or among its errors.")},
	}, {
		Name: "complete, and items are missing",
		Key:  key,
		Objects: with(shards(3), batch(observed, begun, planned, working, at(3), seconds(1)), model(), workJob(complete, active(0, "0-3")),
			pod(workJob(), "3", shard(3), ended(0, `{"succeeded":246}`))),
		WantStatusUpdates: status(batch(observed, begun, planned, failed("ItemsMissing", missing), progressed(993, 3, v1alpha1.BatchShards{Total: 4, Complete: 4}), seconds(0))),
		WantEvents:        []string{warning("ItemsMissing", missing)},
	}, {
		Name: "more items have failed than may, and it is stopped",
		Key:  key,
		Objects: with(shards(2), batch(observed, begun, planned, working, at(1), seconds(1), bound(1)), model(), planJob(complete), workJob(active(2, "0,1")),
			pod(workJob(), "2", shard(2), running)),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob(active(2, "0,1"), suspendedJob)}},
		WantStatusUpdates: status(batch(observed, begun, planned, failed("TooManyFailedItems", tooMany), at(2), seconds(0), bound(1))),
		WantEvents:        []string{warning("TooManyFailedItems", tooMany)},
	}, {
		Name: "shards that are given up",
		Key:  key,
		Objects: with([]runtime.Object{
			pod(workJob(), "0", shard(0), ended(0, `{"succeeded":250}`)), pod(workJob(), "2", shard(2), ended(0, `{"succeeded":250}`)),
			pod(workJob(), "1", shard(1), ended(1, `{"reason":"ModelAway","message":"503 for 10m0s"}`)),
			pod(workJob(), "3", shard(3), ended(1, `{"reason":"Interrupted","message":"told to end"}`)),
		}, batch(observed, begun, planned, working, at(0), seconds(9)), model(), workJob(failedJob("FailedIndexes"), active(0, "0,2"), func(j *batchv1.Job) {
			j.Status.FailedIndexes = ptr("1,3")
		})),
		WantStatusUpdates: status(batch(observed, begun, planned, failed("ModelAway", givenUp), progressed(500, 0, v1alpha1.BatchShards{Total: 4, Complete: 2, Failed: 2}), seconds(0))),
		WantEvents:        []string{warning("ModelAway", givenUp)},
	}}
}

// holdRows stop a run that has begun, and let it go on.
func holdRows() rtesting.TableTest {
	gone := `There is no Model "ranker" in namespace "search". Create it again, and the run goes on where it was; or delete the Batch.`
	const off = "spec.suspend is true: the run has no pods. Set it to false, and it goes on."
	const secretMissing = `A volume of pod nightly-work-1 can't be mounted: MountVolume.SetUp failed for volume "input-credentials": secret "store" not found. ` +
		"Create the Secret, with the keys accessKeyID and secretAccessKey or, for Kafka, username and password, in the Batch's namespace, or correct what names it in spec.input or spec.output."
	const diskFull = "writing run/results/0: no space left on device. Give what is full more room: the output's volume or bucket, the nodes' disks, " +
		"or the run's pods (spec.resources.limits[ephemeral-storage]). It is tried again on its own."
	none := progressed(0, 0, v1alpha1.BatchShards{Total: 4})
	return rtesting.TableTest{{
		Name:              "suspended",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, working, none, suspended), model(), workJob(), pod(workJob(), "0", shard(0), running)},
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob(suspendedJob)}},
		WantStatusUpdates: status(batch(observed, begun, planned, waits("Suspended", off), none, suspended)),
		WantEvents:        []string{normal("Suspended", off)},
	}, {
		Name:              "and again at work",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, waits("Suspended", off), none), model(), workJob(suspendedJob)},
		OtherTestData:     looksAgain(followEvery, lookAgain),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob()}},
		WantStatusUpdates: status(batch(observed, begun, planned, starting, none)),
		WantEvents:        []string{normal("Resumed", "The run goes on")},
	}, {
		Name:              "its Model is deleted in the middle",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, working, none), workJob(), pod(workJob(), "0", shard(0), running)},
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob(suspendedJob)}},
		WantStatusUpdates: status(batch(observed, begun, planned, waits("ModelMissing", gone), none)),
		WantEvents:        []string{warning("ModelMissing", gone)},
	}, {
		Name:              "its Model is made again",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, waits("ModelMissing", gone), none), model(), workJob(suspendedJob)},
		OtherTestData:     looksAgain(followEvery, lookAgain),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob()}},
		WantStatusUpdates: status(batch(observed, begun, planned, starting, none)),
		WantEvents:        []string{normal("Resumed", "The run goes on")},
	}, {
		Name: "its Secret is deleted in the middle, and the next pod waits",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planned, working, none), model(), workJob(), pod(workJob(), "1", shard(1), pending),
			event("FailedMount", `MountVolume.SetUp failed for volume "input-credentials": secret "store" not found`, "nightly-work-1")},
		OtherTestData:     looksAgain(followEvery, lookAgain),
		WantStatusUpdates: status(batch(observed, begun, planned, waits("SecretMissing", secretMissing), none)),
		WantEvents:        []string{warning("SecretMissing", secretMissing)},
	}, {
		Name: "a disk is full, and it is tried again",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planned, working, none), model(), workJob(),
			pod(workJob(), "1", shard(1), ended(1, `{"reason":"DiskFull","message":"writing run/results/0: no space left on device"}`))},
		OtherTestData:     looksAgain(followEvery, lookAgain),
		WantStatusUpdates: status(batch(observed, begun, planned, waits("DiskFull", diskFull), none)),
		WantEvents:        []string{warning("DiskFull", diskFull)},
	}, {
		Name:              "while it is planned",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planning), planJob(), pod(planJob(), "x", running)},
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: planJob(suspendedJob)}},
		WantStatusUpdates: status(batch(observed, begun, waits("ModelMissing", gone))),
		WantEvents:        []string{warning("ModelMissing", gone)},
	}, {
		Name:              "before anything was made",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, starting)},
		WantStatusUpdates: status(batch(observed, begun, waits("ModelMissing", gone))),
		WantEvents:        []string{warning("ModelMissing", gone)},
	}, {
		Name: "what is complete while it is suspended is complete",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planned, waits("Suspended", off), none, suspended), model(),
			workJob(complete, active(0, "0-3"))},
		WantStatusUpdates: status(batch(observed, begun, planned, completed, suspended, seenNow, progressed(0, 0, v1alpha1.BatchShards{Total: 4, Complete: 4}))),
		WantEvents:        []string{normal("Completed", "Each item is in the output or among its errors.")},
	}}
}

// endRows are about what has an end.
func endRows() rtesting.TableTest {
	deadline := func(after time.Duration) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) { b.Spec.Deadline = &metav1.Duration{Duration: after} }
	}
	ttl := func(after time.Duration) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) { b.Spec.TTLAfterFinished = &metav1.Duration{Duration: after} }
	}
	none := progressed(0, 0, v1alpha1.BatchShards{Total: 4})
	anHourAgo := func(b *v1alpha1.Batch) { b.Status.StartTime = &metav1.Time{Time: noon.Add(-time.Hour)} }
	late := "The run wasn't over 1h0m0s after its start (spec.deadline). What it wrote stays. Give another Batch, with an output of its own, more time or its Model more replicas."
	const noInput = "The input couldn't be planned: there is no rows.jsonl. Correct spec.input, or put there what it names. Then create the Batch again, with an output of its own."
	const givenUp = "1 of 4 shards were given up (3), the others are in the output: 503 for 10m0s. See the Model's conditions (kubectl describe model). Then create the Batch again, with an output of its own."
	allEnded := func(changes ...func(*corev1.Pod)) (pods []runtime.Object) {
		for i := range 4 {
			pods = append(pods, pod(workJob(), fmt.Sprint(i), append([]func(*corev1.Pod){shard(i), ended(0, `{"succeeded":250}`)}, changes...)...))
		}
		return pods
	}
	resting := func(changes ...func(*v1alpha1.Batch)) *v1alpha1.Batch {
		return batch(append([]func(*v1alpha1.Batch){observed, begun, planned, completed, none}, changes...)...)
	}
	return rtesting.TableTest{{
		Name:          "a deadline that is to come",
		Key:           key,
		Objects:       []runtime.Object{batch(observed, anHourAgo, planned, working, none, deadline(90*time.Minute)), model(), workJob(), pod(workJob(), "0", shard(0), running)},
		OtherTestData: looksAgain(30*time.Minute, followEvery),
	}, {
		Name:              "a deadline that has passed",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, anHourAgo, planned, working, none, deadline(time.Hour)), model(), planJob(complete), workJob()},
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob(suspendedJob)}},
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, failed("DeadlineExceeded", late), none, deadline(time.Hour))),
		WantEvents:        []string{warning("DeadlineExceeded", late)},
	}, {
		Name: "a deadline that has passed since all items were in the output",
		Key:  key,
		Objects: append(allEnded(), batch(observed, anHourAgo, planned, working, none, deadline(time.Hour)), model(), planJob(complete),
			workJob(complete, active(0, "0-3"))),
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, completed, progressed(1000, 0, v1alpha1.BatchShards{Total: 4, Complete: 4}), deadline(time.Hour))),
		WantEvents:        []string{normal("Completed", "Each item is in the output or among its errors.")},
	}, {
		Name: "a deadline that has passed since, without the Model",
		Key:  key,
		Objects: append(allEnded(), batch(observed, anHourAgo, planned, working, none, deadline(time.Hour)), planJob(complete),
			workJob(complete, active(0, "0-3"))),
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, completed, progressed(1000, 0, v1alpha1.BatchShards{Total: 4, Complete: 4}), deadline(time.Hour))),
		WantEvents:        []string{normal("Completed", "Each item is in the output or among its errors.")},
	}, {
		Name: "a deadline that passes before the Job says that its pods have ended",
		Key:  key,
		Objects: append(allEnded(behind), batch(observed, anHourAgo, planned, working, deadline(time.Hour), none), model(), planJob(complete),
			workJob(active(1, "0-2"))),
		OtherTestData: looksAgain(followEvery, lookAgain, 5*time.Second),
	}, {
		Name: "a deadline that passes while a shard is left",
		Key:  key,
		Objects: append(allEnded()[:3], batch(observed, anHourAgo, planned, working, none, deadline(time.Hour)), model(), planJob(complete),
			workJob(active(1, "0-2")), pod(workJob(), "3", shard(3), running)),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: workJob(active(1, "0-2"), suspendedJob)}},
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, failed("DeadlineExceeded", late), none, deadline(time.Hour))),
		WantEvents:        []string{warning("DeadlineExceeded", late)},
	}, {
		Name: "a deadline that has passed since shards were given up",
		Key:  key,
		Objects: append(allEnded()[:3], batch(observed, anHourAgo, planned, working, none, deadline(time.Hour)), model(), planJob(complete),
			workJob(failedJob("FailedIndexes"), active(0, "0-2"), func(j *batchv1.Job) { j.Status.FailedIndexes = ptr("3") }),
			pod(workJob(), "3", shard(3), ended(1, `{"reason":"ModelAway","message":"503 for 10m0s"}`))),
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, failed("ModelAway", givenUp), progressed(750, 0, v1alpha1.BatchShards{Total: 4, Complete: 3, Failed: 1}),
			deadline(time.Hour))),
		WantEvents: []string{warning("ModelAway", givenUp)},
	}, {
		Name: "a deadline that has passed since the input couldn't be planned",
		Key:  key,
		Objects: []runtime.Object{batch(observed, anHourAgo, planning, deadline(time.Hour)), model(), planJob(failedJob("PodFailurePolicy")),
			pod(planJob(), "x", ended(3, `{"reason":"InputMissing","message":"there is no rows.jsonl"}`))},
		WantStatusUpdates: status(batch(observed, anHourAgo, failed("InputMissing", noInput), deadline(time.Hour))),
		WantEvents:        []string{warning("InputMissing", noInput)},
	}, {
		Name: "a deadline that has passed since it was planned",
		Key:  key,
		Objects: []runtime.Object{batch(observed, anHourAgo, planning, deadline(time.Hour)), model(), planJob(complete),
			pod(planJob(), "x", ended(0, `{"items":1000,"parts":4,"shards":4}`))},
		WantStatusUpdates: status(batch(observed, anHourAgo, planned, failed("DeadlineExceeded", late), deadline(time.Hour), seenNow)),
		WantEvents:        []string{normal("Planned", "The input has 1000 items, in 4 shards"), warning("DeadlineExceeded", late)},
	}, {
		Name: "its namespace is deleted in the middle, and its Jobs go before their pods",
		Key:  key,
		Objects: []runtime.Object{batch(observed, begun, planned, working, none), model(), planJob(complete), workJob(),
			pod(workJob(), "0", shard(0), ended(1, `{"reason":"Interrupted"}`)), namespaceOf(going)},
		WantDeletes: []clientgotesting.DeleteActionImpl{deletion("nightly-plan"), deletion("nightly-work")},
	}, {
		Name:        "and those of one that is over and was stopped",
		Key:         key,
		Objects:     []runtime.Object{batch(observed, begun, planned, failed("TooManyFailedItems", "x"), none), model(), workJob(suspendedJob), namespaceOf(going)},
		WantDeletes: []clientgotesting.DeleteActionImpl{deletion("nightly-work")},
	}, {
		Name:    "in a namespace that is being deleted nothing is begun",
		Key:     key,
		Objects: []runtime.Object{batch(observed), model(), namespaceOf(going)},
	}, {
		Name:              "in one that isn't, it is",
		Key:               key,
		Objects:           []runtime.Object{batch(), model(), namespaceOf()},
		WantStatusUpdates: status(batch(observed, begun, starting)),
		WantEvents:        []string{normal("Started", "The run has begun")},
	}, {
		Name:    "at rest, nothing is written",
		Key:     key,
		Objects: []runtime.Object{resting(), planJob(complete), workJob(complete)},
	}, {
		Name:    "at rest, another generation is seen",
		Key:     key,
		Objects: []runtime.Object{resting(func(b *v1alpha1.Batch) { b.Generation = 2 })},
		WantStatusUpdates: status(resting(func(b *v1alpha1.Batch) {
			b.Generation, b.Status.ObservedGeneration = 2, 2
		})),
	}, {
		Name:          "kept for a while",
		Key:           key,
		Objects:       []runtime.Object{resting(ttl(time.Minute))},
		OtherTestData: looksAgain(time.Minute),
	}, {
		Name:        "and no longer",
		Key:         key,
		Objects:     []runtime.Object{resting(ttl(0))},
		WantDeletes: []clientgotesting.DeleteActionImpl{batchDeletion()},
	}}
}

// jobRows are about Jobs that aren't as they should be.
func jobRows() rtesting.TableTest {
	none := progressed(0, 0, v1alpha1.BatchShards{Total: 4})
	foreign := workJob(func(j *batchv1.Job) { j.OwnerReferences = nil })
	const notOwned = `There is a Job "nightly-work" that this Batch does not own; delete it, or give the Batch another name.`
	const refused = `Job "nightly-work" was refused: creating Job nightly-work: pods must not`
	return rtesting.TableTest{{
		Name:              "somebody else's Job is left alone",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, starting, none), model(), foreign},
		WantErr:           true,
		WantStatusUpdates: status(batch(observed, begun, planned, waits("NotOwned", notOwned), none)),
		WantEvents: []string{
			warning("NotOwned", notOwned),
			warning("InternalError", "Job search/nightly-work exists and is not owned by nightly: delete or rename it"),
		},
	}, {
		Name:              "a Job that is refused",
		Key:               key,
		Objects:           []runtime.Object{batch(observed, begun, planned, starting, none), model()},
		WithReactors:      []clientgotesting.ReactionFunc{failing("create", "jobs", apierrs.NewBadRequest("pods must not"))},
		WantCreates:       []runtime.Object{workJob()},
		WantErr:           true,
		WantStatusUpdates: status(batch(observed, begun, planned, waits("Refused", refused), none)),
		WantEvents:        []string{warning("Refused", refused), warning("InternalError", "creating Job nightly-work: pods must not")},
	}, {
		Name:          "a Job that somebody deleted comes back",
		Key:           key,
		Objects:       []runtime.Object{batch(observed, begun, planned, starting, none), model()},
		OtherTestData: looksAgain(followEvery, lookAgain),
		WantCreates:   []runtime.Object{workJob()},
	}, {
		Name:          "what others changed of it is put right, and what it was made with stays",
		Key:           key,
		OtherTestData: looksAgain(followEvery),
		Objects: []runtime.Object{batch(observed, begun, planned, working, none), model(), pod(workJob(), "0", shard(0), running),
			workJob(ofAnEarlierVersion, suspendedJob, func(j *batchv1.Job) { j.Spec.Parallelism = ptr(int32(99)) })},
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: workJob(ofAnEarlierVersion)}},
	}}
}

func batch(changes ...func(*v1alpha1.Batch)) *v1alpha1.Batch {
	b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: "b", Generation: 1, CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)),
	}}
	b.Spec.Model, b.Spec.Request.Path = "ranker", "/score"
	b.Spec.Input.S3 = &v1alpha1.BatchS3Input{BatchS3Bucket: v1alpha1.BatchS3Bucket{Bucket: "search", SecretName: "store"}, Key: "items.jsonl"}
	b.Spec.Output.S3 = &v1alpha1.BatchS3Output{BatchS3Bucket: v1alpha1.BatchS3Bucket{Bucket: "search", SecretName: "store"}, Prefix: "runs/1"}
	b.SetDefaults(context.Background())
	for _, change := range changes {
		change(b)
	}
	b.Status.Settle()
	return b
}

func observed(b *v1alpha1.Batch) {
	b.Status.ObservedGeneration = 1
	b.Status.InitializeConditions()
}

func suspended(b *v1alpha1.Batch) { b.Spec.Suspend = true }

func workers(n int32) func(*v1alpha1.Batch) {
	return func(b *v1alpha1.Batch) { b.Spec.Workers = &n }
}

func begun(b *v1alpha1.Batch) { b.Status.StartTime = &metav1.Time{Time: noon} }

func starting(b *v1alpha1.Batch) { b.Status.MarkStarting() }

func planning(b *v1alpha1.Batch) { b.Status.MarkPlanning() }

func planned(b *v1alpha1.Batch) { b.Status.MarkPlanned(1000, 4) }

func working(b *v1alpha1.Batch) { b.Status.MarkRunning() }

func completed(b *v1alpha1.Batch) { b.Status.MarkCompleted(noon) }

func waits(reason, message string) func(*v1alpha1.Batch) {
	return func(b *v1alpha1.Batch) { b.Status.MarkHeld(reason, message) }
}

func failed(reason, message string) func(*v1alpha1.Batch) {
	return func(b *v1alpha1.Batch) { b.Status.MarkFailed(noon, reason, message) }
}

func seenNow(b *v1alpha1.Batch) { b.Status.ProgressTime = &metav1.MicroTime{Time: noon} }

func progressed(items, errors int64, shards v1alpha1.BatchShards) func(*v1alpha1.Batch) {
	return func(b *v1alpha1.Batch) {
		b.Status.Succeeded, b.Status.Failed, b.Status.Shards = &items, &errors, &shards
		if b.Status.ProgressTime == nil {
			seenNow(b)
		}
	}
}

func modelNamed(name string, changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	m.Status.Address = &duckv1.Addressable{URL: apis.HTTP(name + ".search.svc.cluster.local")}
	for _, change := range changes {
		change(m)
	}
	return m
}

func model(changes ...func(*v1alpha1.Model)) *v1alpha1.Model { return modelNamed("ranker", changes...) }

func unready(m *v1alpha1.Model) {
	m.Status.Address = nil
	m.Status.InitializeConditions()
	m.GetConditionSet().Manage(&m.Status).MarkFalse(v1alpha1.ModelConditionRevisionReady, "ImageMissing", "No such image.")
}

func namespaceOf(changes ...func(*corev1.Namespace)) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	for _, change := range changes {
		change(n)
	}
	return n
}

func going(n *corev1.Namespace) { n.DeletionTimestamp = &metav1.Time{Time: noon} }

func planJob(changes ...func(*batchv1.Job)) *batchv1.Job {
	job, err := resources.PlanJob(batch(), address, worker)
	return changed(job, err, changes)
}

func workJob(changes ...func(*batchv1.Job)) *batchv1.Job {
	job, err := resources.WorkJob(batch(planned), address, worker)
	return changed(job, err, changes)
}

func changed(job *batchv1.Job, err error, changes []func(*batchv1.Job)) *batchv1.Job {
	if err != nil {
		panic(err)
	}
	for _, change := range changes {
		change(job)
	}
	return job
}

func suspendedJob(j *batchv1.Job) { j.Spec.Suspend = ptr(true) }

func ofAnEarlierVersion(j *batchv1.Job) {
	j.Spec.Template.Spec.Containers[0].Image = "registry.example.com/batch-worker@sha256:1"
}

func active(n int32, done string) func(*batchv1.Job) {
	return func(j *batchv1.Job) { j.Status.Active, j.Status.CompletedIndexes = n, done }
}

func complete(j *batchv1.Job) {
	j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute))}}
}

func failedJob(reason string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.Conditions = []batchv1.JobCondition{{
			Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason, Message: "x", LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute)),
		}}
	}
}

func pod(of *batchv1.Job, suffix string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: of.Name + "-" + suffix, UID: types.UID(of.Name + "-" + suffix), CreationTimestamp: metav1.NewTime(noon.Add(-time.Minute)),
		Labels:          map[string]string{batchv1.JobNameLabel: of.Name},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: of.Name, UID: of.UID, Controller: ptr(true)}},
	}}
	p.Spec.Containers = []corev1.Container{{Name: "batch-worker"}}
	for _, change := range changes {
		change(p)
	}
	return p
}

func shard(i int) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[batchv1.JobCompletionIndexAnnotation] = fmt.Sprint(i) }
}

func pending(p *corev1.Pod) {
	p.Status.Phase = corev1.PodPending
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "batch-worker", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"},
	}}}
}

func running(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func ended(code int32, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "batch-worker", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message, FinishedAt: metav1.NewTime(noon.Add(-time.Second))},
		}}}
	}
}

// behind is a pod of which the container has ended, and nothing else is said yet.
func behind(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }

func event(reason, message, about string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: about + ".1"}, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		InvolvedObject: corev1.ObjectReference{Name: about, UID: types.UID(about)}, LastTimestamp: metav1.NewTime(noon),
	}
}

func status(b *v1alpha1.Batch) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: b}}
}

func normal(reason, message string) string {
	return rtesting.Eventf(corev1.EventTypeNormal, reason, "%s", message)
}

func warning(reason, message string) string {
	return rtesting.Eventf(corev1.EventTypeWarning, reason, "%s", message)
}

func looksAgain(after ...time.Duration) map[string]any { return map[string]any{"again": after} }

func deletion(job string) clientgotesting.DeleteActionImpl {
	return clientgotesting.DeleteActionImpl{
		ActionImpl: clientgotesting.ActionImpl{Namespace: namespace, Verb: "delete", Resource: batchv1.SchemeGroupVersion.WithResource("jobs")}, Name: job,
	}
}

func batchDeletion() clientgotesting.DeleteActionImpl {
	return clientgotesting.DeleteActionImpl{
		ActionImpl: clientgotesting.ActionImpl{Namespace: namespace, Verb: "delete", Resource: v1alpha1.SchemeGroupVersion.WithResource("batches")}, Name: name,
	}
}

func failing(verb, resource string, err error) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		return action.Matches(verb, resource), nil, err
	}
}

func ptr[T any](of T) *T { return &of }

// seesWrites is the watch: what is written is seen, and announced.
func seesWrites(batches sluicelisters.BatchLister, recorder record.EventRecorder) clientgotesting.ReactionFunc {
	return func(action clientgotesting.Action) (bool, runtime.Object, error) {
		after := action.(clientgotesting.UpdateAction).GetObject().(*v1alpha1.Batch)
		before, err := batches.Batches(after.Namespace).Get(after.Name)
		if err != nil {
			return true, nil, err
		}
		whenWritten(recorder).OnUpdate(before, after)
		return false, nil, nil
	}
}

func factory(t *testing.T, row *rtesting.TableRow) (controller.Reconciler, rtesting.ActionRecorderList, rtesting.EventList) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{sluicefake.AddToScheme, kubescheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	objects := rtesting.NewObjectSorter(scheme)
	objects.AddObjects(row.Objects...)

	recorder := record.NewFakeRecorder(10)
	ctx := logging.WithLogger(context.Background(), logtesting.TestLogger(t))
	ctx = controller.WithEventRecorder(ctx, recorder)
	ctx, sluice := fakesluiceclient.With(ctx)
	for _, object := range objects.ObjectsForSchemeFunc(sluicefake.AddToScheme) {
		// The fake's own guess of the resource is "batchs".
		if b, ok := object.(*v1alpha1.Batch); ok {
			if err := sluice.Tracker().Create(v1alpha1.SchemeGroupVersion.WithResource("batches"), b, b.Namespace); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, kube := fakekubeclient.With(ctx, objects.ObjectsForSchemeFunc(kubescheme.AddToScheme)...)
	for _, reactor := range row.WithReactors {
		kube.PrependReactor("*", "*", reactor)
	}
	batches := sluicelisters.NewBatchLister(objects.IndexerForObjectType(&v1alpha1.Batch{}))
	sluice.PrependReactor("update", "batches", seesWrites(batches, recorder))
	if err, ok := row.OtherTestData["refused"].(error); ok {
		sluice.PrependReactor("update", "batches", func(clientgotesting.Action) (bool, runtime.Object, error) { return true, nil, err })
	}
	waited, told := []time.Duration{}, newNews(nil)
	c := batchreconciler.NewReconciler(ctx, logging.FromContext(ctx), sluice, batches, recorder, newReconciler(cluster{
		kube: kube, sluice: sluice, batches: batches,
		models: sluicelisters.NewModelLister(objects.IndexerForObjectType(&v1alpha1.Model{})),
		jobs:   batchlisters.NewJobLister(objects.IndexerForObjectType(&batchv1.Job{})),
		pods:   corev1listers.NewPodLister(objects.IndexerForObjectType(&corev1.Pod{})),

		namespaces: corev1listers.NewNamespaceLister(objects.IndexerForObjectType(&corev1.Namespace{})),
	}, worker, outside{follower: followerOf(row), news: told}, schedule{
		PassiveClock: clocktesting.NewFakePassiveClock(noon),
		later:        func(_ any, after time.Duration) { waited = append(waited, after) },
	}))
	t.Cleanup(func() {
		want, _ := row.OtherTestData["again"].([]time.Duration)
		if !slices.Equal(waited, want) {
			t.Errorf("looks again after %v, want %v", waited, want)
		}
		if want, ok := row.OtherTestData["told"].([]string); ok && !slices.Equal(typesOf(told), want) {
			t.Errorf("another series of events is told than %v", want)
		}
	})
	if leader, ok := c.(reconciler.LeaderAware); ok {
		if err := leader.Promote(reconciler.UniversalBucket(), func(reconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	return c, rtesting.ActionRecorderList{sluice, kube}, rtesting.EventList{Recorder: recorder}
}
