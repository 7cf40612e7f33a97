package manifest

import "slices"

// Rule changes an object in place and reports whether to keep it.
type Rule func(Object) bool

// Rewrite applies every rule to every object.
func Rewrite(objects []Object, rules ...Rule) []Object {
	kept := make([]Object, 0, len(objects))
	for _, o := range objects {
		keep := true
		for _, rule := range rules {
			keep = keep && rule(o)
		}
		if keep {
			kept = append(kept, o)
		}
	}
	return kept
}

// WithoutKinds drops objects of these kinds.
func WithoutKinds(kinds ...string) Rule {
	return func(o Object) bool { return !slices.Contains(kinds, o.Kind()) }
}

// ModestRequests lowers what every container of a Deployment reserves, so that
// the control planes leave the machine to the models. Limits on CPU go: on two
// cores they only slow the start down. Memory limits stay.
func ModestRequests(cpu, memory string) Rule {
	return func(o Object) bool {
		eachContainer(o, func(c map[string]any) {
			resources := child(c, "resources")
			resources["requests"] = map[string]any{"cpu": cpu, "memory": memory}
			if limits, ok := resources["limits"].(map[string]any); ok {
				delete(limits, "cpu")
			}
		})
		return true
	}
}

// PromptReadiness shortens the wait before and between readiness probes. Some
// control planes wait 20 s before the first one.
func PromptReadiness(o Object) bool {
	eachContainer(o, func(c map[string]any) {
		if probe, ok := c["readinessProbe"].(map[string]any); ok {
			delete(probe, "initialDelaySeconds")
			probe["periodSeconds"] = 2
			probe["failureThreshold"] = 3
		}
	})
	return true
}

// OneReplica is enough where there is one node; a Deployment that is meant to
// be at zero stays there.
func OneReplica(o Object) bool {
	if o.Kind() != "Deployment" {
		return true
	}
	spec := child(o, "spec")
	if n, ok := spec["replicas"].(float64); ok && n > 1 {
		spec["replicas"] = 1
	}
	return true
}

// Version sets the label that says which release an object belongs to; sources
// that were never released say "devel".
func Version(version string) Rule {
	const label = "app.kubernetes.io/version"
	set := func(metadata map[string]any) {
		if labels, ok := metadata["labels"].(map[string]any); ok && labels[label] != nil {
			labels[label] = version
		}
	}
	return func(o Object) bool {
		set(child(o, "metadata"))
		if o.Kind() == "Deployment" {
			set(child(child(child(o, "spec"), "template"), "metadata"))
		}
		return true
	}
}

// ConfigData sets entries of a ConfigMap.
func ConfigData(namespace, name string, data map[string]string) Rule {
	return func(o Object) bool {
		if o.Kind() == "ConfigMap" && o.Namespace() == namespace && o.Name() == name {
			entries := child(o, "data")
			for key, value := range data {
				entries[key] = value
			}
		}
		return true
	}
}

func eachContainer(o Object, do func(map[string]any)) {
	if o.Kind() != "Deployment" {
		return
	}
	pod := child(child(child(o, "spec"), "template"), "spec")
	containers, _ := pod["containers"].([]any)
	for _, c := range containers {
		if container, ok := c.(map[string]any); ok {
			do(container)
		}
	}
}

// child returns the object under key, which it makes where there is none.
func child(o map[string]any, key string) map[string]any {
	c, ok := o[key].(map[string]any)
	if !ok {
		c = map[string]any{}
		o[key] = c
	}
	return c
}
