package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	istiov1alpha3listers "istio.io/client-go/pkg/listers/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	policyv1listers "k8s.io/client-go/listers/policy/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	pkgreconciler "knative.dev/pkg/reconciler"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/gateway/resources"
)

// world is a cluster of fakes in which the reconciler runs.
type world struct {
	kube  *kubefake.Clientset
	istio *istiofake.Clientset
	cfg   *config.Gateway
}

func newWorld(objects ...runtime.Object) *world {
	w := &world{kube: kubefake.NewSimpleClientset(), istio: istiofake.NewSimpleClientset(), cfg: config.DefaultGateway()}
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
	w.kube.ClearActions()
	w.istio.ClearActions()
	ctx := logging.WithLogger(t.Context(), logtesting.TestLogger(t))
	r := &Reconciler{
		LeaderAwareFuncs: promoteAll(),
		kube:             w.kube,
		istio:            w.istio,
		probePath:        "/probe",
		config:           fixedConfig{w.cfg},
		deployments:      appsv1listers.NewDeploymentLister(list(t, w.kube.AppsV1().Deployments(gateway.Namespace).List)),
		services:         corev1listers.NewServiceLister(list(t, w.kube.CoreV1().Services(gateway.Namespace).List)),
		serviceAccounts:  corev1listers.NewServiceAccountLister(list(t, w.kube.CoreV1().ServiceAccounts(gateway.Namespace).List)),
		budgets:          policyv1listers.NewPodDisruptionBudgetLister(list(t, w.kube.PolicyV1().PodDisruptionBudgets(gateway.Namespace).List)),
		gateways:         istiov1listers.NewGatewayLister(list(t, w.istio.NetworkingV1().Gateways(gateway.Namespace).List)),
		virtualServices:  istiov1listers.NewVirtualServiceLister(list(t, w.istio.NetworkingV1().VirtualServices(gateway.Namespace).List)),
		envoyFilters:     istiov1alpha3listers.NewEnvoyFilterLister(list(t, w.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List)),
	}
	if leads {
		if err := r.Promote(pkgreconciler.UniversalBucket(), func(pkgreconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	err := r.Reconcile(ctx, gateway.Shared)
	return append(writes(w.istio.Actions()), writes(w.kube.Actions())...), err
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
		if change, ok := action.(clientgotesting.CreateAction); ok { // an UpdateAction has the same methods
			object := change.GetObject().(metav1.Object)
			out = append(out, fmt.Sprintf("%s %s %s", action.GetVerb(), action.GetResource().Resource, object.GetName()))
		}
	}
	return out
}

func slots() []runtime.Object {
	var out []runtime.Object
	for _, entry := range gateway.Entries() {
		for slot := range gateway.Slots {
			out = append(out, &istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{
				Namespace: gateway.Namespace, Name: gateway.SlotObjectName(gateway.Shared, entry, slot),
				Labels: resources.Labels(gateway.Shared),
			}})
		}
	}
	return out
}

var withoutPods = []string{
	"create envoyfilters shared-slots", "create envoyfilters shared-connections",
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
			filter, err := filters.Get(ctx, "shared-slots", metav1.GetOptions{})
			ok(t, err)
			filter.Spec.ConfigPatches = filter.Spec.ConfigPatches[1:]
			_, err = filters.Update(ctx, filter, metav1.UpdateOptions{})
			ok(t, err)
		},
		want: "update envoyfilters shared-slots",
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
			editDeployment(t, w, func(spec *appsv1.DeploymentSpec) {
				spec.Template.Spec.Containers = append(spec.Template.Spec.Containers, corev1.Container{Name: "extra"})
			})
		},
		want: "update deployments shared",
	}, {
		name: "a pod with a writable root",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			editDeployment(t, w, func(spec *appsv1.DeploymentSpec) {
				*spec.Template.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = false
			})
		},
		want: "update deployments shared",
	}, {
		name: "what the API server fills in",
		drift: func(t *testing.T, w *world) {
			t.Helper()
			editDeployment(t, w, func(spec *appsv1.DeploymentSpec) {
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

func editService(t *testing.T, w *world, edit func(*corev1.ServiceSpec)) {
	t.Helper()
	services := w.kube.CoreV1().Services(gateway.Namespace)
	service, err := services.Get(t.Context(), "shared", metav1.GetOptions{})
	ok(t, err)
	edit(&service.Spec)
	_, err = services.Update(t.Context(), service, metav1.UpdateOptions{})
	ok(t, err)
}

func editDeployment(t *testing.T, w *world, edit func(*appsv1.DeploymentSpec)) {
	t.Helper()
	deployments := w.kube.AppsV1().Deployments(gateway.Namespace)
	deployment, err := deployments.Get(t.Context(), "shared", metav1.GetOptions{})
	ok(t, err)
	edit(&deployment.Spec)
	_, err = deployments.Update(t.Context(), deployment, metav1.UpdateOptions{})
	ok(t, err)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
