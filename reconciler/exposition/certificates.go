package exposition

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
)

var notAfter = prometheus.NewDesc("sluice_certificate_not_after_seconds",
	"Until when a certificate that gateways show is good, in seconds since 1970; secret is the copy that they read.",
	[]string{"tenant", "secret"}, nil)

// Certificates shows those that gateways serve.
type Certificates struct {
	// List has the Secrets that Sluice has given the gateways.
	List func() ([]*corev1.Secret, error)
}

// Describe implements prometheus.Collector.
func (Certificates) Describe(out chan<- *prometheus.Desc) { out <- notAfter }

// Collect implements prometheus.Collector.
func (c Certificates) Collect(out chan<- prometheus.Metric) {
	secrets, err := c.List()
	if err != nil {
		out <- prometheus.NewInvalidMetric(notAfter, err)
		return
	}
	for _, secret := range secrets {
		pair, err := tlssecret.Parse(secret)
		if err != nil || secret.DeletionTimestamp != nil {
			continue // nothing that is shown: what can't be read isn't copied
		}
		tenant := secret.Labels[sluice.TenantLabelKey]
		if tenant == "" {
			tenant = gateway.NoTenant
		}
		out <- prometheus.MustNewConstMetric(notAfter, prometheus.GaugeValue, float64(pair.Leaf.NotAfter.Unix()), tenant, secret.Name)
	}
}
