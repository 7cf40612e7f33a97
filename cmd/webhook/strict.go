package main

import (
	"context"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	"knative.dev/pkg/webhook"

	"sluice.dev/sluice/reconciler/apis/reading"
)

// strict refuses fields that its kinds don't have, with their whole paths. It is the only
// one to see them: the schemas keep what they don't name, so that `--validate=ignore`
// drops nothing, and Knative's own decoder takes names in any case and tells of one at a
// time, without its path.
type strict struct{ admission }

// Admit implements webhook.AdmissionController.
func (s strict) Admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	if unknown := unknownFields(request); len(unknown) > 0 {
		return webhook.MakeErrorStatus("%s has fields that it can't have: %s", request.Kind.Kind, strings.Join(unknown, "; "))
	}
	return s.admission.Admit(ctx, request)
}

func unknownFields(request *admissionv1.AdmissionRequest) []string {
	kind, ok := kinds[kindOf(request)]
	if !ok || len(request.Object.Raw) == 0 {
		return nil
	}
	return reading.Unknown(request.Object.Raw, kind)
}
