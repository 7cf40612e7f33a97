package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubeinformers "k8s.io/client-go/informers"
	kubefake "k8s.io/client-go/kubernetes/fake"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	autoscalingv2listers "k8s.io/client-go/listers/autoscaling/v2"
	corev1listers "k8s.io/client-go/listers/core/v1"
	policyv1listers "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/metadata/metadatalister"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	listers "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

// world is a cluster of fakes in which the reconciler runs.
type world struct {
	kube   *kubefake.Clientset
	istio  *istiofake.Clientset
	cfg    *config.Gateway
	tenant *v1alpha1.Tenant
	// recorder keeps the events.
	recorder *record.FakeRecorder
}

func newWorld(objects ...runtime.Object) *world {
	w := &world{kube: kubefake.NewSimpleClientset(), istio: istiofake.NewSimpleClientset(), cfg: config.DefaultGateway(), recorder: record.NewFakeRecorder(10)}
	w.add(objects...)
	return w
}

func (w *world) add(objects ...runtime.Object) {
	for _, object := range objects {
		tracker := w.kube.Tracker()
		if _, _, err := istiofakeScheme.ObjectKinds(object); err == nil {
			tracker = w.istio.Tracker()
		}
		if err := tracker.Add(object); err != nil {
			panic(err)
		}
	}
}

var istiofakeScheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{istiov1.AddToScheme, istiov1alpha3.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}()

type fixedConfig struct{ cfg *config.Gateway }

func (f fixedConfig) ToContext(ctx context.Context) context.Context {
	return config.WithGateway(ctx, f.cfg)
}

// reconcile runs once over fresh listers and returns what was written, as
// "verb kind name".
func (w *world) reconcile(t *testing.T, leads bool) ([]string, error) {
	t.Helper()
	name := gateway.Shared
	tenants := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if w.tenant != nil {
		name = gateway.OfTenant(w.tenant.Name)
		ok(t, tenants.Add(w.tenant))
	}
	w.kube.ClearActions()
	w.istio.ClearActions()
	ctx := logging.WithLogger(t.Context(), logtesting.TestLogger(t))
	r := &Reconciler{
		LeaderAwareFuncs: promote(func() []string { return nil }),
		kube:             w.kube,
		istio:            w.istio,
		probePath:        "/probe",
		recorder:         w.recorder,
		config:           fixedConfig{w.cfg},
		deployments:      appsv1listers.NewDeploymentLister(list(t, w.kube.AppsV1().Deployments(gateway.Namespace).List)),
		services:         corev1listers.NewServiceLister(list(t, w.kube.CoreV1().Services(gateway.Namespace).List)),
		serviceAccounts:  corev1listers.NewServiceAccountLister(list(t, w.kube.CoreV1().ServiceAccounts(gateway.Namespace).List)),
		budgets:          policyv1listers.NewPodDisruptionBudgetLister(list(t, w.kube.PolicyV1().PodDisruptionBudgets(gateway.Namespace).List)),
		autoscalers:      autoscalingv2listers.NewHorizontalPodAutoscalerLister(list(t, w.kube.AutoscalingV2().HorizontalPodAutoscalers(gateway.Namespace).List)),
		pods:             corev1listers.NewPodLister(list(t, w.kube.CoreV1().Pods(gateway.Namespace).List)),
		tenants:          listers.NewTenantLister(tenants),
		gateways:         istiov1listers.NewGatewayLister(list(t, w.istio.NetworkingV1().Gateways(gateway.Namespace).List)),
		virtualServices:  istiov1listers.NewVirtualServiceLister(list(t, w.istio.NetworkingV1().VirtualServices(gateway.Namespace).List)),
		envoyFilters:     istiov1alpha3listers.NewEnvoyFilterLister(w.filters(t, "!"+gateway.SlotLabelKey)),
		slots:            metadatalister.New(metadataOf(t, w.filters(t, gateway.SlotLabelKey)), gateway.SlotResource).Namespace(gateway.Namespace),
	}
	if leads {
		if err := r.Promote(pkgreconciler.UniversalBucket(), func(pkgreconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	err := r.Reconcile(ctx, name)
	return append(writes(w.istio.Actions()), writes(w.kube.Actions())...), err
}

// filters returns an indexer of the EnvoyFilters that a selector picks.
func (w *world) filters(t *testing.T, selector string) cache.Indexer {
	t.Helper()
	return list(t, func(ctx context.Context, o metav1.ListOptions) (*istiov1alpha3.EnvoyFilterList, error) {
		o.LabelSelector = selector
		return w.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(ctx, o)
	})
}

// metadataOf returns an indexer of objects' metadata.
func metadataOf(t *testing.T, objects cache.Indexer) cache.Indexer {
	t.Helper()
	out := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, object := range objects.List() {
		ok(t, out.Add(&metav1.PartialObjectMetadata{ObjectMeta: object.(*istiov1alpha3.EnvoyFilter).ObjectMeta}))
	}
	return out
}

// list returns an indexer of what a fake client lists.
func list[L runtime.Object](t *testing.T, from func(context.Context, metav1.ListOptions) (L, error)) cache.Indexer {
	t.Helper()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	listed, err := from(t.Context(), metav1.ListOptions{})
	ok(t, err)
	objects, err := meta.ExtractList(listed)
	ok(t, err)
	for _, object := range objects {
		ok(t, indexer.Add(object))
	}
	return indexer
}

func writes(actions []clientgotesting.Action) []string {
	var out []string
	for _, action := range actions {
		switch change := action.(type) {
		case clientgotesting.CreateAction: // an UpdateAction has the same methods
			object := change.GetObject().(metav1.Object)
			out = append(out, fmt.Sprintf("%s %s %s", action.GetVerb(), action.GetResource().Resource, object.GetName()))
		case clientgotesting.DeleteAction:
			out = append(out, fmt.Sprintf("%s %s %s", action.GetVerb(), action.GetResource().Resource, change.GetName()))
		}
	}
	return out
}

func slots() []runtime.Object { return slotsOf(gateway.Shared) }

func slotsOf(name string) []runtime.Object { return inThatNumber(name, gateway.DefaultSlots) }

func inThatNumber(name string, count int) []runtime.Object {
	var out []runtime.Object
	for slot := range count {
		labels := labelsOf(name)
		labels[gateway.SlotsLabelKey], labels[gateway.SlotLabelKey] = strconv.Itoa(count), strconv.Itoa(slot)
		out = append(out, &istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{
			Namespace: gateway.Namespace, Name: gateway.SlotObjectName(name, count, slot), Labels: labels,
		}})
	}
	return out
}

// dedicated is a Tenant that wants a gateway of its own.
func dedicated() *v1alpha1.Tenant {
	return &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: "blue"},
		Spec:       v1alpha1.TenantSpec{Gateway: v1alpha1.TenantGateway{Mode: v1alpha1.GatewayDedicated}},
	}
}

