//go:build e2e

package main

import (
	"testing"

	"knative.dev/networking/test/conformance/ingress"
)

// TestIngressConformance runs Knative's suite; its flags say against what.
func TestIngressConformance(t *testing.T) { ingress.RunConformance(t) }
