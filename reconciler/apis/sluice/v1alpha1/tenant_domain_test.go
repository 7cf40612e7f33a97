package v1alpha1

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDomainInForce(t *testing.T) {
	const asked, had = "search.example.com", "old.example.com"
	for _, test := range []struct {
		name              string
		change            func(*Tenant)
		inForce, reserved string
		awaits            bool
	}{
		{"none is asked for", func(t *Tenant) { t.Spec.Domain = "" }, "", "", false},
		{"not decided", func(*Tenant) {}, "", "", true},
		{"given", func(t *Tenant) { t.Status.MarkDomainReady(asked) }, asked, asked, false},
		{"refused", func(t *Tenant) { t.Status.MarkDomainReady(asked); t.Status.MarkDomainRefused("NotOwned", "") }, "", "", true},
		{"another is asked for", func(t *Tenant) { t.Status.MarkDomainReady(had) }, had, had, true},
		{"none had been asked for", func(t *Tenant) { t.Status.MarkDomainReady(""); t.Generation++ }, "", "", true},
		{"from before the status said it", func(t *Tenant) { t.Status.MarkDomainReady("") }, asked, asked, false},
		{"being deleted", func(t *Tenant) { t.Status.MarkDomainReady(asked); t.DeletionTimestamp = &metav1.Time{} }, asked, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tenant := &Tenant{Spec: TenantSpec{Domain: asked}}
			test.change(tenant)
			if got := tenant.DomainInForce(); got != test.inForce {
				t.Errorf("in force is %q, want %q", got, test.inForce)
			}
			if got := tenant.ReservedDomain(); got != test.reserved {
				t.Errorf("reserved is %q, want %q", got, test.reserved)
			}
			if got := tenant.AwaitsDomain(); got != test.awaits {
				t.Errorf("awaits: %t, want %t", got, test.awaits)
			}
		})
	}
	var none *Tenant
	if none.DomainInForce() != "" || none.ReservedDomain() != "" {
		t.Error("no tenant has a domain")
	}
}