func replicas(least, most int32) v1alpha1.GatewayReplicas {
	return v1alpha1.GatewayReplicas{Min: &least, Max: &most}
}

var withoutPods = []string{
	"create envoyfilters shared-connections", "create envoyfilters shared-slots-4",
	"create gateways shared", "create gateways shared-local", "create virtualservices shared-limits",
	"create services shared", "create services shared-local",
	"create serviceaccounts shared", "create poddisruptionbudgets shared",
}

func TestPodsComeAfterEverySlot(t *testing.T) {
	all := slots()
	w := newWorld(all[1:]...)
	got, err := w.reconcile(t, true)
	if err != nil || !slices.Equal(got, withoutPods) {
		t.Fatalf("with a slot missing: %v, wrote\n%s", err, strings.Join(got, "\n"))
	}
	if got, err = w.reconcile(t, true); err != nil || len(got) != 0 {
		t.Fatalf("still waiting: %v, wrote %v", err, got)
	}
	w.add(all[0])
	got, err = w.reconcile(t, true)
	if want := []string{"create deployments shared"}; err != nil || !slices.Equal(got, want) {
		t.Fatalf("with every slot: %v, wrote %v", err, got)
	}
	if got, err = w.reconcile(t, true); err != nil || len(got) != 0 {
		t.Errorf("in the steady state: %v, wrote %v", err, got)
	}
}

func TestOnlyTheLeaderWrites(t *testing.T) {
	got, err := newWorld(slots()...).reconcile(t, false)
	if !controller.IsSkipKey(err) || len(got) != 0 {
		t.Errorf("got error %v, wrote %v", err, got)
	}
}

