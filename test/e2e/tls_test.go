//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/network"
	"knative.dev/pkg/ptr"
	servingv1beta1 "knative.dev/serving/pkg/apis/serving/v1beta1"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
	"sluice.dev/sluice/test/platform"
)

// rotatedWithin bounds the time from a new certificate to the first who is shown it.
const rotatedWithin = 5 * time.Second

// A tenant's domain is served over HTTPS by the tenant's certificate, a mapped
// domain by its own; plain HTTP leads there; a certificate is replaced under way;
// and a limit is one limit, whatever way requests come in.
func TestTenantServesHTTPS(t *testing.T) {
	n := newTenants(t, wanted("acme", ownDomain))[0]
	domain := n.now().Spec.Domain
	wildcard := newCertificate(t, "*."+n.namespace+"."+domain)
	n.keep("wildcard", wildcard)
	n.change(func(of *v1alpha1.Tenant) {
		of.Spec.TLS = &v1alpha1.TenantTLS{SecretName: "wildcard", SecretNamespace: n.namespace}
	})
	n.settled()
	// Requests for the mapped domain come in by the cluster-local entry, where there
	// were none before.
	n.create(n.ranker("ranker", fixed("2000"), func(m *v1alpha1.Model) { m.Spec.TimeoutSeconds = ptr.Int64(30) }))
	host := n.serving("ranker").Host

	mapped := n.mapDomain("ranker." + n.name + ".example.org")
	t.Run("EachHostHasItsCertificate", func(t *testing.T) {
		n := n.in(t)
		n.servesWith(host, wildcard)
		n.servesWith(mapped.host, mapped.certificate)
	})
	t.Run("HTTPLeadsThere", func(t *testing.T) {
		got, err := ask(t.Context(), n.address(80), "http://"+host+readyPath)
		if err != nil {
			t.Fatal(err)
		}
		if want := "https://" + host + readyPath; got.status != http.StatusMovedPermanently || got.header.Get("Location") != want {
			t.Errorf("plain HTTP answers %d to %q, want 301 to %q", got.status, got.header.Get("Location"), want)
		}
	})
	t.Run("CertificateIsReplacedUnderWay", func(t *testing.T) { n.in(t).rotate(host, wildcard, mapped) })
	wildcard = n.kept("wildcard")
	t.Run("LimitHoldsOverHTTPS", func(t *testing.T) { n.in(t).limitOverHTTPS(host, wildcard) })
	t.Run("LimitHoldsOverEveryEntry", func(t *testing.T) { n.in(t).limitOverEntries(host, wildcard) })
}

// mapping is a domain that is mapped to a Knative Service, and its certificate.
type mapping struct {
	host        string
	certificate *certificate
}

// mapDomain maps a domain, with a certificate of its own, to the Model's Knative
// Service.
func (n *tenant) mapDomain(host string) mapping {
	n.Helper()
	m := mapping{host, newCertificate(n.T, host)}
	n.keep("mapped", m.certificate)
	n.claimDomain(host)
	mapping := domainMapping(n.namespace, host, "ranker")
	mapping.Spec.TLS = &servingv1beta1.SecretTLS{SecretName: "mapped"}
	mappings := n.Serving.ServingV1beta1().DomainMappings(n.namespace)
	if _, err := mappings.Create(n.Context(), mapping, metav1.CreateOptions{}); err != nil {
		n.Fatal("creating a DomainMapping:", err)
	}
	n.until(readyWithin, "the DomainMapping to be Ready", func(ctx context.Context) (string, error) {
		got, err := mappings.Get(ctx, host, metav1.GetOptions{})
		if err != nil || got.IsReady() {
			return "", err
		}
		return fmt.Sprintf("%+v", got.Status.GetCondition(servingv1beta1.DomainMappingConditionReady)), nil
	})
	return m
}

// servesWith waits until a host is served over HTTPS with a certificate, and asks
// for a prediction.
func (n *tenant) servesWith(host string, want *certificate) {
	n.Helper()
	n.until(rotatedWithin, host+" to be served with its certificate", func(ctx context.Context) (string, error) {
		got, err := ask(ctx, n.address(443), "https://"+host+readyPath)
		switch {
		case err != nil:
			return err.Error(), nil //nolint:nilerr // what is waited for
		case !want.shown(got):
			return "another certificate: " + got.certificate.Subject.CommonName, nil
		case got.status != http.StatusOK:
			return fmt.Sprintf("status %d", got.status), nil
		}
		return "", nil
	})
	p := n.securePlan(host, want, load.Schedule{load.Hold(5, time.Second)})
	p.Connections = []load.Connection{load.KeepAlive, load.HTTP2}
	n.run(p)
}

