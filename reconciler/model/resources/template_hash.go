package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// hashForm1 begins every hash of the first canonical form. A form, once released,
// never changes: another one gets another function and prefix, and BuiltFrom goes
// on comparing a Service by the form it was built under, so that an upgrade of
// Sluice makes no revision.
const hashForm1 = "v1-"

// TemplateHash is the hash of everything in a Model that makes a revision: not its
// autoscaling, not its limit, not its metadata, which has a hash of its own, but for the
// progress deadline. It is "v1-" and 32 hex digits.
func TemplateHash(m *v1alpha1.Model) string {
	return hashForm1 + digest(canonicalForm1(m))
}

// BuiltFrom is true when the Service's template was built from what the Model asks
// for now. A hash of an unknown form, as after a downgrade, is not.
func BuiltFrom(m *v1alpha1.Model, service *servingv1.Service) bool {
	return service.Annotations[sluice.TemplateHashAnnotationKey] == TemplateHash(m) && metadataIsOf(m, service)
}

// canonicalForm1 lists the fields by name, so that a field added to Model is not
// hashed until somebody decides that it makes a revision. A new field may be added
// here without a new form, since an empty value leaves no trace in the form.
func canonicalForm1(m *v1alpha1.Model) map[string]any {
	s := &m.Spec
	return canonicalFields(map[string]any{
		"container":                   s.Container,
		"volumes":                     s.Volumes,
		"serviceAccountName":          s.ServiceAccountName,
		"imagePullSecrets":            s.ImagePullSecrets,
		"nodeSelector":                s.NodeSelector,
		"tolerations":                 s.Tolerations,
		"containerConcurrency":        s.ContainerConcurrency,
		"timeoutSeconds":              s.TimeoutSeconds,
		"responseStartTimeoutSeconds": s.ResponseStartTimeoutSeconds,
		"idleTimeoutSeconds":          s.IdleTimeoutSeconds,
		"warmUp":                      s.WarmUp,
		"progressDeadline":            m.ProgressDeadline(),

		"sidecars":                     s.Sidecars,
		"initContainers":               s.InitContainers,
		"securityContext":              s.SecurityContext,
		"affinity":                     s.Affinity,
		"topologySpreadConstraints":    s.TopologySpreadConstraints,
		"runtimeClassName":             s.RuntimeClassName,
		"priorityClassName":            s.PriorityClassName,
		"schedulerName":                s.SchedulerName,
		"resourceClaims":               s.ResourceClaims,
		"dnsPolicy":                    s.DNSPolicy,
		"dnsConfig":                    s.DNSConfig,
		"hostAliases":                  s.HostAliases,
		"automountServiceAccountToken": s.AutomountServiceAccountToken,
		"enableServiceLinks":           s.EnableServiceLinks,
		"shareProcessNamespace":        s.ShareProcessNamespace,
		"hostNetwork":                  s.HostNetwork,
		"hostPID":                      s.HostPID,
		"hostIPC":                      s.HostIPC,
	})
}

func canonicalFields(fields map[string]any) map[string]any {
	form := map[string]any{}
	for name, value := range fields {
		if canonical := canonicalField(reflect.ValueOf(value)); canonical != nil {
			form[name] = canonical
		}
	}
	return form
}

func digest(form map[string]any) string {
	// encoding/json sorts the keys of maps.
	text, err := json.Marshal(form)
	if err != nil {
		panic(fmt.Sprintf("a canonical form is plain data: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// canonicalField is the canonical form of a struct's field, or nil where it is
// empty. Which empty values JSON shows depends on tags that Kubernetes changes from
// release to release; here none leaves a trace but a pointer that is set, whose
// presence can be its meaning (emptyDir: {}, allowPrivilegeEscalation: false).
func canonicalField(v reflect.Value) any {
	if quantity, ok := v.Interface().(resource.Quantity); ok {
		if quantity.IsZero() {
			return nil
		}
		return quantity.String()
	}
	if v.IsZero() || (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
		return nil
	}
	form := canonicalValue(v)
	if fields, ok := form.(map[string]any); ok && v.Kind() == reflect.Struct && len(fields) == 0 {
		return nil
	}
	return form
}

// canonicalValue is the canonical form of a value that is there: an element of a
// list or a map, what a pointer points to, a field that is not empty.
func canonicalValue(v reflect.Value) any {
	if form, ok := marshalled(v); ok {
		return form
	}
	switch v.Kind() {
	case reflect.Pointer:
		return canonicalValue(v.Elem())
	case reflect.Struct:
		return canonicalStruct(v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Interface() // base64
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = canonicalValue(v.Index(i))
		}
		return list
	case reflect.Map:
		form := make(map[string]any, v.Len())
		for _, key := range v.MapKeys() {
			form[key.String()] = canonicalValue(v.MapIndex(key))
		}
		return form
	default:
		return v.Interface()
	}
}

func canonicalStruct(v reflect.Value) map[string]any {
	form := map[string]any{}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			for inner, value := range canonicalStruct(v.Field(i)) {
				form[inner] = value
			}
			continue
		}
		if value := canonicalField(v.Field(i)); value != nil {
			form[name] = value
		}
	}
	return form
}

// marshalled is the form of a type that says itself how it is written, such as a
// quantity (whose text is canonical) or a port that is a number or a name.
func marshalled(v reflect.Value) (any, bool) {
	if v.Kind() == reflect.Pointer {
		return nil, false
	}
	marshaler, ok := v.Interface().(json.Marshaler)
	if !ok {
		return nil, false
	}
	text, err := marshaler.MarshalJSON()
	if err != nil {
		return fmt.Sprint(v.Interface()), true
	}
	return json.RawMessage(text), true
}
