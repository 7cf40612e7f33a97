//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/config"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

const (
	// briefConnections is the age at which connections end while there are tenants,
	// in place of a minute: a move drains for twice as long.
	briefConnections = "3s"
	// briefRequests bounds the requests of Models of tenants that move, for the same
	// reason, in seconds.
	briefRequests = 5
	// settledWithin bounds a move: a gateway's pods to start, the proofs, the drain.
	settledWithin = 90 * time.Second
	// servingNamespace is where Knative Serving is configured.
	servingNamespace = "knative-serving"
	// testLabelKey is on the Tenants of a test, which have no namespace to go with.
	testLabelKey = "e2e." + sluice.GroupName + "/test"
)

// tenant is a Tenant, and the stage of its one namespace.
type tenant struct {
	*stage
	name string
}

// in is the tenant within a subtest.
func (n *tenant) in(t *testing.T) *tenant {
	s := *n.stage
	s.T = t
	return &tenant{stage: &s, name: n.name}
}

// wish is a Tenant to be made: the start of its name, and what is special about it.
type wish struct {
	prefix  string
	changes []func(*v1alpha1.Tenant)
}

func wanted(prefix string, changes ...func(*v1alpha1.Tenant)) wish { return wish{prefix, changes} }

// dedicated gives a Tenant a gateway of so many pods.
func dedicated(pods int32) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Spec.Gateway.Mode = v1alpha1.GatewayDedicated
		t.Spec.Gateway.Replicas = v1alpha1.GatewayReplicas{Min: ptr.Int32(pods), Max: ptr.Int32(pods)}
	}
}

// shared takes a Tenant back to the shared gateway.
func shared(t *v1alpha1.Tenant) {
	t.Spec.Gateway = v1alpha1.TenantGateway{Mode: v1alpha1.GatewayShared}
}

// ownDomain gives a Tenant the domain of ownDomainOf.
func ownDomain(t *v1alpha1.Tenant) { t.Spec.Domain = ownDomainOf(t.Name) }

func ownDomainOf(tenant string) string { return tenant + ".example.com" }

// brief bounds the requests of a Model, so that a move of its tenant is short.
func brief(m *v1alpha1.Model) { m.Spec.TimeoutSeconds = ptr.Int64(briefRequests) }

// newTenants makes Tenants of a namespace each and waits until they are served.
// They go with the test, after their namespaces.
func newTenants(t *testing.T, wishes ...wish) []*tenant {
	t.Helper()
	const age = "max-connection-duration"
	before := configure(t, sluice.SystemNamespace, config.GatewayName, age, ptr.String(briefConnections))
	t.Cleanup(func() {
		removeTenants(t)
		configure(t, sluice.SystemNamespace, config.GatewayName, age, before)
	})
	var tenants []*tenant
	for _, w := range wishes {
		n := &tenant{stage: newStage(t)}
		n.name = w.prefix + strings.TrimPrefix(n.namespace, "e2e")
		n.make(w.changes)
		tenants = append(tenants, n)
	}
	for _, n := range tenants {
		n.settled()
	}
	return tenants
}

func (n *tenant) make(changes []func(*v1alpha1.Tenant)) {
	n.Helper()
	made := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{testLabelKey: testLabel(n.T)}},
		Spec:       v1alpha1.TenantSpec{Namespaces: v1alpha1.TenantNamespaces{Names: []string{n.namespace}}},
	}
	for _, change := range changes {
		change(made)
	}
	if _, err := n.Sluice.SluiceV1alpha1().Tenants().Create(n.Context(), made, metav1.CreateOptions{}); err != nil {
		n.Fatalf("creating Tenant %s: %v", n.name, err)
	}
	n.Cleanup(n.explain)
}

// explain prints the Tenant if the test failed.
func (n *tenant) explain() {
	if !n.Failed() {
		return
	}
	got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(context.Background(), n.name, metav1.GetOptions{})
	if err != nil {
		n.Logf("Tenant %s: %v", n.name, err)
		return
	}
	n.Logf("Tenant %s: gateway %s, attached %v, move %+v, namespaces %v", n.name, got.Status.Gateway, got.Status.Attached,
		got.Status.Move, got.Status.Namespaces)
	for _, condition := range got.Status.Conditions {
		n.Logf("  %-18s %-8s %s %s", condition.Type, condition.Status, condition.Reason, condition.Message)
	}
}

