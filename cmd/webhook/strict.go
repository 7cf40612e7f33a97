package main

import (
	"context"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	"knative.dev/pkg/webhook"
	"sigs.k8s.io/json"

	"sluice.dev/sluice/cmd/webhook/internal/reading"
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

// unknownFields says what is wrong with the names of fields; what else is wrong with an
// object is told by who decodes it. Metadata is the API server's to know.
func unknownFields(request *admissionv1.AdmissionRequest) []string {
	kind, ok := kinds[kindOf(request)]
	if !ok || len(request.Object.Raw) == 0 {
		return nil
	}
	problems, err := json.UnmarshalStrict(request.Object.Raw, kind.DeepCopyObject())
	if err != nil {
		return nil
	}
	var unknown []string
	for _, problem := range problems {
		if text := problem.Error(); !strings.Contains(text, `"metadata.`) {
			unknown = append(unknown, text+hint(kind, text))
		}
	}
	slices.Sort(unknown)
	return unknown
}

// hint says what was meant by an unknown field.
func hint(kind any, problem string) string {
	path, ok := strings.CutPrefix(problem, "unknown field ")
	if !ok {
		return ""
	}
	if meant := reading.Meant(kind, strings.Trim(path, `"`)); meant != "" {
		return " (" + meant + ")"
	}
	return ""
}
