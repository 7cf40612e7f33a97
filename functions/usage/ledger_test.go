package usage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

var ranker = types.NamespacedName{Namespace: "team", Name: "ranker"}

// world is a cluster, what its pods and nodes count, and its Broker.
type world struct {
	t      *testing.T
	sluice *sluicefake.Clientset
	kube   *fake.Clientset

	began time.Time

	mu       sync.Mutex
	gateways map[string]*corev1.Pod
	replicas []*corev1.Pod
	// shown is what each gateway pod, by its address, has counted of the Model; absent, it doesn't answer.
	shown map[string]modelCounts
	cpu   float64
	// away is true while the Broker is.
	away bool
	told map[string]eventing.Usage
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, began: time.Now(), sluice: sluicefake.NewSimpleClientset(), kube: fake.NewClientset(),
		gateways: map[string]*corev1.Pod{}, shown: map[string]modelCounts{}, told: map[string]eventing.Usage{},
	}
}

func (w *world) GatewayPods() ([]*corev1.Pod, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.gateways)), nil
}

func (w *world) Replicas() ([]*corev1.Pod, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.replicas), nil
}

func (w *world) Node(name string) (Node, error) { return Node{Name: name}, nil }

func (w *world) Model(name types.NamespacedName) (Model, bool) {
	return Model{UID: "model", Tenant: "blue"}, name == ranker
}

func (w *world) Send(_ context.Context, event cloudevents.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errors.New("no broker")
	}
	var d eventing.Usage
	if err := event.DataAs(&d); err != nil {
		return err
	}
	if before, ok := w.told[event.ID()]; ok && fmt.Sprint(before) != fmt.Sprint(d) {
		w.t.Errorf("event %s came as %+v and as %+v", event.ID(), before, d)
	}
	w.told[event.ID()] = d
	return nil
}

// sent are the requests of all events.
func (w *world) sent() (sum v1alpha1.UsageRequests) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.told {
		for _, row := range d.Revisions {
			sum = sum.Plus(v1alpha1.UsageRequests(row.Requests))
		}
	}
	return sum
}

// gateway has a pod that counts.
func (w *world) gateway(name string, counts modelCounts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gateways[name] = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Status: corev1.PodStatus{PodIP: name, Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
		}},
	}
	w.shown[name] = counts
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func counts(ok, refused int64) modelCounts {
	return modelCounts{offered: ok + refused, ended: map[string]v1alpha1.UsageRequests{
		"ranker-00001": {Ended: ok, OK: ok}, "": {Ended: refused, Refused: refused},
	}}
}

