package v1alpha1

import (
	"context"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// SetDefaults implements apis.Defaultable.
func (t *Tenant) SetDefaults(context.Context) {
	if t.Spec.Gateway.Mode == "" {
		t.Spec.Gateway.Mode = GatewayShared
	}
	if tls := t.Spec.TLS; tls != nil {
		if tls.SecretNamespace == "" {
			tls.SecretNamespace = sluice.SystemNamespace
		}
		if tls.HTTPProtocol == "" {
			tls.HTTPProtocol = HTTPRedirected
		}
	}
}
