//go:build e2e

package uninstall

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/ptr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
)

const (
	// root is the repository, from this package.
	root = "../.."
	// other is an ingress class that nobody needs to serve: to hand over is to name it.
	other = "istio.ingress.networking.knative.dev"
	// finalizer is that of Knative's Ingresses, of each class.
	finalizer = "ingresses.networking.internal.knative.dev"
	// within bounds each wait, the last requests of gateway pods included.
	within = 2 * time.Minute
	// health is the ranker's path that says that it serves; pause is between two requests.
	health = "/v2/health/ready"
	pause  = 50 * time.Millisecond
	// ofSluice lists what belongs to Sluice by its name, of all kinds that there are. The
	// local stack has names like it.
	ofSluice = `kubectl api-resources --verbs=list -o name | grep -v '^events' | paste -sd, |
		xargs kubectl get --all-namespaces -o name --ignore-not-found | grep sluice |
		grep -vE '^(node|csinode.storage.k8s.io|lease.coordination.k8s.io)/sluice$|/sluice-cluster:' || true`
)

// site is a namespace with somebody's Models in a cluster that has Sluice.
type site struct {
	*testing.T
	*platform.Clients
	namespace string
}

// By itself `make uninstall` takes Models along. Handed over to another class they go on as
// Knative Services, and no caller of theirs is let down while the gateways are there.
func TestUninstall(t *testing.T) {
	clients, err := platform.Connect(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := clients.Kube.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "uninstall-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal("creating a namespace:", err)
	}
	s := &site{T: t, Clients: clients, namespace: namespace.Name}
	t.Cleanup(s.leave)

	s.tenant()
	s.serve("alone")
	s.score("alone")
	if printed := s.make(0, "uninstall"); !strings.Contains(printed, "still the cluster's default") {
		t.Error("nobody is told that the cluster's default class has nobody who serves it")
	}
	s.await("Sluice to be gone", s.left)
	if left := s.run("kubectl get services.serving.knative.dev,revisions.serving.knative.dev,triggers.eventing.knative.dev -o name -n " + s.namespace); left != "" {
		t.Errorf("of the Model, and of the InferenceTrigger, there is left:\n%s", left)
	}

	if s.hasDomain() {
		t.Error("Knative still has the tenant's domain")
	}

	s.make(0, "install", "SLUICE_NETWORK_POLICIES=true", "SLUICE_REPLICAS=2")
	s.installed()
	s.tenant()
	endpoint := s.serve("kept")
	s.named("plain")
	before := s.revision("kept")
	if printed := s.make(2, "uninstall", "SLUICE_HANDOVER="+other); !strings.Contains(printed, "set ingress-class in knative-serving/config-network") {
		t.Error("nobody is told what to set first")
	}
	s.ready("kept")

	s.patchConfig(s.Context(), "config-network", fmt.Sprintf(`{"ingress-class":%q}`, other))
	callers := s.call(endpoint)
	s.make(0, "uninstall", "SLUICE_HANDOVER="+other)
	s.handedOver("kept", before)
	s.handedOver("plain", nil)
	answered, failed := callers()
	if t.Logf("%d requests were answered while Models were handed over", answered); answered == 0 || len(failed) > 0 {
		t.Errorf("others were not: %q", failed)
	}
	s.make(0, "uninstall")
	s.await("Sluice to be gone", s.left)
	s.handedOver("kept", before)
	if !s.hasDomain() {
		t.Error("a Knative Service that was handed over has lost its domain")
	}
}

// leave removes the namespace and gives the cluster its default class back.
func (s *site) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if s.Failed() {
		s.Log(s.Explain(ctx, s.namespace))
	}
	s.patchConfig(ctx, "config-network", fmt.Sprintf(`{"ingress-class":%q}`, sluice.IngressClassName))
	s.patchConfig(ctx, "config-domain", fmt.Sprintf(`{%q:null}`, s.domain()))
	s.finalize(ctx)
	if err := s.Kube.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{}); err != nil {
		s.Error("removing the namespace:", err)
	}
}

// finalize does what the other class would do when its Ingresses are deleted.
func (s *site) finalize(ctx context.Context) {
	all, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		s.Error(err)
		return
	}
	for _, i := range all.Items {
		if networking.GetIngressClass(i.Annotations) != other {
			continue
		}
		if _, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Patch(ctx, i.Name, types.MergePatchType,
			[]byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			s.Error(err)
		}
	}
}

