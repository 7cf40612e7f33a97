package v1alpha1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// TuningPatch is how the Model is tuned: spec.autoscaling, spec.limit, and its own annotations
// for Knative's autoscalers. It is a JSON merge patch that tunes any other state of the Model
// like this one, so all that is unset is null. Of annotations that goes for those that Knative
// knows, as far as Sluice does; any other is there where it is set.
func (m *Model) TuningPatch() map[string]any {
	annotations := map[string]any{}
	for _, keys := range autoscalingKeys {
		for _, key := range keys {
			annotations[key] = nil
		}
	}
	for key, value := range m.annotationsForAutoscalers() {
		annotations[key] = value
	}
	limit := patchOf(m.Spec.Limit)
	if q := m.Spec.Limit.RequestsPerSecondPerReplica; q != nil {
		limit["requestsPerSecondPerReplica"] = decimal(*q) // as people write it
	}
	return map[string]any{
		"metadata": map[string]any{"annotations": annotations},
		"spec":     map[string]any{"autoscaling": patchOf(m.Spec.Autoscaling), "limit": limit},
	}
}

// annotationsForAutoscalers are the Model's own, as they are spelt.
func (m *Model) annotationsForAutoscalers() map[string]string {
	own := map[string]string{}
	for key, value := range m.Annotations {
		if strings.HasPrefix(key, AutoscalingPrefix) {
			own[key] = value
		}
	}
	return own
}

// patchOf is a merge patch of a struct: its fields by their names in JSON, null where they are unset.
func patchOf(value any) map[string]any {
	fields := fieldsOf(value)
	nullUnset(fields, reflect.TypeOf(value))
	return fields
}

func nullUnset(fields map[string]any, of reflect.Type) {
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		value, set := fields[name]
		if !set {
			fields[name] = nil
			continue
		}
		inner := of.Field(i).Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if within, ok := value.(map[string]any); ok && inner.Kind() == reflect.Struct {
			nullUnset(within, inner)
		}
	}
}

// TuningSettings are the settings that a TuningPatch has, by their paths, as in
// spec.autoscaling.target; nothing that it has as null.
func TuningSettings(patch map[string]any) map[string]string {
	settings := map[string]string{}
	addSettings(settings, "", patch)
	return settings
}

const annotationsPath = "metadata.annotations"

func addSettings(settings map[string]string, path string, value any) {
	switch value := value.(type) {
	case nil:
	case map[string]any:
		for name, inner := range value {
			switch path {
			case "":
				addSettings(settings, name, inner)
			case annotationsPath:
				addSettings(settings, path+"["+name+"]", inner)
			default:
				addSettings(settings, path+"."+name, inner)
			}
		}
	case string:
		settings[path] = value
	default:
		text, err := json.Marshal(value)
		if err != nil {
			text = fmt.Append(nil, value) // can't be, of what JSON was read into
		}
		settings[path] = string(text)
	}
}

// TuningHash tells one state of a Model's tuning from another. It goes by what is set, so that
// a setting that comes with a later version of Sluice, or of Knative, is no change.
func (m *Model) TuningHash() string {
	return hashOf(TuningSettings(m.TuningPatch()))
}
