package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	networkingfake "knative.dev/networking/pkg/client/clientset/versioned/fake"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// errKilled is what every write gets after the process was killed.
var errKilled = errors.New("killed")

// world is a cluster in which a tenant with a domain, a certificate and a route is
// reconciled, and in which everybody else does their part at once.
type world struct {
	t *testing.T
	clients
	events *sender
	now    time.Time
	// writes is how many the process has left before it is killed; negative for ever.
	writes int
	// trail is what was written, in words.
	trail []string

	// What others made of the status: the gateways that have the routes, the Istio
	// Gateways that those are bound to, the address that is published, and the
	// gateway whose pods are behind each Service.
	routed, bound []string
	published     string
	behind        map[string]string
	// led is when the address last led to a gateway.
	led map[string]time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, events: &sender{}, now: start, writes: -1,
		routed: []string{gateway.Shared}, published: gateway.Shared,
		behind: map[string]string{}, led: map[string]time.Time{},
	}
	w.clients = clients{
		kube:  kubefake.NewSimpleClientset(domains(), certificate(start.Add(1000*time.Hour))),
		istio: istiofake.NewSimpleClientset(),

		networking: networkingfake.NewSimpleClientset(),
		sluice:     sluicefake.NewSimpleClientset(tenant(asking, tls, func(t *v1alpha1.Tenant) { t.Finalizers = nil })),
	}
	w.kube.PrependReactor("*", "*", w.write)
	w.istio.PrependReactor("*", "*", w.write)
	w.sluice.PrependReactor("*", "*", w.write)
	return w
}

// write keeps the trail, and lets a process that was killed write nothing.
func (w *world) write(action clientgotesting.Action) (bool, runtime.Object, error) {
	if slices.Contains([]string{"get", "list", "watch"}, action.GetVerb()) {
		return false, nil, nil
	}
	if w.writes == 0 {
		return true, nil, errKilled
	}
	w.writes--
	what := action.GetVerb() + " " + action.GetResource().Resource
	switch action := action.(type) {
	case clientgotesting.UpdateAction: // creations have the same methods
		what += " " + describe(action.GetObject())
	case clientgotesting.DeleteAction:
		what += " " + action.GetName()
	}
	w.trail = append(w.trail, what)
	return false, nil, nil
}

func describe(object runtime.Object) string {
	switch object := object.(type) {
	case *corev1.Service:
		return object.Name + " to " + object.Spec.Selector[gateway.LabelKey]
	case *v1alpha1.Tenant:
		return describeStatus(object.Status)
	}
	return object.(metav1.Object).GetName()
}

func describeStatus(s v1alpha1.TenantStatus) string {
	out := "at " + s.Gateway + ", routes on " + strings.Join(s.Attached, "+")
	if s.Move != nil {
		out += ", " + string(s.Move.Phase)
	}
	for _, held := range s.Namespaces {
		out += ", " + string(held.Phase)
	}
	return out
}

func (w *world) tenant() *v1alpha1.Tenant {
	w.t.Helper()
	t, err := w.sluice.SluiceV1alpha1().Tenants().Get(context.Background(), key, metav1.GetOptions{})
	w.must(err)
	return t
}

// change changes the tenant as a user does.
func (w *world) change(change func(*v1alpha1.Tenant)) {
	t := w.tenant()
	change(t)
	w.must(w.sluice.Tracker().Update(v1alpha1.SchemeGroupVersion.WithResource("tenants"), t, ""))
}

func (w *world) gone() bool {
	t := w.tenant()
	return t.DeletionTimestamp != nil && len(t.Finalizers) == 0
}

// reconcile runs once over caches that are up to date.
func (w *world) reconcile() {
	w.t.Helper()
	sorter := rtesting.NewObjectSorter(scheme())
	sorter.AddObjects(w.objects()...)
	recorder := record.NewFakeRecorder(100)
	ctx := controller.WithEventRecorder(logging.WithLogger(context.Background(), zap.NewNop().Sugar()), recorder)
	err := lead(ctx, w.t, w.clients, recorder, w.reconciler(w.t, sorter.IndexerForObjectType, w.events, w.now)).Reconcile(ctx, key)
	if again, _ := controller.IsRequeueKey(err); err != nil && !again && !controller.IsSkipKey(err) && w.writes != 0 {
		w.t.Fatal(err)
	}
	w.check()
}