// make runs one of the repository's targets as on a cluster of one's own, and returns what
// it printed.
func (s *site) make(code int, target string, environment ...string) string {
	s.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "make", "-s", "-C", root, target)
	command.Env = append(os.Environ(), append(environment, "CLUSTER=existing")...)
	out, err := command.CombinedOutput()
	s.Logf("%s make %s: %.0f s\n%s", strings.Join(environment, " "), target, time.Since(began).Seconds(), out)
	if got := command.ProcessState.ExitCode(); got != code {
		s.Fatalf("exit code %d, %v; want %d", got, err, code)
	}
	return string(out)
}

// run runs a shell's command and returns what it printed.
func (s *site) run(command string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", command)
	out, err := shell.Output()
	if err != nil {
		s.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSpace(string(out))
}

func (s *site) await(what string, check func(context.Context) (string, error)) {
	s.Helper()
	if err := platform.Until(s.Context(), within, what, check); err != nil {
		s.Fatal(err)
	}
}

// installed checks what was asked for: two pods of each, and what keeps others from them.
func (s *site) installed() {
	s.Helper()
	got := s.run(`kubectl -n sluice-system get deployments/controller deployments/limiter deployments/webhook -o jsonpath='{range .items[*]}{.metadata.name} {.status.readyReplicas} {end}' &&
		kubectl -n sluice-system get networkpolicies -o jsonpath='{range .items[*]}{.metadata.name} {end}'`)
	if want := "controller 2 limiter 2 webhook 2 batch collector-gateway controller limiter sluice webhook"; got != want {
		s.Errorf("installed are %q, want %q", got, want)
	}
}

// left says what the cluster still has of Sluice.
func (s *site) left(context.Context) (string, error) { return s.run(ofSluice), nil }

// serve makes a Model, waits until it is Ready and asks it.
func (s *site) serve(name string) platform.Endpoint {
	s.Helper()
	rate := resource.MustParse("100")
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	model.Spec.Container = corev1.Container{Image: os.Getenv("RANKER_IMAGE")}
	model.Spec.Autoscaling = v1alpha1.AutoscalingSpec{MinReplicas: ptr.Int32(1), MaxReplicas: ptr.Int32(1)}
	model.Spec.Limit = v1alpha1.LimitSpec{RequestsPerSecondPerReplica: &rate, Policy: v1alpha1.PolicyReady}
	if _, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Create(s.Context(), model, metav1.CreateOptions{}); err != nil {
		s.Fatalf("creating Model %s: %v", name, err)
	}
	address, err := s.GatewayAddress(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	endpoint := platform.Endpoint{Address: address, Host: s.ready(name)}
	if status, body, _, err := endpoint.Get(s.Context(), health); err != nil || status != http.StatusOK {
		s.Fatalf("Model %s answers %d, %v: %s", name, status, err, body)
	}
	return endpoint
}

// score makes an InferenceTrigger that asks a Model, of a Broker that isn't there.
func (s *site) score(model string) {
	s.Helper()
	trigger := &v1alpha1.InferenceTrigger{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "score"}}
	trigger.Spec.Broker, trigger.Spec.Model, trigger.Spec.Request = "none", model, &v1alpha1.TriggerRequest{Path: platform.InferPath}
	if _, err := s.Sluice.SluiceV1alpha1().InferenceTriggers(s.namespace).Create(s.Context(), trigger, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating an InferenceTrigger:", err)
	}
	s.await("its Trigger", func(ctx context.Context) (string, error) {
		if s.run("kubectl get triggers.eventing.knative.dev -o name -n "+s.namespace) == "" {
			return "there is none", nil
		}
		return "", nil
	})
}

// ready waits until a Model is Ready and returns its host.
func (s *site) ready(name string) string {
	s.Helper()
	var host string
	s.await("Model "+name+" to be Ready", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !m.IsReady() || m.Status.URL == nil {
			return fmt.Sprintf("%+v", m.Status.GetCondition(v1alpha1.ModelConditionReady)), nil
		}
		host = m.Status.URL.Host
		return "", nil
	})
	return host
}

