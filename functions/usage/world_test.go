package usage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/warmup"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

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