func TestConfigurationReachesThePods(t *testing.T) {
	w := newWorld(slots()...)
	if _, err := w.reconcile(t, true); err != nil {
		t.Fatal(err)
	}
	w.cfg.Replicas = 3
	got, err := w.reconcile(t, true)
	if want := []string{"update deployments shared"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, wrote %v", err, got)
	}
}

func TestDriftIsRepaired(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name  string
		drift func(t *testing.T, w *world)
		want  string
	}{{
		name: "a deleted Istio Gateway",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			ok(t, w.istio.NetworkingV1().Gateways(gateway.Namespace).Delete(ctx, "shared-local", metav1.DeleteOptions{}))
		},
		want: "create gateways shared-local",
	}, {
		name: "an edited EnvoyFilter",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			filters := w.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
			filter, err := filters.Get(ctx, "shared-slots-4", metav1.GetOptions{})
			ok(t, err)
			filter.Spec.ConfigPatches = filter.Spec.ConfigPatches[1:]
			_, err = filters.Update(ctx, filter, metav1.UpdateOptions{})
			ok(t, err)
		},
		want: "update envoyfilters shared-slots-4",
	}, {
		name: "a Service that exposes a bind port",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			editService(t, w, func(spec *corev1.ServiceSpec) {
				spec.Ports = append(spec.Ports, corev1.ServicePort{Name: "extra", Port: 8080})
			})
		},
		want: "update services shared",
	}, {
		name: "a Service that selects fewer pods",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			editService(t, w, func(spec *corev1.ServiceSpec) { spec.Selector["extra"] = "x" })
		},
		want: "update services shared",
	}, {
		name: "a pod template with a container more",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			w.editDeployment(t, "shared", func(spec *appsv1.DeploymentSpec) {
				spec.Template.Spec.Containers = append(spec.Template.Spec.Containers, corev1.Container{Name: "extra"})
			})
		},
		want: "update deployments shared",
	}, {
		name: "a pod with a writable root",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			w.editDeployment(t, "shared", func(spec *appsv1.DeploymentSpec) {
				*spec.Template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = false
			})
		},
		want: "update deployments shared",
	}, {
		name: "what the API server fills in",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			w.editDeployment(t, "shared", func(spec *appsv1.DeploymentSpec) {
				spec.Template.Spec.DNSPolicy = corev1.DNSClusterFirst
				spec.Template.Spec.Containers[0].TerminationMessagePath = corev1.TerminationMessagePathDefault
			})
			editService(t, w, func(spec *corev1.ServiceSpec) { spec.ClusterIP, spec.Ports[0].NodePort = "10.96.1.1", 30123 })
		},
	}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(slots()...)
			_, err := w.reconcile(t, true)
			ok(t, err)
			test.drift(t, w)
			got, err := w.reconcile(t, true)
			ok(t, err)
			if strings.Join(got, ", ") != test.want {
				t.Errorf("wrote %v, want %q", got, test.want)
			}
			got, err = w.reconcile(t, true)
			ok(t, err)
			if len(got) != 0 {
				t.Errorf("repaired, wrote %v once more", got)
			}
		})
	}
}

func TestServiceKeepsItsAddress(t *testing.T) {
	w := newWorld(slots()...)
	_, err := w.reconcile(t, true)
	ok(t, err)
	editService(t, w, func(spec *corev1.ServiceSpec) {
		spec.ClusterIP, spec.Ports[0].NodePort, spec.Ports[0].Port = "10.96.1.1", 30123, 81
	})
	_, err = w.reconcile(t, true)
	ok(t, err)
	service, err := w.kube.CoreV1().Services(gateway.Namespace).Get(t.Context(), "shared", metav1.GetOptions{})
	ok(t, err)
	if spec := service.Spec; spec.ClusterIP != "10.96.1.1" || spec.Ports[0].NodePort != 30123 || spec.Ports[0].Port != 80 {
		t.Errorf("repaired to %+v", spec)
	}
}

func TestForeignObjectsAreLeftAlone(t *testing.T) {
	w := newWorld(append(slots(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: gateway.Namespace, Name: "shared", Labels: map[string]string{sluice.ManagedByLabelKey: "another"},
	}})...)
	got, err := w.reconcile(t, true)
	if err == nil || !strings.Contains(err.Error(), "Service sluice-gateways/shared exists") {
		t.Errorf("got error %v", err)
	}
	for _, write := range got {
		if write == "update services shared" || write == "create deployments shared" {
			t.Errorf("wrote %s", write)
		}
	}
}