// securePlan is a load of predictions over HTTPS.
func (n *tenant) securePlan(host string, by *certificate, schedule load.Schedule) load.Plan {
	p := plan(platform.Endpoint{Address: n.address(443), Host: host}, schedule)
	p.Target.Roots = by.roots()
	return p
}

// rotate replaces the tenant's certificate, and then the mapped domain's, while a
// long request is under way on each host. Each is shown the new one soon, by the
// listeners that were there: none was changed, so no connection was drained.
func (n *tenant) rotate(host string, old *certificate, mapped mapping) {
	n.Helper()
	long := []*longRequest{n.longRequest(host, old), n.longRequest(mapped.host, mapped.certificate)}
	before := n.listeners()
	for name, replaced := range map[string]string{"wildcard": host, "mapped": mapped.host} {
		hosts := old.leaf.DNSNames
		if replaced == mapped.host {
			hosts = mapped.certificate.leaf.DNSNames
		}
		renewed := newCertificate(n.T, hosts...)
		n.keep(name, renewed)
		took := n.until(rotatedWithin, "the new certificate of "+replaced, func(ctx context.Context) (string, error) {
			got, err := ask(ctx, n.address(443), "https://"+replaced+readyPath)
			if err != nil {
				return "", err
			}
			if !renewed.shown(got) {
				return "the former one is shown", nil
			}
			return "", nil
		})
		n.Logf("the new certificate of %s was shown after %.1f s", replaced, took.Seconds())
	}
	for _, l := range long {
		if err := l.finish(); err != nil {
			n.Errorf("a request that was under way: %v", err)
		}
	}
	if after := n.listeners(); !reflect.DeepEqual(after, before) {
		n.Errorf("listeners changed: %v, were %v", after, before)
	}
}

// longRequest is a request whose body is sent in part.
type longRequest struct {
	rest   *io.PipeWriter
	answer chan error
}

// longRequest begins a prediction and returns once its first half was written.
func (n *tenant) longRequest(host string, by *certificate) *longRequest {
	n.Helper()
	reader, writer := io.Pipe()
	l := &longRequest{rest: writer, answer: make(chan error, 1)}
	request, err := http.NewRequestWithContext(n.Context(), http.MethodPost, "https://"+host+platform.InferPath, reader)
	if err != nil {
		n.Fatal("building a request:", err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := clientOf(n.address(443), &tls.Config{RootCAs: by.roots(), MinVersion: tls.VersionTLS12})
	go func() {
		response, err := client.Do(request)
		if err == nil {
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s answered %d", host, response.StatusCode)
			}
		}
		reader.CloseWithError(err)
		l.answer <- err
	}()
	if _, err := writer.Write(cluster.request[:len(cluster.request)/2]); err != nil {
		n.Fatal("beginning a long request:", err)
	}
	return l
}

// finish sends the rest of the request and waits for the answer.
func (l *longRequest) finish() error {
	if _, err := l.rest.Write(cluster.request[len(cluster.request)/2:]); err != nil {
		return fmt.Errorf("sending the rest: %w", err)
	}
	return errors.Join(l.rest.Close(), <-l.answer)
}

const (
	// entriesLimit is the limit of a Model that is offered entriesRate at each entry,
	// in requests per second.
	entriesLimit, entriesRate = 20, 60
	// entriesMove is how long the shares of the entries may take to follow the
	// demand; what is admitted is measured for as long after it.
	entriesMove = 3 * time.Second
)

// limitOverHTTPS lowers the Model's limit and offers it three times that.
func (n *tenant) limitOverHTTPS(host string, by *certificate) {
	n.Helper()
	n.patch("ranker", fmt.Sprintf(`{"spec": {"limit": {"requestsPerSecondPerReplica": "%d"}}}`, entriesLimit))
	n.reach(n.follow("ranker"), readyWithin, "the limit", func(m platform.Moment) bool { return m.Limit == entriesLimit })
	n.admitsTheLimit(map[string]load.Plan{"https": n.securePlan(host, by, load.Schedule{load.Hold(entriesRate, 2*entriesMove)})})
}

// limitOverEntries opens plain HTTP too, and offers the Model three times its limit
// there, over HTTPS and at the cluster-local entry.
func (n *tenant) limitOverEntries(host string, by *certificate) {
	n.Helper()
	n.change(func(of *v1alpha1.Tenant) { of.Spec.TLS.HTTPProtocol = v1alpha1.HTTPEnabled })
	n.until(readyWithin, "plain HTTP to be served", func(ctx context.Context) (string, error) {
		got, err := ask(ctx, n.address(80), "http://"+host+readyPath)
		if err != nil || got.status == http.StatusOK {
			return "", err
		}
		return fmt.Sprintf("status %d", got.status), nil
	})
	schedule := load.Schedule{load.Hold(entriesRate, 2*entriesMove)}
	n.admitsTheLimit(map[string]load.Plan{
		"https": n.securePlan(host, by, schedule),
		"http":  plan(platform.Endpoint{Address: n.address(80), Host: host}, schedule),
		"local": plan(platform.Endpoint{Address: n.localAddress(n.now().Status.Gateway), Host: network.GetServiceHostname("ranker", n.namespace)}, schedule),
	})
}

// admitsTheLimit runs plans at once and checks that what is admitted of them
// together is the Model's limit: at most a tenth more, since shares move, and what a
// full bucket holds on each entry; at least a fifth less, once they have moved, since
// what a small bucket misses in a gap is lost.
func (n *tenant) admitsTheLimit(plans map[string]load.Plan) {
	n.Helper()
	admitted, sum, late := map[string]int{}, 0, 0
	for entry, report := range n.runAll(plans) {
		n.noneFailed(report)
		admitted[entry] = report.Total.Admitted
		sum += report.Total.Admitted
		late += load.Sum(report.Seconds[int(entriesMove.Seconds()):]).Admitted
	}
	n.Logf("%d admitted in %v at a limit of %d/s, %d of them in the second half: %v, of %d/s offered at each",
		sum, 2*entriesMove, entriesLimit, late, admitted, entriesRate)
	half := entriesLimit * entriesMove.Seconds()
	if most := 2.2*half + 9; float64(sum) > most {
		n.Errorf("%d admitted, want at most %g", sum, most)
	}
	if float64(late) < 0.8*half {
		n.Errorf("%d admitted in the second half, want about %g", late, half)
	}
}

// certificate is a self-signed certificate and its key, in PEM.
type certificate struct {
	leaf      *x509.Certificate
	cert, key []byte
}

// newCertificate makes one for hosts, ECDSA on P-256.
func newCertificate(t *testing.T, hosts ...string) *certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal("making a key:", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal("drawing a serial number:", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "e2e " + serial.Text(36)}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal("signing a certificate:", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal("reading the certificate:", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal("encoding the key:", err)
	}
	return &certificate{
		leaf: leaf,
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}
}

// roots trust this certificate alone.
func (c *certificate) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.leaf)
	return pool
}

