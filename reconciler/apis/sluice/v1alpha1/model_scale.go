package v1alpha1

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// ScaleSubresource is what `kubectl scale` writes of a Model: spec.autoscaling.minReplicas.
const ScaleSubresource = "scale"

// PathMinReplicas is where that is.
const PathMinReplicas = "spec.autoscaling.minReplicas"

// ValidateScale says whether a Model may be scaled, and in a warning what that sets. The
// rules are those of a write of the Model itself; and what would do nothing is refused.
func (m *Model) ValidateScale(ctx context.Context, replicas int32) *apis.FieldError {
	if m.DeletionTimestamp != nil {
		return nil
	}
	if key, value, ok := autoscaling.MinScaleAnnotation.Get(m.Annotations); ok {
		err := invalid("metadata.annotations["+key+"]", "is %q and wins over %s, which is what scaling sets: it would do nothing", value, PathMinReplicas)
		err.Details = fmt.Sprintf("take the annotation away first: kubectl annotate model %s %s-", m.Name, key)
		return err
	}
	scaled := m.DeepCopy()
	scaled.Spec.Autoscaling.MinReplicas = &replicas
	errs := scaled.Validate(apis.WithinUpdate(ctx, m))
	// What was allowed for what the Model asked before says nothing.
	if most, capped := m.Status.Allowed(); capped && m.Status.ObservedGeneration == m.Generation && int64(replicas) > most {
		err := invalid(PathMinReplicas, "is %d; its tenant's caps let each revision have %d replicas (status.maxReplicas)", replicas, most)
		err.Details = "scale to that at most, or have the operator raise the cap"
		errs = errs.Also(err)
	}
	return errs.Also(warning(scaled.whatScaleSets(), PathMinReplicas))
}

// whatScaleSets tells whoever knows scaling from a Deployment what it is here.
func (m *Model) whatScaleSets() string {
	least, upTo := *m.Spec.Autoscaling.MinReplicas, ""
	if trial := m.Spec.Trial; m.Status.Trial.Runs(trial) && trial.Autoscaling != nil && trial.Autoscaling.MinReplicas != nil {
		return fmt.Sprintf("sets it to %d, which holds once spec.trial is over, at %s or before: until then %d are kept", least,
			m.Status.Trial.EndTime.UTC().Format(time.RFC3339), *trial.Autoscaling.MinReplicas)
	}
	if most := m.MaxReplicas(); most != UnboundedReplicas {
		upTo = fmt.Sprintf(", %d of each revision at most", most)
	}
	if least == 0 {
		return "sets it to 0: the Model scales to zero when nothing is asked of it; replicas follow the demand" + upTo
	}
	return fmt.Sprintf("sets it to %d, which are kept without any demand; replicas beyond that follow the demand%s", least, upTo)
}

// ScaledBy tells by which client (kubectl, a controller's name) the least number of replicas
// was set that the Model has, if that was done through the scale subresource; false where it
// wasn't. Neither the user nor the time is there: a webhook can't write on a Model that is
// scaled, and the API server notes no time for this subresource. Its audit log has both.
func (m *Model) ScaledBy() (client string, ok bool) {
	for _, entry := range m.ManagedFields {
		if entry.Subresource == ScaleSubresource && entry.FieldsV1 != nil && ownsMinReplicas(entry.FieldsV1.Raw) {
			return entry.Manager, true
		}
	}
	return "", false
}

// ownsMinReplicas looks for the field in a set of fields (sigs.k8s.io/structured-merge-diff).
func ownsMinReplicas(fields []byte) bool {
	var owned struct {
		Spec struct {
			Autoscaling map[string]json.RawMessage `json:"f:autoscaling"`
		} `json:"f:spec"`
	}
	if err := json.Unmarshal(fields, &owned); err != nil {
		return false
	}
	_, owns := owned.Spec.Autoscaling["f:minReplicas"]
	return owns
}