// run keeps a ledger until the returned function ends it.
func (w *world) run() (end func()) {
	l := New(http.DefaultClient)
	l.Cluster, l.Usages, l.Kube, l.Namespace, l.Events = w, w.sluice.SluiceV1alpha1(), w.kube, "sluice-system", w
	l.Since = func(context.Context) (types.UID, error) { return "crd", nil }
	l.read = func(_ context.Context, ip string, known func(types.NamespacedName) bool) (counted, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		shown, ok := w.shown[ip]
		if !ok {
			return counted{}, syscall.ECONNREFUSED
		}
		if !known(ranker) {
			w.t.Error("the Model isn't known")
		}
		return counted{uptime: time.Since(w.began), models: map[types.NamespacedName]*modelCounts{ranker: {offered: shown.offered, ended: maps.Clone(shown.ended)}}}, nil
	}
	l.resources = func(context.Context, Node, func(types.NamespacedName) bool) (map[types.NamespacedName]resources, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return map[types.NamespacedName]resources{{Namespace: "team", Name: "replica"}: {containers: w.cpu, memory: 1 << 30}}, nil
	}
	l.warm = func(context.Context, string) (warmup.Status, error) { return warmup.Status{}, errors.New("none") }
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) usage() *v1alpha1.Usage {
	w.t.Helper()
	u, err := w.sluice.SluiceV1alpha1().Usages("team").Get(w.t.Context(), "ranker", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// pass lets time pass, and waits until all is done that was due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) wants(ok, refused int64) {
	w.t.Helper()
	u := w.usage()
	want := v1alpha1.UsageRequests{Ended: ok + refused, OK: ok, Refused: refused}
	if got := u.Status.Day.Total.Requests; got != want {
		w.t.Errorf("the day has %+v, want %+v", got, want)
	}
	if sent := w.sent(); sent != want {
		w.t.Errorf("the Broker was told of %+v, want %+v", sent, want)
	}
	if u.Status.Tenant != "blue" || u.Status.ModelUID != "model" {
		w.t.Errorf("it is of %q, of %q", u.Status.ModelUID, u.Status.Tenant)
	}
}

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

// Requests of a Model are known by route, its revision by the cluster; all else is nobody's.
func TestParse(t *testing.T) {
	route := gateway.VirtualServiceMetadata("team.ranker")
	cluster := gateway.RevisionClusters("team", "ranker-00001", "http1")[0]
	text := `envoy_server_uptime{} 90
envoy_istio_sluice_offered{entry="http",route="` + route + `"} 12
envoy_istio_sluice_offered{entry="local",route="` + route + `"} 3
envoy_istio_sluice_marked{entry="local",route="` + route + `"} 2
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="` + cluster + `",outcome="ok"} 7
envoy_istio_sluice_ended{entry="local",route="` + route + `",cluster="` + cluster + `",outcome="ok"} 1
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="",outcome="refused"} 4
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="` + gateway.RevisionClusters("other", "x-1", "h2c")[0] + `",outcome="left"} 1
envoy_istio_sluice_ended{entry="http",route="` + gateway.VirtualServiceMetadata("team.gone") + `",cluster="",outcome="ok"} 5
envoy_istio_sluice_ended{entry="http",route="",cluster="",outcome="client_error"} 5
`
	known := func(name types.NamespacedName) bool { return name == ranker }
	got, err := parse(strings.NewReader(text), known)
	if err != nil || got.uptime != 90*time.Second || len(got.models) != 1 {
		t.Fatalf("read %+v, %v", got, err)
	}
	m := got.models[ranker]
	want := map[string]v1alpha1.UsageRequests{"ranker-00001": {Ended: 8, OK: 8}, "": {Ended: 5, Refused: 4, Left: 1}}
	if m.offered != 15 || m.marked != 2 || !maps.Equal(m.ended, want) {
		t.Errorf("read %+v, want %+v", m, want)
	}
	if _, err := parse(strings.NewReader(strings.ReplaceAll(text, `"refused"`, `"queued"`)), known); err == nil {
		t.Error("an outcome that nobody knows is no error")
	}
}

// The sum of a pod's containers is newer, its own has what ended.
func TestParseResources(t *testing.T) {
	const text = `container_cpu_usage_seconds_total{container="a",namespace="team",pod="p"} 1.25 1796096299066
container_cpu_usage_seconds_total{container="b",namespace="team",pod="p"} 0.5 1796096299066
container_memory_working_set_bytes{container="a",namespace="team",pod="p"} 3e+07 1796096299066
container_cpu_usage_seconds_total{container="a",namespace="team",pod="other"} 9 1796096299066
pod_cpu_usage_seconds_total{namespace="team",pod="p"} 1.5 1796096290000
`
	p := types.NamespacedName{Namespace: "team", Name: "p"}
	wanted := func(name types.NamespacedName) bool { return name == p }
	got, err := parseResources(strings.NewReader(text), wanted)
	if err != nil || len(got) != 1 || got[p].cpu(0.25) != 2000 || got[p].memory != 3e7 {
		t.Errorf("read %+v, %v", got, err)
	}
	got, err = parseResources(strings.NewReader(strings.ReplaceAll(text, "1.5 ", "2.5 ")), wanted)
	if err != nil || got[p].cpu(0) != 2500 {
		t.Errorf("read %+v, %v", got, err)
	}
}
