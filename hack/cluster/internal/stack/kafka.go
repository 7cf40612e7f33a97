package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/layout"
	"sluice.dev/sluice/hack/cluster/internal/machine"
	"sluice.dev/sluice/hack/cluster/internal/pki"
	"sluice.dev/sluice/hack/cluster/internal/process"
)

// Where the broker is. Who comes by the first is asked nothing, and may do anything; by the
// second he needs a login, and may do what that is allowed. The third is as the second, for
// tests that have the broker away: it tells clients to come by brokerProxy, where nobody is
// but a test's proxy.
const (
	broker          = layout.BridgeAddress + ":9092"
	brokerTLS       = layout.BridgeAddress + ":9094"
	brokerProxied   = local + ":9095"
	brokerProxy     = layout.BridgeAddress + ":9096"
	brokerElections = local + ":9093"

	brokerUser     = "sluice"
	brokerPassword = "local-stack"
	brokerIdentity = "kafka"
)

// kafka is one broker that is its own controller.
func (s *Stack) kafka() store {
	config := s.layout.Config("kafka.properties")
	return store{
		component: component{
			name: "kafka", needs: []string{"machine", "packages for kafka", "jars of kafka"}, host: "java",
			args:    s.java("-Xms64m", "-Xmx256m", "-XX:MaxDirectMemorySize=64m", "kafka.Kafka", config),
			configs: map[string]string{config: "kafka.properties"},
			prepare: func(ctx context.Context) error {
				if err := s.certifyBroker(); err != nil {
					return err
				}
				return s.formatTopics(ctx, config)
			},
			listens: []string{broker, brokerTLS, brokerProxied, brokerElections},
			ready: func(ctx context.Context) error {
				if err := brokerAnswers(ctx, broker, nil); err != nil {
					return err
				}
				return brokerAnswers(ctx, brokerTLS, s.trusting())
			},
		},
		packages: []machine.Package{
			{Name: "default-jre-headless", File: "java", Version: "17", VersionArgs: []string{"--version"}},
			{Name: "maven", File: "mvn"},
		},
		jars: s.brokerJars,
	}
}

// java are the arguments to run a program of the broker's jars: options, a class, its own.
// A small machine has the broker start sooner, where it isn't compiled twice over.
func (s *Stack) java(args ...string) []string {
	return append([]string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(s.brokerJars.Path(s.layout.Binaries()), "*")}, args...)
}

// certifyBroker gives the broker a certificate, also where the cluster's were made before
// it had one, or nothing of the cluster is there but its authority.
func (s *Stack) certifyBroker() error {
	authority, err := pki.Open(s.layout.Certs())
	if err != nil {
		return err
	}
	err = authority.Issue(pki.Identity{Name: brokerIdentity, CommonName: "sluice-cluster:kafka", IPs: []string{layout.BridgeAddress, local}})
	if err != nil {
		return err
	}
	return authority.Bundle(brokerIdentity)
}

// formatTopics makes the broker's folder, with its user, unless it is there: a broker starts
// over none that doesn't say whose it is.
func (s *Stack) formatTopics(ctx context.Context, config string) error {
	const cluster = "c2x1aWNlLWxvY2FsLXN0aw" // 16 bytes in Base64, as a broker wants them
	if _, err := os.Stat(filepath.Join(s.layout.Topics(), "meta.properties")); err == nil {
		return nil
	}
	var said strings.Builder
	args := s.java("-Xmx128m", "kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", cluster, "--config", config)
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, brokerUser, brokerPassword))
	}
	if err := process.Run(ctx, &said, "java", args...); err != nil {
		return fmt.Errorf("making the folder of topics: %w: %s", err, said.String())
	}
	return nil
}

// brokerEnv is how tests find the broker.
func (s *Stack) brokerEnv() map[string]string {
	return map[string]string{
		"SLUICE_KAFKA_BROKER":     broker,
		"SLUICE_KAFKA_TLS_BROKER": brokerTLS,
		"SLUICE_KAFKA_PROXY":      brokerProxy,
		"SLUICE_KAFKA_PROXIED":    brokerProxied,
		"SLUICE_KAFKA_USER":       brokerUser,
		"SLUICE_KAFKA_PASSWORD":   brokerPassword,
		"SLUICE_KAFKA_CA":         s.layout.Cert("ca"),
	}
}
