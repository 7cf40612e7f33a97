package main

import (
	"context"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicetyped "sluice.dev/sluice/reconciler/client/clientset/versioned/typed/sluice/v1alpha1"
)

// scaling judges what is written through a Model's scale subresource. The API server tells of
// it as a Scale, which Knative's admission controllers know no handler for, and asks about the
// Model no more.
type scaling struct {
	admission
	models sluicetyped.ModelsGetter
	// withContext has what Models are judged by.
	withContext func(context.Context) context.Context
}

// Admit implements webhook.AdmissionController.
func (s scaling) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	if request.SubResource != v1alpha1.ScaleSubresource {
		return s.admission.Admit(ctx, request)
	}
	scale := &autoscalingv1.Scale{}
	if err := json.Unmarshal(request.Object.Raw, scale); err != nil {
		return webhook.MakeErrorStatus("decoding the Scale: %v", err)
	}
	model, err := s.model(ctx, request)
	if err != nil {
		return webhook.MakeErrorStatus("scaling: %v", err)
	}
	result := model.ValidateScale(apis.WithUserInfo(s.withContext(ctx), &request.UserInfo), scale.Spec.Replicas)
	if refusal := result.Filter(apis.ErrorLevel); refusal != nil {
		return webhook.MakeErrorStatus("validation failed: %v", refusal)
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	for _, warning := range result.Filter(apis.WarningLevel).WrappedErrors() {
		response.Warnings = append(response.Warnings, warning.Error())
	}
	return response
}

// model is the one that is scaled. It is asked for and not taken from a cache: should it have
// changed since the API server read it, that one's write fails, and it asks again.
func (s scaling) model(ctx context.Context, request *admissionv1.AdmissionRequest) (*v1alpha1.Model, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpWithin)
	defer cancel()
	model, err := s.models.Models(request.Namespace).Get(ctx, request.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("getting Model %q: %w", request.Name, err)
	}
	return model, nil
}