func TestTenantGateway(t *testing.T) {
	w := newWorld()
	w.tenant = dedicated()
	w.tenant.Spec.Gateway.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	got, err := w.reconcile(t, true)
	ok(t, err)
	want := []string{
		"create envoyfilters tenant-blue-connections", "create envoyfilters tenant-blue-slots-4",
		"create gateways tenant-blue", "create gateways tenant-blue-local", "create virtualservices tenant-blue-limits",
		"create serviceaccounts tenant-blue", "create poddisruptionbudgets tenant-blue",
	}
	if !slices.Equal(got, want) {
		t.Errorf("before the slots, wrote\n%s", strings.Join(got, "\n"))
	}
	w.add(slotsOf("tenant-blue")...)
	got, err = w.reconcile(t, true)
	ok(t, err)
	if want := []string{"create deployments tenant-blue"}; !slices.Equal(got, want) {
		t.Errorf("with the slots, wrote %v", got)
	}
	deployment := w.deployment(t, "tenant-blue")
	if got := deployment.Labels[sluice.TenantLabelKey]; got != "blue" {
		t.Errorf("the Deployment is of tenant %q", got)
	}
	requests := deployment.Spec.Template.Spec.Containers[0].Resources.Requests
	if requests.Cpu().String() != "2" || requests.Memory().String() != "64Mi" {
		t.Errorf("pods request %v", requests)
	}
}

func TestReplicas(t *testing.T) {
	for _, test := range []struct {
		name   string
		own    v1alpha1.GatewayReplicas
		scaled int32 // what something else set in the meantime
		then   v1alpha1.GatewayReplicas
		want   int32
		writes string
	}{
		{name: "fixed, they are set back", own: replicas(2, 2), scaled: 5, then: replicas(2, 2), want: 2,
			writes: "update deployments tenant-blue"},
		{name: "autoscaled, they are left", own: replicas(2, 6), scaled: 5, then: replicas(2, 6), want: 5},
		{name: "autoscaled, but stopped", own: replicas(2, 6), scaled: 0, then: replicas(2, 6), want: 2,
			writes: "update deployments tenant-blue"},
		{name: "from now on autoscaled", own: replicas(2, 2), scaled: 2, then: replicas(2, 6), want: 2,
			writes: "create horizontalpodautoscalers tenant-blue"},
		{name: "in other bounds", own: replicas(2, 6), scaled: 5, then: replicas(3, 9), want: 5,
			writes: "update horizontalpodautoscalers tenant-blue"},
		{name: "no longer autoscaled", own: replicas(2, 6), scaled: 5, then: replicas(3, 3), want: 3,
			writes: "delete horizontalpodautoscalers tenant-blue, update deployments tenant-blue"},
		{name: "by default", own: replicas(2, 2), scaled: 2, want: 1, writes: "update deployments tenant-blue"},
		{name: "that contradict each other", own: replicas(2, 2), scaled: 2, then: replicas(2, 1), want: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(slotsOf("tenant-blue")...)
			w.tenant = dedicated()
			w.tenant.Spec.Gateway.Replicas = test.own
			_, err := w.reconcile(t, true)
			ok(t, err)
			if got := *w.deployment(t, "tenant-blue").Spec.Replicas; got != *test.own.Min {
				t.Errorf("created with %d replicas, want %d", got, *test.own.Min)
			}
			w.editDeployment(t, "tenant-blue", func(spec *appsv1.DeploymentSpec) { spec.Replicas = &test.scaled })
			w.tenant.Spec.Gateway.Replicas = test.then
			got, err := w.reconcile(t, true)
			ok(t, err)
			if strings.Join(got, ", ") != test.writes {
				t.Errorf("wrote %v, want %q", got, test.writes)
			}
			if got := *w.deployment(t, "tenant-blue").Spec.Replicas; got != test.want {
				t.Errorf("has %d replicas, want %d", got, test.want)
			}
		})
	}
}

func TestTemplateChangesKeepAutoscaledReplicas(t *testing.T) {
	w := newWorld(slotsOf("tenant-blue")...)
	w.tenant = dedicated()
	w.tenant.Spec.Gateway.Replicas = replicas(1, 9)
	_, err := w.reconcile(t, true)
	ok(t, err)
	w.editDeployment(t, "tenant-blue", func(spec *appsv1.DeploymentSpec) { *spec.Replicas = 7 })
	w.cfg.DrainDuration = time.Hour
	got, err := w.reconcile(t, true)
	ok(t, err)
	if want := []string{"update deployments tenant-blue"}; !slices.Equal(got, want) {
		t.Errorf("wrote %v", got)
	}
	if got := *w.deployment(t, "tenant-blue").Spec.Replicas; got != 7 {
		t.Errorf("reset to %d replicas", got)
	}
}