// removeTenants deletes the test's Tenants and waits until they are gone.
func removeTenants(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tenants := cluster.clients.Sluice.SluiceV1alpha1().Tenants()
	own := metav1.ListOptions{LabelSelector: testLabelKey + "=" + testLabel(t)}
	err := errors.Join(
		tenants.DeleteCollection(ctx, metav1.DeleteOptions{}, own),
		platform.Until(ctx, settledWithin, "Tenants to go", func(ctx context.Context) (string, error) {
			list, err := tenants.List(ctx, own)
			if err != nil || len(list.Items) == 0 {
				return "", err
			}
			return fmt.Sprintf("%s is left: %+v", list.Items[0].Name, list.Items[0].Status), nil
		}))
	if err != nil {
		t.Error("removing Tenants:", err)
	}
}

// testLabel names a test as a label's value.
func testLabel(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// configure sets a key of a ConfigMap, or removes it, and returns what it was.
func configure(t *testing.T, namespace, name, key string, value *string) (before *string) {
	t.Helper()
	return configureAll(t, namespace, name, map[string]*string{key: value})[key]
}

// configureAll sets or removes keys together, since one without another may be refused.
func configureAll(t *testing.T, namespace, name string, keys map[string]*string) (before map[string]*string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	configMaps := cluster.clients.Kube.CoreV1().ConfigMaps(namespace)
	existing, err := configMaps.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("getting ConfigMap %s/%s: %v", namespace, name, err)
	}
	before = map[string]*string{}
	for key := range keys {
		before[key] = nil
		if was, ok := existing.Data[key]; ok {
			before[key] = &was
		}
	}
	patch, err := json.Marshal(map[string]any{"data": keys})
	if err == nil {
		_, err = configMaps.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		t.Fatalf("setting %v of ConfigMap %s/%s: %v", slices.Sorted(maps.Keys(keys)), namespace, name, err)
	}
	return before
}

// now is the Tenant as it is.
func (n *tenant) now() *v1alpha1.Tenant {
	n.Helper()
	got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(n.Context(), n.name, metav1.GetOptions{})
	if err != nil {
		n.Fatalf("getting Tenant %s: %v", n.name, err)
	}
	return got
}

// change changes the Tenant.
func (n *tenant) change(change func(*v1alpha1.Tenant)) {
	n.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(n.Context(), n.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(got)
		_, err = n.Sluice.SluiceV1alpha1().Tenants().Update(n.Context(), got, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		n.Fatalf("changing Tenant %s: %v", n.name, err)
	}
}

// settled waits until the Tenant is as its spec asks, with no move under way.
func (n *tenant) settled() time.Duration {
	n.Helper()
	took := n.until(settledWithin, "Tenant "+n.name+" to be settled", func(ctx context.Context) (string, error) {
		got, err := n.Sluice.SluiceV1alpha1().Tenants().Get(ctx, n.name, metav1.GetOptions{})
		if err != nil || isSettled(got) {
			return "", err
		}
		return fmt.Sprintf("gateway %s, move %+v, %+v", got.Status.Gateway, got.Status.Move,
			got.Status.GetCondition(v1alpha1.TenantConditionReady)), nil
	})
	n.Logf("Tenant %s settled on gateway %s after %.1f s", n.name, n.now().Status.Gateway, took.Seconds())
	return took
}

func isSettled(t *v1alpha1.Tenant) bool {
	for _, namespace := range t.Status.Namespaces {
		if namespace.Phase != v1alpha1.NamespaceHeld {
			return false
		}
	}
	return t.IsReady() && t.Status.Move == nil && t.Status.Gateway == t.WantedGateway() && len(t.Status.Attached) == 1
}

// address is where the tenant is reached from outside the cluster, "IP:port".
func (n *tenant) address(port uint16) string {
	n.Helper()
	address, err := n.serviceAddress(n.Context(), gateway.OfTenant(n.name), port)
	if err != nil {
		n.Fatal(err)
	}
	return address
}

// serviceAddress is the address that a Service of the gateways' namespace was given.
func (s *stage) serviceAddress(ctx context.Context, name string, port uint16) (string, error) {
	service, err := s.Kube.CoreV1().Services(gateway.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("getting Service %s: %w", name, err)
	}
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(ingress.IP); err == nil {
			return netip.AddrPortFrom(ip, port).String(), nil
		}
	}
	return "", fmt.Errorf("Service %s has no address", name)
}

