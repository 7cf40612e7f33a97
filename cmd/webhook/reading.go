package main

import (
	"context"
	"encoding/json"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/reading"
)

// legible is an admission controller that says in words what of an object can't be read,
// where Knative's repeats what its decoder says. A typed object can't be judged before.
type legible struct{ admission }

// Admit implements webhook.AdmissionController.
func (l legible) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	if err := unreadable(request); err != nil {
		return webhook.MakeErrorStatus("validation failed: %v", err)
	}
	return l.admission.Admit(ctx, request)
}

func unreadable(request *admissionv1.AdmissionRequest) *apis.FieldError {
	kind, ok := kinds[kindOf(request)]
	if !ok || request.SubResource != "" || len(request.Object.Raw) == 0 {
		return nil
	}
	// What was accepted once must stay deletable.
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(request.Object.Raw, &object); err != nil || object.DeletionTimestamp != nil {
		return nil //nolint:nilerr // metadata that can't be read, the decoder that comes next tells of
	}
	return reading.Explain(request.Object.Raw, kind)
}

// faithful is an admission controller that adds defaults and leaves all else as it was
// written. It is asked before caches are filled, of which it has none.
type faithful struct {
	webhook.StatelessAdmissionImpl
	admission
}

// Admit implements webhook.AdmissionController.
func (f faithful) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	response := f.admission.Admit(ctx, request)
	kind, ok := kinds[kindOf(request)]
	if !ok || !response.Allowed || len(response.Patch) == 0 || len(request.Object.Raw) == 0 {
		return response
	}
	empty := reflect.New(reflect.TypeOf(kind).Elem()).Interface()
	patch, err := reading.Keep(request.Object.Raw, response.Patch, empty)
	if err != nil {
		// The other patch gives the same object, in other words.
		logging.FromContext(ctx).Errorw("Error keeping an object as it was written", "error", err)
		return response
	}
	response.Patch = patch
	return response
}

func kindOf(request *admissionv1.AdmissionRequest) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: request.Kind.Group, Version: request.Kind.Version, Kind: request.Kind.Kind}
}