// shown tells whether it came with an answer.
func (c *certificate) shown(with answer) bool {
	return with.certificate != nil && c.leaf.Equal(with.certificate)
}

// keep writes a certificate to a Secret of the stage, in place of what is there.
func (s *stage) keep(name string, c *certificate) {
	s.Helper()
	secrets := s.Kube.CoreV1().Secrets(s.namespace)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: c.cert, corev1.TLSPrivateKeyKey: c.key},
	}
	_, err := secrets.Create(s.Context(), secret, metav1.CreateOptions{})
	if apierrs.IsAlreadyExists(err) {
		_, err = secrets.Update(s.Context(), secret, metav1.UpdateOptions{})
	}
	if err != nil {
		s.Fatalf("writing Secret %s: %v", name, err)
	}
}

// kept reads the certificate of a Secret.
func (s *stage) kept(name string) *certificate {
	s.Helper()
	secret, err := s.Kube.CoreV1().Secrets(s.namespace).Get(s.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.Fatalf("getting Secret %s: %v", name, err)
	}
	c := &certificate{cert: secret.Data[corev1.TLSCertKey], key: secret.Data[corev1.TLSPrivateKeyKey]}
	block, _ := pem.Decode(c.cert)
	if block == nil {
		s.Fatalf("Secret %s holds no certificate", name)
	}
	if c.leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		s.Fatalf("reading the certificate of Secret %s: %v", name, err)
	}
	return c
}

// answer is an HTTP answer, and the certificate that the server showed.
type answer struct {
	status      int
	header      http.Header
	certificate *x509.Certificate
}

// ask gets a URL from an address, on a connection of its own, whatever certificate
// is shown, and follows nowhere.
func ask(ctx context.Context, address, url string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, fmt.Errorf("building a request: %w", err)
	}
	response, err := clientOf(address, &tls.Config{InsecureSkipVerify: true}).Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("asking %s at %s: %w", url, address, err)
	}
	defer response.Body.Close()
	got := answer{status: response.StatusCode, header: response.Header}
	if response.TLS != nil {
		got.certificate = response.TLS.PeerCertificates[0]
	}
	return got, nil
}

// clientOf asks at one address, whatever the URL.
func clientOf(address string, config *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   config,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