// serving waits until a Model is Ready at the tenant's domain and address.
func (n *tenant) serving(model string) platform.Endpoint {
	n.Helper()
	domain := n.now().Spec.Domain
	n.until(readyWithin, "Model "+model+" to be in the tenant's domain", func(ctx context.Context) (string, error) {
		got, err := n.Sluice.SluiceV1alpha1().Models(n.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if got.Status.URL == nil || !strings.HasSuffix(got.Status.URL.Host, domain) {
			return fmt.Sprintf("its URL is %v", got.Status.URL), nil
		}
		return "", nil
	})
	endpoint := n.stage.serving(model)
	endpoint.Address = n.address(80)
	return endpoint
}

// floodTimes is how many times its limit the flood of a tenant is.
const floodTimes = 5

// Two tenants with gateways of their own: a flood at one costs the other no request,
// and is itself held to its limit. Quiet and flooded rounds take turns.
func TestFloodStaysWithItsTenant(t *testing.T) {
	const limit, rate, rounds, lasts = 40, 30, 3, 4 * time.Second
	tenants := newTenants(t, wanted("acme", dedicated(1)), wanted("rival", dedicated(1)))
	var models [2]platform.Endpoint
	for i, n := range tenants {
		n.create(n.ranker("ranker", fixed(fmt.Sprint(limit)), brief))
		models[i] = n.serving("ranker")
		n.predict(models[i])
	}
	n, quiet, flooded := tenants[0], models[0], models[1]
	log := n.followLog(gateway.OfTenant(n.name))

	var calm, storm []time.Duration
	for round := range rounds {
		before := n.run(plan(quiet, load.Schedule{load.Hold(rate, lasts)})).Total
		both := n.runAll(map[string]load.Plan{
			"quiet": plan(quiet, load.Schedule{load.Hold(rate, lasts)}),
			"flood": plan(flooded, load.Schedule{load.Hold(floodTimes*limit, lasts)}),
		})
		n.noneFailed(both["quiet"])
		n.noneFailed(both["flood"])
		during, flood := both["quiet"].Total, both["flood"].Total
		calm, storm = append(calm, before.P99), append(storm, during.P99)
		t.Logf("round %d: p99 %v without, %v with a flood of %d, %d of it admitted", round+1, before.P99, during.P99, flood.Offered, flood.Admitted)
		if before.Limited+during.Limited > 0 {
			t.Errorf("round %d: the quiet tenant was refused %d and %d times, below its limit", round+1, before.Limited, during.Limited)
		}
		// A tenth more, and what a full bucket holds.
		if most := limit*lasts.Seconds()*1.1 + 10; float64(flood.Admitted) > most {
			t.Errorf("round %d: %d of the flood admitted, want at most %g", round+1, flood.Admitted, most)
		}
	}
	for _, line := range log.of("ranker", 2*rounds*rate*int(lasts.Seconds())) {
		if !strings.HasPrefix(line.Route, n.name+"/") || line.Gateway != gateway.OfTenant(n.name) {
			t.Fatalf("a request to a tenant's own gateway is logged as %s", line.whole)
		}
	}
	// A time on two cores that do everything else as well is no verdict.
	t.Logf("median p99 %v without, %v with the flood", median(calm), median(storm))
}

// runAll runs plans side by side.
func (s *stage) runAll(plans map[string]load.Plan) map[string]*load.Report {
	s.Helper()
	var mu sync.Mutex
	var running sync.WaitGroup
	var errs []error
	reports := map[string]*load.Report{}
	for name, p := range plans {
		running.Go(func() {
			report, err := p.Run(s.Context())
			mu.Lock()
			defer mu.Unlock()
			reports[name], errs = report, append(errs, err)
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
	return reports
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