// objects are all that the caches see.
func (w *world) objects() []runtime.Object {
	vs := route(strings.Join(w.routed, ","))
	vs.Spec.Gateways = w.bound
	out := objects(vs, ingress(w.published), rateLimit("ranker", "50", w.routed...), revision(nil),
		deployment(gateway.Shared, 1), deployment(own, 1), pod(gateway.Shared, "shared-1", ""), pod(own, "tenant-search-1", ""), w.tenant())
	for service, of := range w.behind {
		for _, object := range endpoints(of) {
			if object.(metav1.Object).GetName() == service+"-1" {
				out = append(out, object)
			}
		}
	}
	secrets, err := w.kube.CoreV1().Secrets("").List(context.Background(), metav1.ListOptions{})
	w.must(err)
	for i := range secrets.Items {
		out = append(out, &secrets.Items[i])
	}
	for _, service := range w.services() {
		out = append(out, service)
	}
	cm, err := w.kube.CoreV1().ConfigMaps("knative-serving").Get(context.Background(), "config-domain", metav1.GetOptions{})
	w.must(err)
	servers, err := w.istio.NetworkingV1().Gateways(gateway.Namespace).List(context.Background(), metav1.ListOptions{})
	w.must(err)
	for _, server := range servers.Items {
		out = append(out, server)
	}
	return objects(append(out, cm))
}

func (w *world) services() []*corev1.Service {
	list, err := w.kube.CoreV1().Services(gateway.Namespace).List(context.Background(), metav1.ListOptions{})
	w.must(err)
	var out []*corev1.Service
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out
}

// others lets everybody else do their part.
func (w *world) others() {
	t := w.tenant()
	w.routed, w.published, w.bound = t.GatewaysOf("search"), t.AddressOf("search"), nil
	servers, err := w.istio.NetworkingV1().Gateways(gateway.Namespace).List(context.Background(), metav1.ListOptions{})
	w.must(err)
	for _, server := range servers.Items {
		if t.Holds("search") && slices.Contains(w.routed, server.Spec.Selector[gateway.LabelKey]) {
			w.bound = append(w.bound, gateway.Namespace+"/"+server.Name)
		}
	}
	w.behind = map[string]string{}
	for _, service := range w.services() {
		w.behind[service.Name] = service.Spec.Selector[gateway.LabelKey]
	}
	w.check()
}

