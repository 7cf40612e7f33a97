package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

func TestIssue(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{Name: "apiserver", CommonName: "kube-apiserver", DNSNames: []string{"kubernetes.default.svc"}, IPs: []string{"10.96.0.1"}}
	if err := a.Issue(id); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Issue(id); err != nil {
		t.Fatal(err)
	}
	second, _ := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	if string(first) != string(second) {
		t.Error("a pair that is there was made again")
	}
	cert, _, err := loadPair(filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(again.cert)
	for _, host := range []string{"kubernetes.default.svc", "10.96.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("as %s: %v", host, err)
		}
	}
}

// A bundle is one file of a key and its certificates, as TLS has them.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Bundle("kafka"); err == nil {
		t.Error("a bundle was made of a pair that isn't there")
	}
	if err := a.Issue(Identity{Name: "kafka", CommonName: "kafka", IPs: []string{"10.88.0.1"}}); err != nil {
		t.Fatal(err)
	}
	if err := a.Bundle("kafka"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kafka.pem")
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil || len(pair.Certificate) != 2 {
		t.Fatalf("it has %d certificates, %v; want its own and the authority's", len(pair.Certificate), err)
	}
	content, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(content, []byte("-BEGIN PRIVATE KEY-")) {
		t.Errorf("its key isn't in PKCS #8: %v", err)
	}
}
