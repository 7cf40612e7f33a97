package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Hash tells one trial from another: 16 hex digits of all that it says.
func (t *TrialSpec) Hash() string {
	said := t.DeepCopy()
	said.setDefaults()
	return hashOf(said)
}

// hashOf is 16 hex digits of what is said.
func hashOf(said any) string {
	sum := sha256.Sum256(written(said))
	return hex.EncodeToString(sum[:8])
}

// Values are what is tried, as JSON on a line.
func (t *TrialSpec) Values() string { return string(written(t.values())) }

// values are what is tried, by part and field.
func (t *TrialSpec) values() map[string]map[string]any {
	values := map[string]map[string]any{}
	if t.Autoscaling != nil {
		values["autoscaling"] = fieldsOf(t.Autoscaling)
	}
	if t.Limit != nil {
		values["limit"] = fieldsOf(t.Limit)
	}
	return values
}

// fieldsOf are those that a part of a Model sets, by their names in JSON.
func fieldsOf(part any) map[string]any {
	fields := map[string]any{}
	overlay(&fields, part)
	return fields
}

// InForce is the Model with what it tries in place of its own, while its status says that
// this very trial runs; otherwise it is the Model itself.
func (m *Model) InForce() *Model {
	if m.Spec.Trial == nil || !m.Status.Trial.Runs(m.Spec.Trial) {
		return m
	}
	return m.Tried()
}

// Tried is a copy of the Model with what it tries in place of its own, whether or not that
// is in force. An annotation for the autoscaler is its own as well.
func (m *Model) Tried() *Model {
	tried := m.DeepCopy()
	trial := m.Spec.Trial
	if trial == nil {
		return tried
	}
	if trial.Autoscaling != nil {
		overlay(&tried.Spec.Autoscaling, trial.Autoscaling)
		for _, f := range autoscalingFields {
			if _, set := f.value(trial.Autoscaling); set {
				for _, key := range f.keys {
					delete(tried.Annotations, key)
				}
			}
		}
	}
	if trial.Limit != nil {
		overlay(&tried.Spec.Limit, trial.Limit)
	}
	return tried
}

// KeepPatch is a JSON merge patch that has the Model itself say all that it tries, and why. It
// is of this version of the Model alone: another one refuses it as a conflict.
func (m *Model) KeepPatch(why string) map[string]any {
	annotations, tried := map[string]any{sluice.ChangeCauseAnnotationKey: why}, m.Tried().Annotations
	for key := range m.Annotations {
		if _, stays := tried[key]; !stays {
			annotations[key] = nil
		}
	}
	spec := m.Spec.Trial.values()
	if limit := m.Spec.Trial.Limit; limit != nil && limit.RequestsPerSecondPerReplica != nil {
		spec["limit"]["requestsPerSecondPerReplica"] = decimal(*limit.RequestsPerSecondPerReplica) // as people write it
	}
	return map[string]any{"metadata": map[string]any{"resourceVersion": m.ResourceVersion, "annotations": annotations}, "spec": spec}
}

// HoldsTried tells whether the Model itself has come to say all that it tries.
func (m *Model) HoldsTried() bool {
	tried := m.Tried()
	return maps.EqualFunc(m.AutoscalingAnnotations(), tried.AutoscalingAnnotations(), sameSetting) &&
		equality.Semantic.DeepEqual(m.Spec.Limit, tried.Spec.Limit)
}

// sameSetting compares the values of an annotation, which may be written in several ways:
// 60s is 1m0s, and 5 is 5.0.
func sameSetting(a, b string) bool {
	if a == b {
		return true
	}
	if x, err := time.ParseDuration(a); err == nil {
		y, err := time.ParseDuration(b)
		return err == nil && x == y
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// overlay puts what over says in place of what base says, and leaves the rest. In the API's
// types, what is unset leaves no trace in JSON.
func overlay(base, over any) {
	if err := json.Unmarshal(written(over), base); err != nil {
		panic(fmt.Sprintf("a part of a Model reads what it writes: %v", err))
	}
}

func written(of any) []byte {
	text, err := json.Marshal(of)
	if err != nil {
		panic(fmt.Sprintf("a part of a Model is plain data: %v", err))
	}
	return text
}
