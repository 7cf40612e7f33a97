// Package pki makes the stack's certificates: one authority of its own, kept
// for the life of the cluster, and a pair for every identity.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/process"
)

// lifetime outlasts any throw-away cluster.
const lifetime = 10 * 365 * 24 * time.Hour

// Authority signs the certificates of one cluster.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Identity is a certificate to issue. Kubernetes reads the user's name from
// the common name and the groups from the organisations.
type Identity struct {
	Name          string
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []string
}

// Open loads the authority of dir, or makes it.
func Open(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &Authority{dir: dir}
	if cert, key, err := loadPair(a.path("ca.crt"), a.path("ca.key")); err == nil {
		a.cert, a.key = cert, key
		return a, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("loading the cluster's authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "sluice-cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, key, err := a.sign("ca", template)
	if err != nil {
		return nil, fmt.Errorf("making the cluster's authority: %w", err)
	}
	a.cert, a.key = cert, key
	return a, nil
}

// Issue makes the pair of an identity unless it is there.
func (a *Authority) Issue(id Identity) error {
	if _, _, err := loadPair(a.path(id.Name+".crt"), a.path(id.Name+".key")); err == nil {
		return nil
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.CommonName, Organization: id.Organizations},
		DNSNames:    id.DNSNames,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range id.IPs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	if _, _, err := a.sign(id.Name, template); err != nil {
		return fmt.Errorf("issuing the certificate of %s: %w", id.Name, err)
	}
	return nil
}

// Bundle writes the pair of an identity, which has been issued, into one file NAME.pem, with the
// key in PKCS #8: that is how programs in Java read them.
func (a *Authority) Bundle(name string) error {
	certificate, key, err := loadPair(a.path(name+".crt"), a.path(name+".key"))
	if err != nil {
		return fmt.Errorf("bundling the certificate of %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("bundling the key of %s: %w", name, err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range []*x509.Certificate{certificate, a.cert} {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return process.WriteFile(a.path(name+".pem"), content, 0o600)
}

// SigningKey makes the key pair that signs service account tokens.
func (a *Authority) SigningKey(name string) error {
	if _, err := os.Stat(a.path(name + ".key")); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := a.writePEM(name+".pub", "PUBLIC KEY", public); err != nil {
		return err
	}
	return a.writeKey(name, key)
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

// sign completes a template and writes the pair; the key is written last, so
// that an interrupted run leaves no pair that looks whole.
func (a *Authority) sign(name string, template *x509.Certificate) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(lifetime)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := a.writePEM(name+".crt", "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	return cert, key, a.writeKey(name, key)
}

func (a *Authority) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return a.writePEM(name+".key", "EC PRIVATE KEY", der)
}

func (a *Authority) writePEM(file, kind string, der []byte) error {
	return process.WriteFile(a.path(file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func loadPair(certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, fmt.Errorf("%s or its key is no PEM file", certFile)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	return cert, key, err
}
