package reading

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"knative.dev/pkg/apis/duck"
)

// Keep is a patch of an object that gives it the defaults which another patch gives it, and
// no more: not what that changes by writing the object as Go would, 33500m for 33.5 or 1m0s
// for 60s. Otherwise what is stored would differ from what was applied, and be changed back
// by each further apply. The kind is a pointer to an empty struct.
func Keep(object, patch []byte, kind any) ([]byte, error) {
	raw, err := numbered(object)
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	if err := json.Unmarshal(object, kind); err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	text, err := json.Marshal(kind)
	if err != nil {
		return nil, fmt.Errorf("writing the object: %w", err)
	}
	before, err := numbered(text)
	if err != nil {
		return nil, fmt.Errorf("reading the object as Go writes it: %w", err)
	}
	after, err := patched(object, patch)
	if err != nil {
		return nil, err
	}
	if spec, ok := raw["spec"].(map[string]any); ok {
		own, _ := before["spec"].(map[string]any)
		for _, part := range ofKubernetes {
			if value, ok := spec[part]; ok {
				spec[part] = withoutFractions(value, own[part])
			}
		}
	}
	kept, err := json.Marshal(keep(raw, before, after))
	if err != nil {
		return nil, fmt.Errorf("writing the object with its defaults: %w", err)
	}
	changes, err := duck.CreateBytePatch(json.RawMessage(object), json.RawMessage(kept))
	if err != nil {
		return nil, fmt.Errorf("comparing the object with its defaults: %w", err)
	}
	return changes, nil
}

// ofKubernetes are the parts of a spec whose schema is Kubernetes' own.
var ofKubernetes = []string{"container", "sidecars", "initContainers", "volumes", "resources"}

// withoutFractions has a quantity that was written as a number with decimal places as Go
// writes it: that schema takes whole numbers and text.
func withoutFractions(raw, before any) any {
	switch raw := raw.(type) {
	case json.Number:
		if text, ok := before.(string); ok && strings.ContainsAny(raw.String(), ".eE") {
			return text
		}
	case map[string]any:
		before, _ := before.(map[string]any)
		for name, value := range raw {
			raw[name] = withoutFractions(value, before[name])
		}
	case []any:
		before, _ := before.([]any)
		for i := range min(len(raw), len(before)) {
			raw[i] = withoutFractions(raw[i], before[i])
		}
	}
	return raw
}

func patched(object, patch []byte) (map[string]any, error) {
	changes, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("reading the patch: %w", err)
	}
	text, err := changes.Apply(object)
	if err != nil {
		return nil, fmt.Errorf("applying the patch: %w", err)
	}
	return numbered(text)
}

// keep is what was written, with what differs between before and after.
func keep(raw, before, after any) any {
	if reflect.DeepEqual(before, after) {
		return raw
	}
	switch after := after.(type) {
	case map[string]any:
		raw, ok := raw.(map[string]any)
		before, was := before.(map[string]any)
		if ok && was {
			return keepFields(raw, before, after)
		}
	case []any:
		raw, ok := raw.([]any)
		before, was := before.([]any)
		if ok && was && len(raw) == len(after) && len(before) == len(after) {
			out := make([]any, len(after))
			for i := range after {
				out[i] = keep(raw[i], before[i], after[i])
			}
			return out
		}
	}
	return after
}

func keepFields(raw, before, after map[string]any) map[string]any {
	out := maps.Clone(raw)
	for name, value := range after {
		was, there := before[name]
		if there && reflect.DeepEqual(was, value) {
			continue
		}
		if own, ok := raw[name]; ok {
			value = keep(own, was, value)
		}
		out[name] = value
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			delete(out, name)
		}
	}
	return out
}