// named makes a Knative Service that is nobody's Model and names Sluice's class.
func (s *site) named(name string) {
	s.Helper()
	service := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.namespace, Name: name,
		Annotations: map[string]string{networking.IngressClassAnnotationKey: sluice.IngressClassName},
	}}
	service.Spec.Template.Spec.Containers = []corev1.Container{{Image: os.Getenv("RANKER_IMAGE")}}
	if _, err := s.Serving.ServingV1().Services(s.namespace).Create(s.Context(), service, metav1.CreateOptions{}); err != nil {
		s.Fatalf("creating Knative Service %s: %v", name, err)
	}
	s.await("Knative Service "+name+" to be Ready", func(ctx context.Context) (string, error) {
		service, err := s.Serving.ServingV1().Services(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || service.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", service.Status.GetCondition(servingv1.ServiceConditionReady)), nil
	})
}

// revision is the ready one of a Knative Service.
func (s *site) revision(service string) *servingv1.Revision {
	s.Helper()
	of, err := s.Serving.ServingV1().Services(s.namespace).Get(s.Context(), service, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	revision, err := s.Serving.ServingV1().Revisions(s.namespace).Get(s.Context(), of.Status.LatestReadyRevisionName, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	return revision
}

// handedOver checks that a Knative Service is the other class' and nobody's, and still has
// the revision that it had.
func (s *site) handedOver(name string, before *servingv1.Revision) {
	s.Helper()
	service, err := s.Serving.ServingV1().Services(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	if len(service.OwnerReferences)+len(service.Finalizers) > 0 {
		s.Errorf("Knative Service %s has owners %v and finalizers %v", name, service.OwnerReferences, service.Finalizers)
	}
	ingress, err := s.Networking.NetworkingV1alpha1().Ingresses(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	// Its finalizer has one name for whoever serves it, and so is the other class' from now on.
	if class := networking.GetIngressClass(ingress.Annotations); class != other || !slices.Equal(ingress.Finalizers, []string{finalizer}) {
		s.Errorf("Ingress %s is of class %s and has finalizers %v", name, class, ingress.Finalizers)
	}
	if before == nil {
		return
	}
	switch now := s.revision(name); {
	case now.UID != before.UID:
		s.Errorf("Knative Service %s has revision %s, had %s", name, now.Name, before.Name)
	case !now.IsReady():
		s.Errorf("revision %s is not ready: %+v", now.Name, now.Status.Conditions)
	}
}

// patchConfig changes a ConfigMap of Knative Serving.
func (s *site) patchConfig(ctx context.Context, name, data string) {
	s.Helper()
	patch := fmt.Appendf(nil, `{"data":%s}`, data)
	if _, err := s.Kube.CoreV1().ConfigMaps("knative-serving").Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		s.Errorf("changing %s: %v", name, err)
	}
}

// domain is the tenant's.
func (s *site) domain() string { return s.namespace + ".test" }

// tenant gives the namespace to a Tenant, on the shared gateway and with a domain.
func (s *site) tenant() {
	s.Helper()
	tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}
	tenant.Spec.Namespaces.Names = []string{s.namespace}
	tenant.Spec.Domain = s.domain()
	if _, err := s.Sluice.SluiceV1alpha1().Tenants().Create(s.Context(), tenant, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating a Tenant:", err)
	}
	s.await("the Tenant to be Ready", func(ctx context.Context) (string, error) {
		now, err := s.Sluice.SluiceV1alpha1().Tenants().Get(ctx, s.namespace, metav1.GetOptions{})
		if c := now.Status.GetCondition(v1alpha1.TenantConditionReady); err == nil && !c.IsTrue() {
			return fmt.Sprintf("%+v", c), nil
		}
		return "", err
	})
}

// hasDomain is true while Knative has the Tenant's domain.
func (s *site) hasDomain() bool {
	s.Helper()
	config, err := s.Kube.CoreV1().ConfigMaps("knative-serving").Get(s.Context(), "config-domain", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	_, ok := config.Data[s.domain()]
	return ok
}

// call asks an endpoint over and over, each time over a new connection, until what it returns
// is called: that tells how many answers there were, and what the others were.
func (s *site) call(endpoint platform.Endpoint) func() (int, []string) {
	ctx, stop := context.WithCancel(s.Context())
	s.Cleanup(stop)
	answered, failed, done := 0, []string(nil), make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			status, body, _, err := endpoint.Get(s.Context(), health)
			if err == nil && status == http.StatusOK {
				answered++
			} else if len(failed) < 10 {
				failed = append(failed, fmt.Sprintf("%d, %v: %s", status, err, body))
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}()
	return func() (int, []string) {
		stop()
		<-done
		return answered, failed
	}
}
