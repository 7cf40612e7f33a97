// Package existing checks whether a cluster that somebody else runs has what
// Sluice needs, and says for each thing that is missing how to get it.
package existing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"sluice.dev/sluice/hack/cluster/internal/machine"
)

// Finding is one thing that was looked at.
type Finding struct {
	Subject   string
	Satisfied bool
	// Required tells a need from advice.
	Required bool
	// Seen is what the cluster has; Remedy what to do where that isn't enough.
	Seen, Remedy string
}

// String is the finding as people read it.
func (f Finding) String() string {
	switch {
	case f.Satisfied:
		return fmt.Sprintf("ok       %s: %s", f.Subject, f.Seen)
	case f.Required:
		return fmt.Sprintf("MISSING  %s: %s\n         remedy: %s", f.Subject, f.Seen, f.Remedy)
	default:
		return fmt.Sprintf("advice   %s: %s\n         better: %s", f.Subject, f.Seen, f.Remedy)
	}
}

// Getter runs kubectl with arguments and returns what it prints.
type Getter func(ctx context.Context, args ...string) ([]byte, error)

// Kubectl uses the kubectl on PATH and the current context.
func Kubectl(ctx context.Context, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "kubectl", append(args, "--request-timeout=15s")...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

// Lowest versions that Sluice is made for. Knative calls the same release 0.47
// in its modules and 1.18 in its manifests.
const (
	leastKubernetes    = "1.31"
	leastKnativeModule = "0.47"
	leastKnative       = "1.18"
	leastIstio         = "1.28"
)

// rollsAll warns of what a change of every queue-proxy entails.
const rollsAll = " (this changes every queue-proxy: all Knative services of the cluster roll once)"

const (
	// ownQueueProxy is the name of Sluice's image of it, ownKnative the release that it
	// is built from.
	ownQueueProxy = "queue-proxy"
	ownKnative    = "1.21"
)

// Check looks at the whole cluster. It fails only if the cluster can't be asked.
func Check(ctx context.Context, get Getter) ([]Finding, error) {
	kubernetes, err := checkKubernetes(ctx, get)
	if err != nil {
		return nil, err
	}
	findings := []Finding{
		kubernetes,
		checkKnative(ctx, get, "Knative Serving", "knative-serving", "controller"),
		checkKnative(ctx, get, "Knative Eventing", "knative-eventing", "eventing-controller"),
		checkBroker(ctx, get),
		checkAuthentication(ctx, get),
		checkProbing(ctx, get),
		checkMesh(ctx, get),
		checkDomain(ctx, get),
		checkQueueProxy(ctx, get),
	}
	return append(append(findings, checkIstio(ctx, get)...), checkSluice(ctx, get)), nil
}

func checkKubernetes(ctx context.Context, get Getter) (Finding, error) {
	out, err := get(ctx, "version", "-o", "json")
	if err != nil {
		return Finding{}, fmt.Errorf("asking the current context's cluster: %w", err)
	}
	var v struct {
		ServerVersion struct {
			GitVersion string `json:"gitVersion"`
		} `json:"serverVersion"`
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return Finding{}, fmt.Errorf("reading kubectl's answer: %w", err)
	}
	seen := v.ServerVersion.GitVersion
	return Finding{
		Subject: "Kubernetes", Required: true, Seen: seen, Satisfied: machine.AtLeast(seen, leastKubernetes),
		Remedy: "upgrade the cluster to Kubernetes " + leastKubernetes + " or later",
	}, nil
}

type workload struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Replicas int `json:"replicas"`
		Template struct {
			Spec struct {
				Containers []struct {
					Image string `json:"image"`
					Env   []struct {
						Name  string `json:"name"`
						Value string `json:"value"`
					} `json:"env"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		ReadyReplicas int `json:"readyReplicas"`
	} `json:"status"`
	Data map[string]string `json:"data"`
}

func object(ctx context.Context, get Getter, namespace, kind, name string) (workload, error) {
	out, err := get(ctx, "get", kind, name, "-n", namespace, "-o", "json")
	if err != nil {
		return workload{}, err
	}
	var w workload
	return w, json.Unmarshal(out, &w)
}

func checkKnative(ctx context.Context, get Getter, subject, namespace, deployment string) Finding {
	f := Finding{
		Subject: subject, Required: true, Seen: "not installed",
		Remedy: fmt.Sprintf("install %s %s or later in namespace %s", subject, leastKnative, namespace),
	}
	w, err := object(ctx, get, namespace, "deployment", deployment)
	if err != nil {
		return f
	}
	version := w.Metadata.Labels["app.kubernetes.io/version"]
	f.Seen = "version " + version
	f.Satisfied = knativeVersion(version)
	if version == "" || version == "devel" {
		f.Seen, f.Satisfied, f.Required = "installed, its version is not told", false, false
		f.Remedy = "make sure that it is " + leastKnative + " or later"
	}
	return f
}

func knativeVersion(version string) bool {
	if strings.HasPrefix(strings.TrimPrefix(version, "v"), "0.") {
		return machine.AtLeast(version, leastKnativeModule)
	}
	return machine.AtLeast(version, leastKnative)
}

// brokers are what Sluice's own Broker is made by, whatever the cluster's default class is.
var brokers = []string{"mt-broker-controller", "imc-controller"}

func checkBroker(ctx context.Context, get Getter) Finding {
	f := Finding{
		Subject: "MTChannelBasedBroker with InMemoryChannel", Required: true, Satisfied: true, Seen: "installed",
		Remedy: "install Knative Eventing's multi-tenant channel broker and in-memory channel; the default class may be another",
	}
	var missing []string
	for _, name := range brokers {
		if _, err := object(ctx, get, "knative-eventing", "deployment", name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		f.Satisfied, f.Seen = false, "no Deployment "+strings.Join(missing, ", nor ")+" in knative-eventing"
	}
	return f
}

// checkDomain advises only: a cluster may serve nobody outside. Without a domain of its own
// Knative takes all for what callers inside the cluster alone may reach.
func checkDomain(ctx context.Context, get Getter) Finding {
	f := Finding{
		Subject: "config-domain", Seen: "no domain: Models have no URL for callers outside the cluster",
		Remedy: `kubectl patch configmap config-domain -n knative-serving --type merge -p '{"data":{"models.example.com":""}}' with a domain of yours, whose names lead to Service shared of sluice-gateways`,
	}
	w, err := object(ctx, get, "knative-serving", "configmap", "config-domain")
	if err != nil {
		return f
	}
	for _, domain := range slices.Sorted(maps.Keys(w.Data)) {
		if !strings.HasPrefix(domain, "_") && domain != "svc.cluster.local" && strings.TrimSpace(w.Data[domain]) == "" {
			f.Satisfied, f.Seen = true, domain
		}
	}
	return f
}

// checkAuthentication advises only: events are hints, and forged ones change nothing.
func checkAuthentication(ctx context.Context, get Getter) Finding {
	f := Finding{Subject: "authentication-oidc", Seen: "not enabled: whoever reaches the Broker may send events"}
	return checkSetting(ctx, get, f, "knative-eventing", "config-features", "enabled",
		" (this holds for every Broker and channel of the cluster: who sends to them needs a token, too)")
}

func checkProbing(ctx context.Context, get Getter) Finding {
	f := Finding{Subject: "multi-container-probing", Required: true, Seen: "not enabled"}
	return checkSetting(ctx, get, f, "knative-serving", "config-features", "enabled", rollsAll)
}

// checkMesh advises only: where pods have sidecars, the activator can't do without their
// Service. Elsewhere it takes the 503 of a replica that warms up for a mesh's, and from then
// on sends what waits for the revision to a Service that may have no endpoint yet.
func checkMesh(ctx context.Context, get Getter) Finding {
	f := Finding{Subject: "mesh-compatibility-mode", Seen: "not disabled: requests that wait for a replica may be lost when it is ready"}
	return checkSetting(ctx, get, f, "knative-serving", "config-network", "disabled",
		" (unless Models' pods have sidecars of a mesh), and kubectl rollout restart deployment/activator deployment/autoscaler -n knative-serving")
}

// checkSetting completes a finding on the key of a ConfigMap that is its subject: it is satisfied by
// the value, and the remedy is to set that, with a note on what this entails.
func checkSetting(ctx context.Context, get Getter, f Finding, namespace, configMap, value, note string) Finding {
	f.Remedy = fmt.Sprintf(`kubectl patch configmap %s -n %s --type merge -p '{"data":{%q:%q}}'%s`, configMap, namespace, f.Subject, value, note)
	if w, err := object(ctx, get, namespace, "configmap", configMap); err == nil && strings.EqualFold(w.Data[f.Subject], value) {
		f.Satisfied, f.Seen = true, value
	}
	return f
}

// checkQueueProxy advises only: it is every Knative Service's, and has to be of the
// cluster's own version.
func checkQueueProxy(ctx context.Context, get Getter) Finding {
	f := Finding{
		Subject: "queue-proxy", Seen: "Knative's own: a model that restarts in place may be asked before it is warm again",
		Remedy: "CLUSTER=existing SLUICE_QUEUE_PROXY=true make install, where Knative Serving is " + ownKnative +
			rollsAll,
	}
	if w, err := object(ctx, get, "knative-serving", "configmap", "config-deployment"); err == nil {
		image := w.Data["queue-sidecar-image"]
		if name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], "@"); name == ownQueueProxy {
			f.Satisfied, f.Seen = true, image
		}
	}
	return f
}

// sluices are the Deployments that Sluice is: its own pods, and the gateway that is everybody's.
var sluices = []struct{ namespace, name string }{
	{"sluice-system", "webhook"}, {"sluice-system", "limiter"}, {"sluice-system", "controller"}, {"sluice-gateways", "shared"},
}

// checkSluice tells whether it is there, and healthy. It is advice: what isn't is what
// `make install` is for.
func checkSluice(ctx context.Context, get Getter) Finding {
	f := Finding{Subject: "Sluice", Seen: "not installed", Remedy: "CLUSTER=existing make install"}
	var ready, ailing []string
	for _, part := range sluices {
		w, err := object(ctx, get, part.namespace, "deployment", part.name)
		switch of := fmt.Sprintf("%s %d/%d", part.name, w.Status.ReadyReplicas, w.Spec.Replicas); {
		case err != nil:
			ailing = append(ailing, part.name+" missing")
		case w.Status.ReadyReplicas == 0 || w.Status.ReadyReplicas < w.Spec.Replicas:
			ailing = append(ailing, of+" ready")
		default:
			ready = append(ready, of)
		}
	}
	switch {
	case len(ailing) == 0:
		f.Satisfied, f.Seen = true, "installed and healthy: ready are "+strings.Join(ready, ", ")
	case len(ready) > 0 || !strings.Contains(ailing[0], "missing"):
		f.Seen = "installed, and not healthy: " + strings.Join(ailing, ", ")
		f.Remedy = "see what kubectl get events -n sluice-system and -n sluice-gateways say; " + f.Remedy + " mends what was changed or deleted"
	}
	return f
}

func checkIstio(ctx context.Context, get Getter) []Finding {
	f := Finding{
		Subject: "Istio", Required: true, Seen: "no Deployment istiod in istio-system",
		Remedy: "install Istio " + leastIstio + " or later (the minimal profile will do; Sluice brings its own gateways)",
	}
	w, err := object(ctx, get, "istio-system", "deployment", "istiod")
	if err != nil || len(w.Spec.Template.Spec.Containers) == 0 {
		return []Finding{f}
	}
	pilot := w.Spec.Template.Spec.Containers[0]
	f.Satisfied, f.Seen = true, pilot.Image
	if _, tag, ok := strings.Cut(pilot.Image[strings.LastIndex(pilot.Image, "/")+1:], ":"); ok && strings.HasPrefix(tag, "1.") {
		f.Satisfied = machine.AtLeast(tag, leastIstio)
	}
	findings := []Finding{f}
	advised := []struct{ name, value, why string }{
		{"PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "true", "gateways then get only what their own routes name, not every service of the cluster"},
		{"PILOT_SCOPE_GATEWAY_TO_NAMESPACE", "true", "otherwise whoever may write a Gateway, in any namespace, can open ports on Sluice's gateways"},
		{"PILOT_DEBOUNCE_MAX", "500ms", "in a busy cluster a changed limit may otherwise wait up to 10 s for a quiet moment"},
	}
	for _, a := range advised {
		advice := Finding{
			Subject: "istiod " + a.name, Seen: "not set",
			Remedy: fmt.Sprintf("kubectl set env deployment/istiod -n istio-system %s=%s: %s", a.name, a.value, a.why),
		}
		for _, e := range pilot.Env {
			if e.Name == a.name {
				advice.Seen, advice.Satisfied = e.Value, e.Value == a.value
			}
		}
		findings = append(findings, advice)
	}
	return findings
}
