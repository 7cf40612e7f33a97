package asked

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/reading"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// changedBy is a Model as a merge patch tunes it, with defaults, if it would be let in: ctx
// carries by what.
func changedBy(ctx context.Context, model *v1alpha1.Model, patch json.RawMessage) (*v1alpha1.Model, error) {
	if err := tunesAlone(patch); err != nil {
		return nil, err
	}
	if unknown := reading.Unknown(patch, &v1alpha1.Model{}); len(unknown) > 0 {
		return nil, fmt.Errorf("changed has fields that a Model can't have: %s", strings.Join(unknown, "; "))
	}
	if err := reading.Explain(patch, &v1alpha1.Model{}); err != nil {
		return nil, err.ViaField("changed")
	}
	is, err := json.Marshal(model)
	if err != nil {
		return nil, fmt.Errorf("writing the Model: %w", err)
	}
	becomes, err := jsonpatch.MergePatch(is, patch)
	if err != nil {
		return nil, fmt.Errorf("changed can't be merged into the Model: %w: give a merge patch", err)
	}
	changed := &v1alpha1.Model{}
	if err := json.Unmarshal(becomes, changed); err != nil {
		return nil, fmt.Errorf("changed makes no Model: %w: give a merge patch of spec.autoscaling or spec.limit", err)
	}
	changed.SetDefaults(apis.WithinUpdate(ctx, model))
	if err := changed.RefuseTuning(ctx, model); err != nil {
		return nil, fmt.Errorf("the changed Model would be refused: %w", err)
	}
	return changed, nil
}

// tunesAlone is an error for what changes more of a Model than how it is tuned.
func tunesAlone(patch json.RawMessage) error {
	var of map[string]json.RawMessage
	if err := json.Unmarshal(patch, &of); err != nil {
		return errors.New(`changed is no object: give a merge patch, as {"spec": {"autoscaling": {"target": 5}}}`)
	}
	if err := hasOnly("changed", of, "metadata", "spec"); err != nil {
		return err
	}
	spec, metadata, annotations := map[string]json.RawMessage{}, map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for _, part := range []struct {
		path string
		text json.RawMessage
		into *map[string]json.RawMessage
		has  []string
	}{
		{"changed.spec", of["spec"], &spec, []string{"autoscaling", "limit"}},
		{"changed.metadata", of["metadata"], &metadata, []string{"annotations"}},
	} {
		if err := object(part.path, part.text, part.into); err != nil {
			return err
		}
		if err := hasOnly(part.path, *part.into, part.has...); err != nil {
			return err
		}
	}
	if err := object("changed.metadata.annotations", metadata["annotations"], &annotations); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(key, v1alpha1.AutoscalingPrefix) {
			return fmt.Errorf("changed.metadata.annotations[%s] can't be asked about: give annotations %s…", shortened(key), v1alpha1.AutoscalingPrefix)
		}
		var value *string
		if err := json.Unmarshal(annotations[key], &value); err != nil {
			return fmt.Errorf("changed.metadata.annotations[%s] must be text: put it in quotes", shortened(key))
		}
	}
	return nil
}

// object reads one, which may be missing. A null would take away more than can be asked about.
func object(path string, text json.RawMessage, into *map[string]json.RawMessage) error {
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil || *into == nil {
		return fmt.Errorf("%s must be an object: give only what is to be another", path)
	}
	return nil
}

func hasOnly(path string, of map[string]json.RawMessage, fields ...string) error {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if !slices.Contains(fields, name) {
			return fmt.Errorf("%s.%s can't be asked about: of %s give %s", path, shortened(name), path, strings.Join(fields, " and "))
		}
	}
	return nil
}
