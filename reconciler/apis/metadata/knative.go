package metadata

import (
	"fmt"
	"strconv"
	"strings"

	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

const publicNetworking = networking.PublicGroupName

// knativeDomains are those in which Knative Serving's keys are all in the table.
var knativeDomains = []string{serving.GroupName, "queue.sidecar." + serving.GroupName, networking.GroupName, publicNetworking, "features.knative.dev"}

// known is a key of Knative's.
type known struct {
	kind  Kind
	place Place
	// check says what is wrong with a value; "" for nothing.
	check func(value string) string
	// why it isn't handed on, where it isn't.
	why string
}

func (k known) judge(kind Kind, value string) verdict {
	if kind != k.kind && k.why != ownWords {
		return verdict{Refused, fmt.Sprintf("to Knative it is %s %s: as %s %s it does nothing; move it to metadata.%ss",
			article(k.kind), k.kind, article(kind), kind, k.kind)}
	}
	if k.check == nil {
		return verdict{k.place, k.why}
	}
	if wrong := k.check(value); wrong != "" {
		return verdict{Refused, wrong}
	}
	return verdict{k.place, k.why}
}

func article(k Kind) string {
	if k == Annotation {
		return "an"
	}
	return "a"
}

const (
	// ownWords says of what comes along in a manifest that was printed.
	ownWords = "Knative writes it itself on what it makes of the Model: this one is not handed on"
	// ownRollout is why Knative's rollout can't be had.
	ownRollout = "Sluice itself moves the requests to a new revision, as its replicas become warm and not by the clock: " +
		"take it away; spec.rollout says how it goes"
)

func oneOf(values ...string) func(string) string {
	return func(value string) string {
		for _, v := range values {
			if strings.EqualFold(v, value) {
				return ""
			}
		}
		return fmt.Sprintf("must be %s, is %q", strings.Join(values, " or "), value)
	}
}

func boolean(value string) string {
	if _, err := strconv.ParseBool(value); err != nil {
		return fmt.Sprintf("must be true or false, is %q", value)
	}
	return ""
}

// private is exact: Knative takes any other value for a public one.
func private(value string) string {
	if value != serving.VisibilityClusterLocal {
		return fmt.Sprintf("must be %s, for callers inside the cluster alone, is %q; take it away for a Model that is public",
			serving.VisibilityClusterLocal, value)
	}
	return ""
}

func ourClass(value string) string {
	if value != sluice.IngressClassName {
		return fmt.Sprintf("a Model's limit is on the routes of its own class, %s, so no other can serve it: take it away, "+
			"or make a Knative Service of the Model", sluice.IngressClassName)
	}
	return ""
}

// knative is the table of its keys. Those of the autoscaler go by their domain.
var knative = table(
	// To the replicas: queue-proxy's resources and features, what keeps a revision.
	rows(known{place: Replicas},
		serving.QueueSidecarResourcePercentageAnnotation, serving.QueueSidecarCPUResourceRequestAnnotation,
		serving.QueueSidecarCPUResourceLimitAnnotation, serving.QueueSidecarMemoryResourceRequestAnnotation,
		serving.QueueSidecarMemoryResourceLimitAnnotation, serving.QueueSidecarEphemeralStorageResourceRequestAnnotation,
		serving.QueueSidecarEphemeralStorageResourceLimitAnnotation,
		[]string{config.QueueProxyPodInfoFeatureKey, config.AllowHTTPFullDuplexFeatureKey, serving.RevisionPreservedAnnotationKey}),
	// With the warm-up's time: see Model.ProgressDeadline.
	rows(known{place: Apart}, serving.ProgressDeadlineAnnotation),
	// To the Knative Service.
	rows(known{kind: Label, place: Service, check: private}, []string{networking.VisibilityLabelKey}),
	rows(known{place: Service}, []string{networking.CertificateClassAnnotationKey, networking.CertificateClassAnnotationAltKey}),
	rows(known{place: Service, check: boolean}, []string{
		networking.DisableAutoTLSAnnotationKey, networking.DisableAutoTLSAnnotationAltKey, networking.DisableExternalDomainTLSAnnotationKey,
	}),
	rows(known{place: Service, check: oneOf("Enabled", "Redirected")}, []string{
		networking.HTTPOptionAnnotationKey, networking.HTTPProtocolAnnotationKey,
	}),
	// Nowhere.
	rows(known{place: Refused, why: ownRollout}, serving.RolloutDurationAnnotation),
	rows(known{place: Model, check: ourClass}, []string{networking.IngressClassAnnotationKey, networking.IngressClassAnnotationAltKey}),
	rows(known{place: Model, why: ownWords}, []string{
		serving.CreatorAnnotation, serving.UpdaterAnnotation,
		serving.RevisionLastPinnedAnnotationKey, serving.RoutesAnnotationKey, serving.RoutingStateModifiedAnnotationKey,
		networking.RolloutAnnotationKey, networking.TagToHostAnnotationKey,
	}),
	rows(known{kind: Label, place: Model, why: ownWords}, []string{
		serving.ServiceLabelKey, serving.ServiceUIDLabelKey, serving.ConfigurationLabelKey, serving.ConfigurationUIDLabelKey,
		serving.ConfigurationGenerationLabelKey, serving.RevisionLabelKey, serving.RevisionUID, serving.RevisionDeploymentHashLabelKey,
		serving.RouteLabelKey, serving.RouteNamespaceLabelKey, serving.RoutingStateLabelKey,
		serving.DomainMappingUIDLabelKey, serving.DomainMappingNamespaceLabelKey,
		networking.CertificateUIDLabelKey, networking.IngressLabelKey, networking.OriginSecretNameLabelKey,
		networking.OriginSecretNamespaceLabelKey, networking.TagLabelKey, networking.WildcardCertDomainLabelKey,
		networking.CertificateTypeLabelKey, networking.TrustBundleLabelKey,
	}),
)

type row struct {
	keys []string
	known
}

// rows are the keys, in all spellings, that go alike.
func rows(as known, keys ...[]string) []row {
	var out []row
	for _, spellings := range keys {
		out = append(out, row{spellings, as})
	}
	return out
}

func table(all ...[]row) map[string]known {
	out := map[string]known{}
	for _, rows := range all {
		for _, r := range rows {
			for _, key := range r.keys {
				out[key] = r.known
			}
		}
	}
	return out
}
