package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/pki"
	"sluice.dev/sluice/hack/cluster/internal/plan"
	"sluice.dev/sluice/hack/cluster/internal/process"
)

var identities = []pki.Identity{
	{
		Name: "apiserver", CommonName: "kube-apiserver", IPs: []string{layout.BridgeAddress, layout.APIServiceIP, local},
		DNSNames: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
	},
	{Name: "apiserver-kubelet", CommonName: "sluice-cluster:apiserver"},
	{Name: "loopback", CommonName: "loopback", IPs: []string{local}},
	{Name: "admin", CommonName: "sluice-cluster:admin", Organizations: []string{"system:masters"}},
	{Name: "kube-controller-manager", CommonName: "system:kube-controller-manager"},
	{Name: "kube-scheduler", CommonName: "system:kube-scheduler"},
	{Name: "kube-proxy", CommonName: "system:kube-proxy"},
	{
		Name: "kubelet", CommonName: "system:node:" + layout.NodeName, Organizations: []string{"system:nodes"},
		DNSNames: []string{layout.NodeName}, IPs: []string{layout.BridgeAddress},
	},
	{Name: "coredns", CommonName: "sluice-cluster:coredns"},
	{Name: "loadbalancer", CommonName: "sluice-cluster:loadbalancer"},
}

// withKubeconfig are the identities that read a kubeconfig file.
var withKubeconfig = []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns"}

// issueCertificates makes every certificate and kubeconfig, and links the
// administrator's into the checkout.
func (s *Stack) issueCertificates(_ context.Context, r *plan.Report) error {
	if _, err := os.Stat(s.layout.Kubeconfig("admin")); err == nil {
		r.Reused()
		return s.linkKubeconfig()
	}
	authority, err := pki.Open(s.layout.Certs())
	if err != nil {
		return err
	}
	if err := authority.SigningKey("tokens"); err != nil {
		return err
	}
	for _, id := range identities {
		if err := authority.Issue(id); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(s.layout.Kubeconfig("x")), 0o700); err != nil {
		return err
	}
	// The administrator's comes last: it is the sign that all are there.
	for i := len(withKubeconfig) - 1; i >= 0; i-- {
		id := withKubeconfig[i]
		if err := process.WriteFile(s.layout.Kubeconfig(id), s.kubeconfig(id), 0o600); err != nil {
			return err
		}
	}
	return s.linkKubeconfig()
}

func (s *Stack) linkKubeconfig() error {
	link := filepath.Join(s.layout.Checkout, ".kubeconfig")
	target := s.layout.Kubeconfig("admin")
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink == 0 {
		return fmt.Errorf("%s is a file of yours: move it away", link)
	}
	_ = os.Remove(link)
	return os.Symlink(target, link)
}

func (s *Stack) kubeconfig(identity string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: sluice
clusters:
- name: sluice
  cluster: {server: %q, certificate-authority: %q}
users:
- name: %[3]s
  user: {client-certificate: %[4]q, client-key: %[5]q}
contexts:
- name: sluice
  context: {cluster: sluice, user: %[3]s}
`, layout.APIServer, s.layout.Cert("ca"), identity, s.layout.Cert(identity), s.layout.Key(identity))
}