// While the tenant's routes or its address are there, so is the gateway.
func TestGatewayStaysAsLongAsItIsNeeded(t *testing.T) {
	for name, leave := range map[string]func(*v1alpha1.Tenant){
		"attached": func(tenant *v1alpha1.Tenant) { tenant.Status.Attached = []string{"shared", "tenant-blue"} },
		"address":  func(tenant *v1alpha1.Tenant) { tenant.Status.Gateway = "tenant-blue" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(slotsOf("tenant-blue")...)
			w.tenant = dedicated()
			_, err := w.reconcile(t, true)
			ok(t, err)
			w.tenant.Spec.Gateway.Mode = v1alpha1.GatewayShared
			leave(w.tenant)
			got, err := w.reconcile(t, true)
			ok(t, err)
			if len(got) != 0 {
				t.Errorf("wrote %v", got)
			}
		})
	}
}

func TestTakeDown(t *testing.T) {
	others := []runtime.Object{
		&istiov1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace,
			Name: gateway.SecureName("tenant-blue", "tenant-blue"), Labels: labelsOf("tenant-blue")}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "tenant-blue", Labels: labelsOf("tenant-blue")}},
		&istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "by-hand",
			Labels: map[string]string{gateway.LabelKey: "tenant-blue"}}},
	}
	w := newWorld(append(slotsOf("tenant-blue"), others...)...)
	w.tenant = dedicated()
	w.tenant.Spec.Gateway.Replicas = replicas(1, 2)
	_, err := w.reconcile(t, true)
	ok(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "tenant-blue-abc", Labels: labelsOf("tenant-blue")}}
	w.add(pod)
	w.tenant.Spec.Gateway.Mode = v1alpha1.GatewayShared

	step := func(what string, want ...string) {
		t.Helper()
		got, err := w.reconcile(t, true)
		ok(t, err)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("%s: wrote\n%s", what, strings.Join(got, "\n"))
		}
	}
	step("nobody needs it", "delete deployments tenant-blue", "delete horizontalpodautoscalers tenant-blue")
	for _, action := range w.kube.Actions() {
		if deletion, isOne := action.(clientgotesting.DeleteActionImpl); isOne && action.GetResource().Resource == "deployments" {
			if policy := deletion.DeleteOptions.PropagationPolicy; policy == nil || *policy != metav1.DeletePropagationForeground {
				t.Error("the Deployment would be gone before its pods are")
			}
		}
	}
	step("a pod is still ending what it began")
	ok(t, w.kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), pod.Namespace, pod.Name))
	step("its pods are gone",
		"delete gateways tenant-blue", "delete gateways tenant-blue-local", "delete virtualservices tenant-blue-limits")
	rest := []string{
		"delete envoyfilters tenant-blue-connections", "delete envoyfilters tenant-blue-slots-4",
		"delete poddisruptionbudgets tenant-blue", "delete serviceaccounts tenant-blue",
	}
	for _, slot := range slotsOf("tenant-blue") {
		rest = append(rest, "delete envoyfilters "+slot.(metav1.Object).GetName())
	}
	slices.Sort(rest)
	step("nothing asks for slots any more", rest...)
	step("it is gone")

	late := slotsOf("tenant-blue")[0]
	w.add(late)
	step("the limiter wrote a slot once more", "delete envoyfilters "+late.(metav1.Object).GetName())
}

func TestGatewayIsWantedAgainWhileItGoes(t *testing.T) {
	w := newWorld(slotsOf("tenant-blue")...)
	w.tenant = dedicated()
	_, err := w.reconcile(t, true)
	ok(t, err)
	deployments := appsv1.SchemeGroupVersion.WithResource("deployments")
	going := w.deployment(t, "tenant-blue")
	going.DeletionTimestamp, going.Finalizers = &metav1.Time{Time: time.Now()}, []string{metav1.FinalizerDeleteDependents}
	ok(t, w.kube.Tracker().Update(deployments, going, gateway.Namespace))
	got, err := w.reconcile(t, true)
	ok(t, err)
	if len(got) != 0 {
		t.Errorf("while it goes, wrote %v", got)
	}
	ok(t, w.kube.Tracker().Delete(deployments, gateway.Namespace, "tenant-blue"))
	got, err = w.reconcile(t, true)
	ok(t, err)
	if want := []string{"create deployments tenant-blue"}; !slices.Equal(got, want) {
		t.Errorf("once it is gone, wrote %v", got)
	}
}

