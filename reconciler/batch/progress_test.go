package batch

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	"knative.dev/pkg/apis"
	rtesting "knative.dev/pkg/reconciler/testing"
	"pgregory.net/rapid"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// said is what workers say in a row of a table; nothing where it has none.
type said task.Progress

func (s said) Progress(types.UID, task.Seen) task.Progress { return task.Progress(s) }

func followerOf(row *rtesting.TableRow) Follower {
	of, _ := row.OtherTestData["said"].(said)
	return of
}

// typesOf are the types of the events that wait, without their beginning.
func typesOf(n *news) []string {
	var got []string
	for len(n.waiting) > 0 {
		e := <-n.waiting
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(e.Type(), "dev.sluice.batch."), ".v1"))
	}
	return got
}

// progressRows are about what workers say while they are at it.
func progressRows() rtesting.TableTest {
	at := func(items, errors int64) func(*v1alpha1.Batch) {
		return progressed(items, errors, v1alpha1.BatchShards{Total: 4, Complete: 1, Active: 2})
	}
	ago := func(d time.Duration) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) { b.Status.ProgressTime = &metav1.MicroTime{Time: noon.Add(-d)} }
	}
	fast := func(inFlight int32, rate float64, end time.Duration) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) {
			b.Status.InFlight, b.Status.RequestsPerSecond, b.Status.EstimatedEnd = &inFlight, rateOf(rate), &metav1.Time{Time: noon.Add(end)}
		}
	}
	deadline := func(after time.Duration) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) { b.Spec.Deadline = &metav1.Duration{Duration: after} }
	}
	anHourAgo := func(b *v1alpha1.Batch) { b.Status.StartTime = &metav1.Time{Time: noon.Add(-time.Hour)} }
	pace := func(c apis.Condition) func(*v1alpha1.Batch) {
		return func(b *v1alpha1.Batch) {
			c.Type, c.Severity = v1alpha1.BatchConditionOnTime, apis.ConditionSeverityInfo
			b.GetConditionSet().Manage(&b.Status).SetCondition(c)
			for i := range b.Status.Conditions { // which is by the real clock
				if b.Status.Conditions[i].Type == c.Type {
					b.Status.Conditions[i].LastTransitionTime = c.LastTransitionTime
				}
			}
		}
	}
	behind := func(since time.Duration) func(*v1alpha1.Batch) {
		return pace(apis.Condition{
			Status: corev1.ConditionUnknown, Reason: "Behind", LastTransitionTime: apis.VolatileTime{Inner: metav1.NewTime(noon.Add(-since))},
			Message: "At its rate the run isn't over by its deadline. More replicas are called for, as far as there may be more.",
		})
	}
	onTime := pace(apis.Condition{Status: corev1.ConditionTrue})
	const slow = "At its rate the run is over at 2026-06-01T12:00:59Z, 9s after its deadline (spec.deadline). " +
		"See whether the Model has the replicas that it is held at (its status.floors and condition Scaled); raise spec.workers and spec.maxReplicas here, " +
		"the Model's autoscaling.maxReplicas, or the deadline."
	tooSlow := pace(apis.Condition{Status: corev1.ConditionFalse, Reason: "TooSlow", Message: slow})
	// One shard is complete, with 250; of two others 100 and 60 have a result, and there are
	// 590 left, which take 59 s.
	works := said{
		Shards: map[int32]task.Tally{0: {Succeeded: 240}, 1: {Succeeded: 90, Failed: 10}, 2: {Succeeded: 60}},
		Heard:  true, InFlight: 8, RequestsPerSecond: 10.04, ItemsPerSecond: 10,
	}
	again, silent, restarted, wrong, idle, starving := works, works, works, works, works, works
	starving.RequestsPerSecond, starving.ItemsPerSecond, starving.InFlight, starving.Starves = 0, 0, 0, true
	again.Again = 20
	silent.Heard, silent.InFlight, silent.RequestsPerSecond, silent.ItemsPerSecond = false, 0, 0, 0
	restarted.Shards = map[int32]task.Tally{2: {Succeeded: 60}}
	wrong.Shards = map[int32]task.Tally{1: {Succeeded: 1 << 40}, 9: {Failed: 7}}
	idle.RequestsPerSecond, idle.ItemsPerSecond = 0, 0
	row := func(name string, says said, before, after *v1alpha1.Batch, told ...string) rtesting.TableRow {
		r := rtesting.TableRow{
			Name: "progress: " + name, Key: key,
			Objects: []runtime.Object{
				before, model(), workJob(active(2, "0")), pod(workJob(), "0", shard(0), ended(0, `{"succeeded":250}`)), pod(workJob(), "1", shard(1), running),
			},
			OtherTestData: map[string]any{"again": []time.Duration{followEvery}, "said": says, "told": told},
		}
		if before.Spec.Deadline != nil {
			end, _ := before.End()
			r.OtherTestData["again"] = []time.Duration{end.Sub(noon), followEvery}
		}
		if after != nil {
			r.WantStatusUpdates = []clientgotesting.UpdateActionImpl{{Object: after}}
		}
		return r
	}
	b := func(changes ...func(*v1alpha1.Batch)) *v1alpha1.Batch {
		return batch(append([]func(*v1alpha1.Batch){observed, anHourAgo, planned, working}, changes...)...)
	}
	late := row("it is late for a while", works, b(deadline(time.Hour+50*time.Second), behind(30*time.Second), at(400, 10), ago(5*time.Second)),
		b(deadline(time.Hour+50*time.Second), tooSlow, at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed")
	late.WantEvents = []string{warning("TooSlow", slow)}
	most := func(b *v1alpha1.Batch) { b.Spec.MaxFailedItems = ptr(int64(9)) }
	noSlack := func(b *v1alpha1.Batch) { b.Status.MarkNoSlack() }
	hungry := func(b *v1alpha1.Batch) { b.Status.InFlight = ptr(int32(0)) }
	starves := row("no credit for an hour", starving, b(at(400, 10), ago(time.Second), hungry), b(noSlack, at(400, 10), ago(time.Second), hungry))
	starves.WantEvents = []string{warning("NoSlack", b(noSlack).Status.GetCondition(v1alpha1.BatchConditionRunning).Message)}
	still := row("no credit still", starving, b(noSlack, at(400, 10), ago(time.Second), hungry), nil)
	fed := row("a credit again", works, b(noSlack, at(400, 10), ago(5*time.Second)), b(at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed")
	fed.WantEvents = []string{normal("Resumed", "The run goes on")}
	// Of shard 0 three are recorded to have failed, of two others four and five are said to.
	failing := works
	failing.Shards = map[int32]task.Tally{0: {Succeeded: 240, Failed: 9}, 1: {Succeeded: 90, Failed: 4}, 2: {Succeeded: 55, Failed: 5}}
	failing.Failing = map[int32]int64{0: 9, 1: 4, 2: 5}
	ends := func(name string, says said, most, succeeded, errors int64, before func(*v1alpha1.Batch)) rtesting.TableRow {
		message := fmt.Sprintf("12 items have failed, and %d may (spec.maxFailedItems). See the errors in the output, mend what they tell of, or raise spec.maxFailedItems. "+
			"Then create the Batch again, with an output of its own.", most)
		bound := func(b *v1alpha1.Batch) { b.Spec.MaxFailedItems = &most }
		r := row(name, says, b(bound, before, ago(time.Second)), batch(observed, anHourAgo, bound, planned, failed("TooManyFailedItems", message), at(succeeded, errors), ago(0)))
		r.Objects[3] = pod(workJob(), "0", shard(0), ended(0, `{"succeeded":247,"failed":3}`))
		r.WantEvents = []string{warning("TooManyFailedItems", message)}
		r.WantUpdates = []clientgotesting.UpdateActionImpl{{Object: workJob(active(2, "0"), suspendedJob)}}
		delete(r.OtherTestData, "again")
		return r
	}
	bounded := func(b *v1alpha1.Batch) { b.Spec.MaxFailedItems = ptr(int64(12)) }
	some := row("as many failed as may, of all shards", failing, b(bounded, at(392, 12), ago(time.Second), fast(8, 10.04, 59*time.Second)), nil)
	some.Objects[3] = pod(workJob(), "0", shard(0), ended(0, `{"succeeded":247,"failed":3}`))
	const off = "spec.suspend is true: the run has no pods. Set it to false, and it goes on."
	fewer := func(b *v1alpha1.Batch) { b.Spec.MaxFailedItems = ptr(int64(11)) }
	held := row("more failed than may, of workers that are stopped", failing, b(fewer, suspended, at(392, 12), ago(5*time.Second)),
		batch(observed, anHourAgo, fewer, suspended, planned, waits("Suspended", off), progressed(392, 12, v1alpha1.BatchShards{Total: 4, Complete: 1}), ago(0)), "progressed")
	held.Objects[3] = pod(workJob(), "0", shard(0), ended(0, `{"succeeded":247,"failed":3}`))
	held.WantUpdates = []clientgotesting.UpdateActionImpl{{Object: workJob(active(2, "0"), suspendedJob)}}
	held.WantEvents = []string{normal("Suspended", off)}
	delete(held.OtherTestData, "again")
	return rtesting.TableTest{
		starves, still, fed, some, held,
		ends("more failed than may, of all shards", failing, 11, 392, 12, at(390, 10)),
		ends("more failed than may, of more that was done once", failing, 11, 488, 12, at(498, 2)),
		row("as workers say", works, b(at(250, 0), ago(5*time.Second)), b(at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed"),
		row("some is asked again", again, b(at(400, 10), ago(5*time.Second)), b(at(400, 10), ago(0), fast(8, 10.04, 61*time.Second)), "progressed"),
		row("nobody asks any more", silent, b(at(400, 10), ago(5*time.Second), fast(8, 10, time.Minute)), b(at(400, 10), ago(0)), "progressed"),
		row("nobody answers", idle, b(at(400, 10), ago(5*time.Second), fast(8, 10, time.Minute)), b(at(400, 10), ago(0), fast(8, 0, 0), func(b *v1alpha1.Batch) { b.Status.EstimatedEnd = nil }), "progressed"),
		row("whoever is asked knows less than the status", restarted, b(at(400, 10), ago(5*time.Second)), b(at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed"),
		row("more than there is isn't believed", wrong, b(at(250, 0), ago(5*time.Second)), b(at(250, 0), ago(0), fast(8, 10.04, 75*time.Second)), "progressed"),
		row("it will be on time", works, b(deadline(2*time.Hour), at(400, 10), ago(5*time.Second)),
			b(deadline(2*time.Hour), onTime, at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed"),
		row("it is behind", works, b(deadline(time.Hour+50*time.Second), at(400, 10), ago(5*time.Second)),
			b(deadline(time.Hour+50*time.Second), behind(0), at(400, 10), ago(0), fast(8, 10.04, 59*time.Second)), "progressed"),
		row("what was believed to have failed, and nobody says any more, ends nothing", silent, b(most, at(400, 10), ago(5*time.Second), fast(8, 10, time.Minute)), b(most, at(400, 10), ago(0)), "progressed"),
		late,
	}
}

// What was said of a run's pace doesn't stand while nobody can tell, a short while left out;
// nor does that count for being late.
func TestPaceThatIsNotSeen(t *testing.T) {
	fast := task.Progress{Heard: true, ItemsPerSecond: 10}
	slow := task.Progress{Heard: true, ItemsPerSecond: .1}
	idle, silent := task.Progress{Heard: true, InFlight: 4}, task.Progress{}
	type look struct {
		after int // seconds of these looks
		far   task.Progress
		want  string // the condition's status and reason then
	}
	for name, test := range map[string]struct {
		deadline time.Duration
		looks    []look
	}{
		"nobody says anything":        {time.Hour, []look{{5, fast, "True"}, {20, silent, "True"}, {5, silent, "Unknown PaceUnknown"}, {60, silent, "Unknown PaceUnknown"}, {5, fast, "True"}}},
		"nobody has answers":          {time.Hour, []look{{5, fast, "True"}, {20, idle, "True"}, {5, idle, "Unknown PaceUnknown"}}},
		"one after the other":         {time.Hour, []look{{5, fast, "True"}, {15, silent, "True"}, {15, idle, "Unknown PaceUnknown"}}},
		"a short while":               {time.Hour, []look{{5, fast, "True"}, {15, silent, "True"}, {5, fast, "True"}, {15, silent, "True"}}},
		"from the beginning":          {time.Hour, []look{{20, silent, ""}, {5, silent, "Unknown PaceUnknown"}}},
		"it was too slow":             {time.Hour, []look{{60, slow, "False TooSlow"}, {25, silent, "Unknown PaceUnknown"}}},
		"then it is late for a while": {time.Hour, []look{{60, silent, "Unknown PaceUnknown"}, {20, slow, "Unknown Behind"}, {10, slow, "False TooSlow"}}},
		"no deadline":                 {0, []look{{60, silent, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // conditions go by the clock of the machine
				r := newReconciler(cluster{}, worker, outside{}, schedule{PassiveClock: clock.RealClock{}, later: func(any, time.Duration) {}})
				b := batch(planned, working)
				b.Status.StartTime = &metav1.Time{Time: time.Now()}
				if test.deadline > 0 {
					b.Spec.Deadline = &metav1.Duration{Duration: test.deadline}
				}
				for i, look := range test.looks {
					for range look.after / 5 {
						time.Sleep(followEvery)
						before := b.Status.DeepCopy()
						b.Status.InFlight, b.Status.RequestsPerSecond, b.Status.EstimatedEnd = nil, nil, nil
						r.pace(&pass{Batch: b}, look.far)
						b.Status.PaceProgress(before, time.Now())
					}
					got := ""
					if c := b.Status.GetCondition(v1alpha1.BatchConditionOnTime); c != nil {
						got = strings.TrimSpace(string(c.Status) + " " + c.Reason)
					}
					if got != look.want {
						t.Fatalf("after %d looks it says %q, want %q", i+1, got, look.want)
					}
				}
			})
		})
	}
	s := newSilences()
	for i := range 100 {
		s.lasts(types.UID(fmt.Sprint(i)), noon)
	}
	if s.lasts("another", noon.Add(silenceKept)); len(s.of) != 1 {
		t.Errorf("%d runs are known that are looked at no more", len(s.of)-1)
	}
}

// Between two workers nothing else is said; where none comes for a while, it is.
func TestNobodyWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset()
		r := newReconciler(cluster{kube: kube}, worker, outside{}, schedule{PassiveClock: clock.RealClock{}, later: func(any, time.Duration) {}})
		b, works := batch(planned, working), pod(workJob(), "0", shard(0), running)
		for i, c := range []struct {
			after time.Duration
			pods  []*corev1.Pod
			asks  bool
		}{
			{0, []*corev1.Pod{works}, true},
			{time.Second, nil, true},
			{unknownFor - time.Second, nil, true},
			{time.Second, []*corev1.Pod{works}, true},
			{time.Second, nil, true},
			{unknownFor, nil, false},
			{time.Second, nil, false},
			{time.Second, []*corev1.Pod{works}, true},
		} {
			time.Sleep(c.after)
			if err := r.follow(t.Context(), &pass{Batch: b}, workJob(), c.pods); err != nil {
				t.Fatal(err)
			}
			if got := b.Status.IsAsking(); got != c.asks {
				t.Errorf("look %d: it says that items are being asked: %t, want %t", i, got, c.asks)
			}
		}
	})
}

func TestRateOf(t *testing.T) {
	t.Parallel()
	for perSecond, want := range map[float64]string{0: "", .0004: "", .0333333: "0.033", 9.9996: "10", 10.04: "10", 123.456: "123.5", math.Inf(1): "", math.NaN(): ""} {
		got := ""
		if rate := rateOf(perSecond); rate != nil {
			got = rate.String()
		}
		if got != want {
			t.Errorf("%g is told as %q, want %q", perSecond, got, want)
		}
	}
}

// Whatever workers say, of whatever shards pods have told, in whatever order: what is counted
// never goes back, and is never more than there is.
func TestCountNeverGoesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := batch(planned).Status
		before := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "passes") {
			far, told := task.Progress{Shards: map[int32]task.Tally{}}, map[string]task.Report{}
			for shard := range int32(5) {
				if rapid.Bool().Draw(t, "says") {
					far.Shards[shard] = task.Tally{Succeeded: rapid.Int64Range(0, 300).Draw(t, "succeeded"), Failed: rapid.Int64Range(0, 20).Draw(t, "failed")}
				}
				if shard < 3 && rapid.IntRange(0, 4).Draw(t, "ended") == 0 {
					told[fmt.Sprint(shard)] = task.Report{Succeeded: 240, Failed: 10}
				}
			}
			tally := tallyOf(told, far, &s)
			if tally.Items() > *s.Total {
				t.Fatalf("%d items of %d", tally.Items(), *s.Total)
			}
			if s.Succeeded == nil || tally.Items() >= s.ItemsDone() {
				s.Succeeded, s.Failed = &tally.Succeeded, &tally.Failed
			}
			if s.ItemsDone() < before {
				t.Fatalf("%d items after %d", s.ItemsDone(), before)
			}
			before = s.ItemsDone()
		}
	})
}

// What is seen of a run beside what its workers say are the shards that pods worked on, be they
// complete or not, and nothing that anybody may have put into a label.
func TestSeenOf(t *testing.T) {
	t.Parallel()
	b := batch(planned, func(b *v1alpha1.Batch) { b.Status.Succeeded, b.Status.Failed = ptr(int64(300)), ptr(int64(7)) })
	told := map[string]task.Report{"2": {Succeeded: 240, Failed: 10}, "": {Items: 1000}, "x": {Failed: 1}, "-1": {Failed: 1}, "1000": {Failed: 1}}
	pods := []*corev1.Pod{pod(workJob(), "1", shard(1), running), pod(workJob(), "1b", shard(1), running), pod(planJob(), "x", running), pod(workJob(), "y", shard(7), running)}
	got := seenOf(&b.Status, workJob(active(2, "2,4-5,998-999999999")), pods, told)
	want := task.Seen{Ended: map[int32]task.Tally{2: {Succeeded: 240, Failed: 10}}, Begun: []int32{1, 2, 4, 5, 7, 998, 999}, Done: 307}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
