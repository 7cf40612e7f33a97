package exposition

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// shown are the series of a collector, as name{values of labels} value, sorted.
func shown(t *testing.T, c prometheus.Collector) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(family.GetName(), "sluice_"), strings.Join(labels, ","), m.GetGauge().GetValue()))
		}
	}
	slices.Sort(out)
	return out
}

func model(name string, changes ...func(*v1alpha1.Model)) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: name}}
	for _, change := range changes {
		change(m)
	}
	return m
}

func of(models ...*v1alpha1.Model) Models {
	return Models{
		List:   func() ([]*v1alpha1.Model, error) { return models, nil },
		Tenant: func(namespace string) string { return map[string]string{"search": "acme"}[namespace] },
	}
}

func percent(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}

func promises(availability, percentInTime string, threshold time.Duration) func(*v1alpha1.Model) {
	return func(m *v1alpha1.Model) {
		m.Spec.Objective = &v1alpha1.ObjectiveSpec{}
		if availability != "" {
			m.Spec.Objective.Availability = percent(availability)
		}
		if percentInTime != "" {
			m.Spec.Objective.Latency = &v1alpha1.ObjectiveLatency{Threshold: metav1.Duration{Duration: threshold}, Percent: percent(percentInTime)}
		}
	}
}

// An objective is there as a share, for as long as its Model lives and can be held to it.
func TestObjectives(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	models := []*v1alpha1.Model{
		model("ranker", promises("99.9", "99", 250*time.Millisecond)),
		model("slow", promises("", "95.55", 2500*time.Millisecond)),
		model("free", promises("99.999", "", 0), func(m *v1alpha1.Model) { m.Namespace = "other" }),
		model("none"),
		model("dying", promises("99", "", 0), func(m *v1alpha1.Model) { m.DeletionTimestamp = &now }),
		model("unheld", promises("99", "99", 300*time.Millisecond)),
	}
	want := []string{
		"model_objective_availability{model=free,namespace=other,tenant=-} 0.99999",
		"model_objective_availability{model=ranker,namespace=search,tenant=acme} 0.999",
		"model_objective_latency{le=0.25,model=ranker,namespace=search,tenant=acme} 0.99",
		"model_objective_latency{le=2.5,model=slow,namespace=search,tenant=acme} 0.9555",
	}
	if diff := cmp.Diff(want, shown(t, of(models...))); diff != "" {
		t.Errorf("series (-want, +got): %s", diff)
	}
	if got := shown(t, of(models[3:]...)); len(got) > 0 {
		t.Errorf("series of Models that are gone: %q", got)
	}
}

// Each bound is written as the client library writes it, in the text that Prometheus reads.
func TestBoundsAreWrittenAsTheClientWritesThem(t *testing.T) {
	t.Parallel()
	var bounds []float64
	for _, d := range v1alpha1.LatencyBounds() {
		bounds = append(bounds, d.Seconds())
	}
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: bounds})
	registry := prometheus.NewRegistry()
	registry.MustRegister(histogram)
	text := scraped(t, registry)
	for _, d := range v1alpha1.LatencyBounds() {
		if want := fmt.Sprintf("h_bucket{le=%q}", Bound(d)); !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}

