// Package sluice holds the names shared by every version of the sluice.dev API:
// its group, resources, labels and annotations. Types live in the version
// packages below it.
package sluice

import "k8s.io/apimachinery/pkg/runtime/schema"

// GroupName is the API group of every kind of Sluice.
const GroupName = "sluice.dev"

// SystemNamespace is where Sluice's own control plane runs.
const SystemNamespace = "sluice-system"

// IngressClassName is the value of networking.knative.dev/ingress-class that
// makes a Knative Ingress ours. Any other, an empty or a missing class is not.
const IngressClassName = "sluice.ingress.networking.knative.dev"

const (
	// ModelLabelKey names the Model an object belongs to. Knative hands it on
	// from the revision template to revisions, PodAutoscalers and pods.
	ModelLabelKey = GroupName + "/model"
	// TenantLabelKey names the tenant an object belongs to.
	TenantLabelKey = GroupName + "/tenant"
	// BatchLabelKey names the Batch whose run a Job, or one of its pods, is part of.
	BatchLabelKey = GroupName + "/batch"
	// TriggerLabelKey names the InferenceTrigger that a Trigger, or a Batch, is of.
	TriggerLabelKey = GroupName + "/inference-trigger"
	// BatchRequestsLabelKey is on a Broker whose events may ask for Batches in its namespace, where
	// its value is BatchRequestsTaken; and on the Trigger that Sluice makes for it.
	BatchRequestsLabelKey = GroupName + "/batch-requests"
	// BatchRequestsTaken is the value that says so.
	BatchRequestsTaken = "true"
	// BatchRequestsNotTaken is the value that says that they may not.
	BatchRequestsNotTaken = "false"
	// RequestedByLabelKey names the Broker whose event asked for a Batch.
	RequestedByLabelKey = GroupName + "/requested-by"
	// StartedByAnnotationKey is on a Batch that an event started: which one, by a hash of its
	// source and id, and of the UID of the InferenceTrigger, or of the Broker.
	StartedByAnnotationKey = GroupName + "/started-by"
	// ManagedByLabelKey and ManagedBy mark the objects that Sluice writes.
	ManagedByLabelKey = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of ManagedByLabelKey on objects of ours.
	ManagedBy = "sluice"

	// TemplateHashAnnotationKey is on the Knative Service of a Model: the hash
	// of the fields that make a revision. The template is rebuilt only when it
	// changes, so tuning never makes a revision.
	TemplateHashAnnotationKey = GroupName + "/template-hash"

	// TemplateMetadataAnnotationKey is beside it: the hash of the labels and annotations
	// of other people's that make a revision too, and whether the template has them.
	TemplateMetadataAnnotationKey = GroupName + "/template-metadata"
	// HandedLabelsAnnotationKey is on it too: the keys of the labels that it has from its
	// Model, so that they go when the Model has them no more.
	HandedLabelsAnnotationKey = GroupName + "/handed-labels"
	// HandedAnnotationsAnnotationKey has the keys of such annotations.
	HandedAnnotationsAnnotationKey = GroupName + "/handed-annotations"

	// WarmUpImageAnnotationKey is on the Knative Service of a Model that is warmed
	// up: the image that its template was built with. A later one, that comes with
	// an upgrade of Sluice, waits for the next revision.
	WarmUpImageAnnotationKey = GroupName + "/warm-up-image"
	// WarmUpBodiesAnnotationKey is on it too where bodies lie beside the template:
	// the ConfigMap that has them.
	WarmUpBodiesAnnotationKey = GroupName + "/warm-up-bodies"
	// WarmUpStartWithinAnnotationKey is on it too where the cluster lets revisions take
	// longer to start than Knative by itself: the progress deadline that its template was
	// built from.
	WarmUpStartWithinAnnotationKey = GroupName + "/warm-up-start-within"

	// WarmUpResourcesAnnotationKey is on it too where the container has other resources than
	// it had before that could be said: a ResourceRequirements, as JSON.
	WarmUpResourcesAnnotationKey = GroupName + "/warm-up-resources"

	// TunedByAnnotationKey is on a Model: who tuned it last, which the webhook alone writes. It is
	// on each ControllerRevision of its history too: who tuned it to that state, where that is known.
	TunedByAnnotationKey = GroupName + "/tuned-by"
	// TunedStateAnnotationKey is beside it on a Model: a hash of the settings that who is named
	// there left, and which write that was. Where they are others by now, somebody tuned it past
	// the webhook, which isn't asked about the scale subresource. It is on each ControllerRevision
	// of its history too, as it was on the Model when the state came: it names who tuned once.
	TunedStateAnnotationKey = GroupName + "/tuned-state"
	// TunedAtAnnotationKey is on a ControllerRevision of a Model's history: when the state came,
	// or came back, in RFC 3339.
	TunedAtAnnotationKey = GroupName + "/tuned-at"
	// TunedChangesAnnotationKey is on it too: the settings that changed then, as JSON.
	TunedChangesAnnotationKey = GroupName + "/tuned-changes"
	// TunedToldAnnotationKey is on it too: the revision number that the Broker has been told of.
	TunedToldAnnotationKey = GroupName + "/tuned-told"
	// ChangeCauseAnnotationKey is Kubernetes' own, on a Model and in its history: why.
	ChangeCauseAnnotationKey = "kubernetes.io/change-cause"

	// SplitByAnnotationKey is on a Knative Service, which hands it on to its Route and
	// that to its Ingress: "header:<name>" or "cookie:<name>", by whose value requests
	// are split where they are split.
	SplitByAnnotationKey = GroupName + "/split-by"
)

var (
	// ModelsResource is the resource of the kind Model.
	ModelsResource = schema.GroupResource{Group: GroupName, Resource: "models"}
	// RateLimitsResource is the resource of the kind RateLimit.
	RateLimitsResource = schema.GroupResource{Group: GroupName, Resource: "ratelimits"}
	// TenantsResource is the resource of the kind Tenant.
	TenantsResource = schema.GroupResource{Group: GroupName, Resource: "tenants"}
	// BatchesResource is the resource of the kind Batch.
	BatchesResource = schema.GroupResource{Group: GroupName, Resource: "batches"}
	// InferenceTriggersResource is the resource of the kind InferenceTrigger.
	InferenceTriggersResource = schema.GroupResource{Group: GroupName, Resource: "inferencetriggers"}
)
