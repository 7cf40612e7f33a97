package resources

import (
	"fmt"
	"maps"
	"slices"

	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Change is what a person may want to know of a change of status, as a Kubernetes
// event.
type Change struct {
	Warning         bool
	Reason, Message string
}

// Changes returns what has happened between two statuses.
func Changes(before, after v1alpha1.TenantStatus) []Change {
	return slices.Concat(moveChanges(before, after), namespaceChanges(before, after), conditionChanges(before, after))
}

func moveChanges(before, after v1alpha1.TenantStatus) []Change {
	var out []Change
	if Switched(before, after) {
		out = append(out, Change{Reason: "AddressSwitched", Message: "The address leads to gateway " + after.Gateway})
	}
	switch was, is := before.Move, after.Move; {
	case is == nil && was == nil:
	case is == nil && was.Phase == v1alpha1.MoveDraining:
		out = append(out, Change{Reason: "MoveFinished", Message: fmt.Sprintf("Gateway %s alone serves the tenant", after.Gateway)})
	case is == nil:
		out = append(out, Change{Reason: "MoveCalledOff", Message: "The tenant stays on gateway " + after.Gateway})
	case was == nil || was.Phase != is.Phase || was.To != is.To:
		out = append(out, Change{Reason: "Move" + string(is.Phase), Message: fmt.Sprintf("%s, from gateway %s to %s", is.Phase, is.From, is.To)})
	}
	return out
}

func namespaceChanges(before, after v1alpha1.TenantStatus) []Change {
	var out []Change
	phases := func(status v1alpha1.TenantStatus) map[string]v1alpha1.NamespacePhase {
		phases := map[string]v1alpha1.NamespacePhase{}
		for _, held := range status.Namespaces {
			phases[held.Name] = held.Phase
		}
		return phases
	}
	was, is := phases(before), phases(after)
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if was[name] != is[name] {
			out = append(out, Change{Reason: "Namespace" + string(is[name]), Message: fmt.Sprintf("Namespace %s is %s", name, is[name])})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if is[name] == "" {
			out = append(out, Change{Reason: "NamespaceReleased", Message: fmt.Sprintf("Namespace %s is no longer the tenant's", name)})
		}
	}
	return out
}

// conditionChanges warns of what has turned bad.
func conditionChanges(before, after v1alpha1.TenantStatus) []Change {
	var out []Change
	for _, is := range after.Conditions {
		was := before.GetCondition(is.Type)
		if is.Type == apis.ConditionReady || !is.IsFalse() || (was.IsFalse() && was.Reason == is.Reason) {
			continue
		}
		out = append(out, Change{Warning: true, Reason: is.Reason, Message: is.Message})
	}
	return out
}

// Switched tells whether the address has come to lead to another gateway.
func Switched(before, after v1alpha1.TenantStatus) bool {
	return before.Gateway != "" && before.Gateway != after.Gateway
}
