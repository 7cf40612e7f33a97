package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/serving/pkg/queue/readiness"
)

func TestWarmedUp(t *testing.T) {
	get := func(path string, port int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "127.0.0.1", Path: path, Port: intstr.FromInt32(port)}}}
	}
	tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8098)}}}
	for _, c := range []struct {
		name   string
		probes []*corev1.Probe
		want   bool
	}{
		{"a model and its warm-up", []*corev1.Probe{tcp, get("/readyz", 8098)}, true},
		{"a model alone", []*corev1.Probe{get("/readyz", 8080)}, false},
		{"a sidecar of another kind", []*corev1.Probe{tcp, get("/healthz", 8098)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			encoded, err := readiness.EncodeMultipleProbes(c.probes)
			if err != nil {
				t.Fatal(err)
			}
			if got := warmedUp(encoded); got != c.want {
				t.Errorf("warmed up: %t", got)
			}
		})
	}
	t.Run("without multi-container probing", func(t *testing.T) {
		encoded, err := readiness.EncodeSingleProbe(tcp)
		if err != nil {
			t.Fatal(err)
		}
		if warmedUp(encoded) || warmedUp("") {
			t.Error("warmed up")
		}
	})
}