// check: every gateway that the address leads to, or led to so lately that a request
// may be under way, is one that the status calls for routes on, and serves HTTPS.
func (w *world) check() {
	w.t.Helper()
	t := w.tenant()
	for _, service := range w.services() {
		for _, name := range []string{service.Spec.Selector[gateway.LabelKey], w.behind[service.Name]} {
			if name != "" {
				w.led[name] = w.now
			}
		}
	}
	for name, last := range w.led {
		if w.now.Before(last.Add(drain)) && !slices.Contains(t.GatewaysOf("search"), name) {
			w.t.Fatalf("a request that came %s ago by %s finds no route: %s\n%s", w.now.Sub(last), name, describeStatus(t.Status), strings.Join(w.trail, "\n"))
		}
	}
	if t.DeletionTimestamp != nil && len(w.services()) == 0 && w.published != gateway.Shared {
		w.t.Fatal("the address is gone, and published still")
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// settle runs until nothing was left to do for longer than a request can last.
func (w *world) settle() {
	w.t.Helper()
	for quiet := time.Duration(0); quiet <= drain && !w.gone(); {
		before := len(w.trail)
		w.reconcile()
		w.others()
		if len(w.trail) != before {
			quiet = 0
			continue
		}
		quiet += drain / 3
		w.now = w.now.Add(drain / 3)
	}
}

// walk takes the tenant through its whole life.
func (w *world) walk() {
	w.settle()
	for _, mode := range []v1alpha1.GatewayMode{v1alpha1.GatewayDedicated, v1alpha1.GatewayShared} {
		w.note("-- " + string(mode))
		w.change(func(t *v1alpha1.Tenant) { t.Spec.Gateway.Mode = mode })
		w.settle()
	}
	w.note("-- deleted")
	w.change(deleted)
	w.settle()
}

func (w *world) note(line string) { w.trail = append(w.trail, line) }

func TestWalk(t *testing.T) {
	w := newWorld(t)
	w.walk()
	want := []string{
		"patch tenants",
		"create services tenant-search to shared", "create services tenant-search-local to shared",
		"update configmaps config-domain",
		"create secrets tenant-search",
		"update tenants at shared, routes on shared, Held",
		"create gateways tenant-search.shared",
		"-- Dedicated",
		"update tenants at shared, routes on shared, Preparing, Held",
		"create gateways tenant-search.tenant-search",
		"update tenants at shared, routes on shared+tenant-search, Attaching, Held",
		"update tenants at shared, routes on shared+tenant-search, Switching, Held",
		"update services tenant-search to tenant-search", "update services tenant-search-local to tenant-search",
		"update tenants at tenant-search, routes on shared+tenant-search, Draining, Held",
		"update tenants at tenant-search, routes on shared+tenant-search, Draining, Held", // says until when
		"update tenants at tenant-search, routes on tenant-search, Held",
		"delete gateways tenant-search.shared",
		"-- Shared",
		"update tenants at tenant-search, routes on tenant-search, Preparing, Held",
		"create gateways tenant-search.shared",
		"update tenants at tenant-search, routes on shared+tenant-search, Attaching, Held",
		"update tenants at tenant-search, routes on shared+tenant-search, Switching, Held",
		"update services tenant-search to shared", "update services tenant-search-local to shared",
		"update tenants at shared, routes on shared+tenant-search, Draining, Held",
		"update tenants at shared, routes on shared+tenant-search, Draining, Held",
		"update tenants at shared, routes on shared, Held",
		"delete gateways tenant-search.tenant-search",
		"-- deleted",
		"update tenants at shared, routes on shared, Leaving",
		"update tenants at shared, routes on shared, Leaving", // its other address is published
		"update tenants at shared, routes on shared",
		"delete services tenant-search", "delete services tenant-search-local",
		"delete gateways tenant-search.shared", "delete secrets tenant-search",
		"update configmaps config-domain",
		"patch tenants",
	}
	if diff := cmp.Diff(want, w.trail); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(w.events.sent) != 2 {
		t.Errorf("%d events, want one for each switch", len(w.events.sent))
	}
}

// Killed after any of its writes, the controller goes on where it was.
func TestWalkKilledAnywhere(t *testing.T) {
	whole := newWorld(t)
	whole.walk()
	for writes := range whole.trail {
		t.Run(fmt.Sprint("after ", writes), func(t *testing.T) {
			w := newWorld(t)
			w.writes = writes
			w.revive()
		})
	}
}

// revive walks like walk, and has the process started anew once it was killed.
func (w *world) revive() {
	for range 4 {
		w.settle()
		if w.writes == 0 {
			w.note("-- killed")
			w.writes = -1
			w.settle()
		}
		switch t := w.tenant(); {
		case w.gone():
		case t.Spec.Gateway.Mode == v1alpha1.GatewayShared && t.Annotations["was"] == "":
			w.change(func(t *v1alpha1.Tenant) {
				t.Annotations, t.Spec.Gateway.Mode = map[string]string{"was": "dedicated"}, v1alpha1.GatewayDedicated
			})
		case t.Spec.Gateway.Mode == v1alpha1.GatewayDedicated:
			w.change(func(t *v1alpha1.Tenant) { t.Spec.Gateway.Mode = v1alpha1.GatewayShared })
		default:
			w.change(deleted)
		}
	}
	if !w.gone() || len(w.services()) > 0 {
		w.t.Fatalf("isn't gone: %s\n%s", describeStatus(w.tenant().Status), strings.Join(w.trail, "\n"))
	}
}