func TestGatewayNames(t *testing.T) {
	tenants := kubeinformers.NewSharedInformerFactory(kubefake.NewSimpleClientset(), 0).Core().V1().Services().Informer()
	ok(t, tenants.GetStore().Add(dedicated()))
	filters := istioinformers.NewSharedInformerFactory(istiofake.NewSimpleClientset(), 0).Networking().V1alpha3().EnvoyFilters().Informer()
	for _, slot := range slotsOf("tenant-gone") {
		ok(t, filters.GetStore().Add(slot))
	}
	ok(t, filters.GetStore().Add(&istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "of-no-gateway"}}))
	ok(t, filters.GetStore().Add(&istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "x", Labels: labelsOf("by-hand")}}))
	got := gatewayNames(tenants, []cache.SharedIndexInformer{filters})
	if want := []string{"shared", "tenant-blue", "tenant-gone"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func labelsOf(name string) map[string]string {
	return map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy, gateway.LabelKey: name}
}

func editService(t *testing.T, w *world, edit func(*corev1.ServiceSpec)) {
	t.Helper()
	services := w.kube.CoreV1().Services(gateway.Namespace)
	service, err := services.Get(t.Context(), "shared", metav1.GetOptions{})
	ok(t, err)
	edit(&service.Spec)
	_, err = services.Update(t.Context(), service, metav1.UpdateOptions{})
	ok(t, err)
}

func (w *world) deployment(t *testing.T, name string) *appsv1.Deployment {
	t.Helper()
	deployment, err := w.kube.AppsV1().Deployments(gateway.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	ok(t, err)
	return deployment
}

func (w *world) editDeployment(t *testing.T, name string, edit func(*appsv1.DeploymentSpec)) {
	t.Helper()
	deployment := w.deployment(t, name)
	edit(&deployment.Spec)
	_, err := w.kube.AppsV1().Deployments(gateway.Namespace).Update(t.Context(), deployment, metav1.UpdateOptions{})
	ok(t, err)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Another number of slots comes with other pods. What the former ones need stays as
// long as any of them is there, or can come.
func TestAnotherNumberOfSlots(t *testing.T) {
	w := newWorld(slots()...)
	_, err := w.reconcile(t, true)
	ok(t, err)
	podOf := func(name, slots string) *corev1.Pod {
		labels := labelsOf("shared")
		labels[gateway.SlotsLabelKey] = slots
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: labels}}
	}
	former := podOf("shared-former", "4")
	w.add(former)
	w.cfg.LimitSlots = 2
	step := func(what string, want ...string) {
		t.Helper()
		got, err := w.reconcile(t, true)
		ok(t, err)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Fatalf("%s: wrote\n%s", what, strings.Join(got, "\n"))
		}
	}
	rolling := func(total, updated int32) {
		t.Helper()
		deployment := w.deployment(t, "shared")
		deployment.Status.Replicas, deployment.Status.UpdatedReplicas = total, updated
		_, err := w.kube.AppsV1().Deployments(gateway.Namespace).UpdateStatus(t.Context(), deployment, metav1.UpdateOptions{})
		ok(t, err)
	}
	step("the slots have to be written", "create envoyfilters shared-slots-2")
	for _, slot := range inThatNumber("shared", 2) {
		w.add(slot)
	}
	step("the slots are there", "update deployments shared")
	rolling(2, 1)
	w.add(podOf("shared-next", "2"))
	step("both serve")
	rolling(1, 1)
	step("the former one still ends what it began")
	ok(t, w.kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), former.Namespace, former.Name))
	rolling(2, 1)
	step("another of the former ones may come")
	rolling(1, 1)
	step("the limiter is told first", "delete envoyfilters shared-slots-4")
	step("and then they go", "delete envoyfilters shared-limit-4-0", "delete envoyfilters shared-limit-4-1",
		"delete envoyfilters shared-limit-4-2", "delete envoyfilters shared-limit-4-3")
	step("nothing is left to do")
}