func TestConditionsAndReplicas(t *testing.T) {
	t.Parallel()
	m := model("ranker", func(m *v1alpha1.Model) {
		m.Spec.Autoscaling.MaxReplicas = new(int32(9))
		m.Status.Status = duckv1.Status{Conditions: duckv1.Conditions{
			{Type: apis.ConditionReady, Status: corev1.ConditionFalse, Reason: "PodsLag"},
			{Type: v1alpha1.ModelConditionLimited, Status: corev1.ConditionFalse, Reason: "PodsLag"},
			{Type: v1alpha1.ModelConditionRouted, Status: corev1.ConditionUnknown, Reason: "NotProved"},
			{Type: v1alpha1.ModelConditionRevisionReady, Status: corev1.ConditionTrue},
		}}
		m.Status.Revisions = []v1alpha1.RevisionCapacity{{Name: "ranker-00001", Desired: 4, Ready: 3, Missing: 1}}
		m.Status.MaxReplicas = new(int32(4))
		uncapped := v1alpha1.Rate{Quantity: resource.MustParse("160")}
		m.Status.Limit = &v1alpha1.LimitStatus{UncappedRequestsPerSecond: &uncapped}
	})
	const of3 = "model=ranker,namespace=search,"
	want := []string{
		"model_condition_unmet{condition=Limited," + of3 + "reason=PodsLag,status=False,tenant=acme} 1",
		"model_condition_unmet{condition=Routed," + of3 + "reason=NotProved,status=Unknown,tenant=acme} 1",
		"model_max_replicas{" + of3 + "tenant=acme} 4",
		"model_uncapped_requests_per_second{" + of3 + "tenant=acme} 160",
		"revision_replicas{" + of3 + "revision=ranker-00001,state=desired,tenant=acme} 4",
		"revision_replicas{" + of3 + "revision=ranker-00001,state=missing,tenant=acme} 1",
		"revision_replicas{" + of3 + "revision=ranker-00001,state=ready,tenant=acme} 3",
	}
	if diff := cmp.Diff(want, shown(t, of(m))); diff != "" {
		t.Errorf("series (-want, +got): %s", diff)
	}
}

// A cap of none bounds nothing; what is no cap leaves the Model's own bound.
func TestMaxReplicas(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*v1alpha1.Model{
		"": model("m", func(m *v1alpha1.Model) { m.Status.MaxReplicas = new(int32(0)) }),
		"9": model("m", func(m *v1alpha1.Model) {
			m.Spec.Autoscaling.MaxReplicas, m.Status.MaxReplicas = new(int32(9)), new(int32(0))
		}),
		"3": model("m", func(m *v1alpha1.Model) { m.Annotations = map[string]string{"autoscaling.knative.dev/max-scale": "3"} }),
	} {
		_, got, _ := strings.Cut(strings.Join(shown(t, of(m)), " "), " ")
		if got != want {
			t.Errorf("max replicas %q, want %q", got, want)
		}
	}
}

// A scrape fails as a whole where Models can't be listed: no series is taken for gone.
func TestListFails(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(Models{List: func() ([]*v1alpha1.Model, error) { return nil, errors.New("no cache") }})
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), "no cache") {
		t.Errorf("gathering: %v, want that there is no cache", err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	end := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	secret := func(name, tenant string, data map[string][]byte) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: data}
		if tenant != "" {
			s.Labels = map[string]string{sluice.TenantLabelKey: tenant}
		}
		return s
	}
	c := Certificates{List: func() ([]*corev1.Secret, error) {
		return []*corev1.Secret{
			secret("tenant-acme", "acme", pairUntil(t, end)),
			secret("search.ranker", "", pairUntil(t, end.Add(time.Hour))),
			secret("broken", "acme", map[string][]byte{corev1.TLSCertKey: []byte("none")}),
		}, nil
	}}
	want := []string{
		fmt.Sprintf("certificate_not_after_seconds{secret=search.ranker,tenant=-} %v", float64(end.Add(time.Hour).Unix())),
		fmt.Sprintf("certificate_not_after_seconds{secret=tenant-acme,tenant=acme} %v", float64(end.Unix())),
	}
	if diff := cmp.Diff(want, shown(t, c)); diff != "" {
		t.Errorf("series (-want, +got): %s", diff)
	}
}

func pairUntil(t *testing.T, end time.Time) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acme"}, DNSNames: []string{"acme.test"},
		NotBefore: end.Add(-time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		var out bytes.Buffer
		if err := pem.Encode(&out, &pem.Block{Type: kind, Bytes: der}); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	return map[string][]byte{corev1.TLSCertKey: block("CERTIFICATE", der), corev1.TLSPrivateKeyKey: block("PRIVATE KEY", pkcs8)}
}

// scraped is what Prometheus would read.
func scraped(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}
