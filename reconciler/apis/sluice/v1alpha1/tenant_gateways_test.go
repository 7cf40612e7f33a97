package v1alpha1

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTenantPlaces(t *testing.T) {
	const shared, own = "shared", "tenant-search"
	holding := func(phase NamespacePhase, gateway string, attached ...string) *Tenant {
		return &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "search"}, Status: TenantStatus{
			Namespaces: []TenantNamespace{{Name: "x", Phase: phase}}, Gateway: gateway, Attached: attached,
		}}
	}
	for _, test := range []struct {
		name     string
		tenant   *Tenant
		gateways []string
		address  string
	}{
		{"no tenant", nil, []string{shared}, shared},
		{"another's", &Tenant{}, []string{shared}, shared},
		{"claimed before the first gateway is known", holding(NamespaceHeld, ""), []string{shared}, shared},
		{"shared", holding(NamespaceHeld, shared, shared), []string{shared}, own},
		{"on its own", holding(NamespaceHeld, own, own), []string{own}, own},
		{"moving", holding(NamespaceHeld, shared, own, shared), []string{shared, own}, own},
		{"joining", holding(NamespaceJoining, own, own), []string{shared, own}, own},
		{"leaving", holding(NamespaceLeaving, own, own), []string{shared, own}, shared},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.tenant.GatewaysOf("x"); !slices.Equal(got, test.gateways) {
				t.Errorf("gateways %v, want %v", got, test.gateways)
			}
			if got := test.tenant.AddressOf("x"); got != test.address {
				t.Errorf("address %s, want %s", got, test.address)
			}
		})
	}
}

func TestTenantNeedsDedicated(t *testing.T) {
	wants := func(mode GatewayMode, change func(*Tenant)) *Tenant {
		t := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "search"}, Spec: TenantSpec{Gateway: TenantGateway{Mode: mode}}}
		change(t)
		return t
	}
	for _, test := range []struct {
		name   string
		tenant *Tenant
		want   bool
	}{
		{"shared", wants(GatewayShared, func(*Tenant) {}), false},
		{"wanted", wants(GatewayDedicated, func(*Tenant) {}), true},
		{"wanted no longer, the address leads there", wants(GatewayShared, func(t *Tenant) { t.Status.Gateway = "tenant-search" }), true},
		{"wanted no longer, routes are there", wants(GatewayShared, func(t *Tenant) { t.Status.Attached = []string{"shared", "tenant-search"} }), true},
		{"being deleted", wants(GatewayDedicated, func(t *Tenant) { t.DeletionTimestamp = &metav1.Time{} }), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.tenant.NeedsDedicated(); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
