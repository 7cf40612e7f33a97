package main

import (
	"encoding/json"
	"fmt"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Who tunes a Model is who the API server says that it is, whatever is written, by the patch
// that leaves all else as it was written. An applied manifest knows nothing of it.
func TestAuthorIsNoted(t *testing.T) {
	defaulting := admissionOf(contextWith(t), t, newDefaulting)
	model := func(annotations, rate string) string {
		return fmt.Sprintf(`{"apiVersion": "sluice.dev/v1alpha1", "kind": "Model", "metadata": {"name": "ranker", "namespace": "search"%s}, "spec": {
			"container": {"image": "registry.example/ranker:1"}, "limit": {"requestsPerSecondPerReplica": %s}}}`, annotations, rate)
	}
	const forged = `, "annotations": {"sluice.dev/tuned-by": "mallory", "example.com/other": "stays"}`
	created := admitted(t, defaulting, "alice", "", model(forged, "33.5"))
	if by := authorOf(t, created); by != "alice" {
		t.Errorf("created by %q", by)
	}
	if other := annotationsOf(t, created)["example.com/other"]; other != "stays" {
		t.Errorf("another annotation is %q", other)
	}
	for _, c := range []struct{ name, written, want string }{
		{"applied once more", model("", "33.5"), "alice"},
		{"the same in other words", model("", `"33500m"`), "alice"},
		{"signed with another's name", model(forged, "33.5"), "alice"},
		{"tuned", model("", "34"), "bob"},
		{"tuned, signed with another's name", model(forged, "34"), "bob"},
		{"tuned by annotation", model(`, "annotations": {"autoscaling.knative.dev/target": "5"}`, "33.5"), "bob"},
	} {
		if by := authorOf(t, admitted(t, defaulting, "bob", created, c.written)); by != c.want {
			t.Errorf("%s: by %q, want %q", c.name, by, c.want)
		}
	}
}

// admitted is a Model as it is stored that somebody writes.
func admitted(t *testing.T, by webhook.AdmissionController, user, before, object string) string {
	t.Helper()
	r := request("Model", before, object)
	r.UserInfo.Username = user
	got := by.Admit(t.Context(), r)
	expect(t, user, got, "")
	return patchedBy(t, got, object)
}

func patchedBy(t *testing.T, got *admissionv1.AdmissionResponse, object string) string {
	t.Helper()
	patch, err := jsonpatch.DecodePatch(got.Patch)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := patch.Apply([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return string(stored)
}

func annotationsOf(t *testing.T, object string) map[string]string {
	t.Helper()
	var m metav1.PartialObjectMetadata
	if err := json.Unmarshal([]byte(object), &m); err != nil {
		t.Fatal(err)
	}
	return m.Annotations
}

func authorOf(t *testing.T, object string) string {
	t.Helper()
	return annotationsOf(t, object)[sluice.TunedByAnnotationKey]
}
