package resources

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func shared() Gateway {
	return Gateway{
		Name:           gateway.Shared,
		MinReplicas:    2,
		MaxReplicas:    2,
		CPUUtilization: 70,
		Resources: corev1.ResourceRequirements{
			Requests: resourceList("100m", "64Mi"),
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
		DrainDuration:         10 * time.Minute,
		MaxConnectionDuration: time.Minute,
		ProbePath:             gateway.ProbePath("0123456789abcdef"),
		Slots:                 gateway.DefaultSlots,
		AccessLog:             &AccessLog{SuccessSample: 1},
	}
}

func dedicated() Gateway {
	gw := shared()
	gw.Name, gw.Tenant, gw.MaxReplicas = gateway.OfTenant("blue"), "blue", 5
	return gw
}

func resourceList(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestGolden(t *testing.T) {
	gw := shared()
	files := map[string][]runtime.Object{
		"filters":     {must[*istiov1alpha3.EnvoyFilter](t)(HTTPFilters(gw))},
		"connections": {must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(gw))},
		"tracing":     {must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(traced()))},
		"gateways":    {IstioGateways(gw)[0], IstioGateways(gw)[1]},
		"probe":       {ProbeVirtualService(gw)},
		"services":    {Services(gw)[0], Services(gw)[1]},
		"identity":    {ServiceAccount(gw), DisruptionBudget(gw)},
		"deployment":  {Deployment(gw)},
		"tenant": {IstioGateways(dedicated())[0], IstioGateways(dedicated())[1], DisruptionBudget(dedicated()),
			Autoscaler(dedicated()), Deployment(dedicated())},
	}
	for name, objects := range files {
		t.Run(name, func(t *testing.T) {
			var docs []string
			for _, object := range objects {
				docs = append(docs, string(must[[]byte](t)(yaml.Marshal(object))))
			}
			checkGolden(t, filepath.Join("testdata", name+".yaml"), strings.Join(docs, "---\n"))
		})
	}
}

func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := must[[]byte](t)(os.ReadFile(path))
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, refresh with -update):\n%s", path, diff)
	}
}

// What istiod reads from a patch is what Envoy's own validators accept.
func TestHTTPFilters(t *testing.T) {
	got := map[uint32][]*hcmv3.HttpFilter{}
	for _, patch := range must[*istiov1alpha3.EnvoyFilter](t)(HTTPFilters(shared())).Spec.ConfigPatches {
		filter := &hcmv3.HttpFilter{}
		readPatch(t, patch, filter)
		if err := filter.ValidateAll(); err != nil {
			t.Errorf("filter %s: %v", filter.Name, err)
		}
		port := patch.Match.GetListener().PortNumber
		got[port] = append(got[port], filter)
	}
	for _, entry := range gateway.Entries() {
		filters := got[entry.Port]
		if entry == gateway.Local {
			last := filters[len(filters)-1]
			if last.Name != "sluice.startup" {
				t.Errorf("the startup probe is answered by %s, before a slot", last.Name)
			}
			filters = filters[:len(filters)-1]
		}
		checkSlots(t, entry, filters)
	}
}

func checkSlots(t *testing.T, entry gateway.Entry, filters []*hcmv3.HttpFilter) {
	t.Helper()
	if len(filters) != gateway.DefaultSlots {
		t.Fatalf("entry %s has %d slots, want %d", entry.Name, len(filters), gateway.DefaultSlots)
	}
	for slot, filter := range filters {
		if want := gateway.ExtensionName(entry, slot); filter.Name != want {
			t.Errorf("slot %d of entry %s is %s, want %s", slot, entry.Name, filter.Name, want)
		}
		discovery := filter.GetConfigDiscovery()
		if discovery.GetDefaultConfig() != nil {
			t.Errorf("slot %s has a default: a new pod would serve without its limits", filter.Name)
		}
		if timeout := discovery.GetConfigSource().GetInitialFetchTimeout(); timeout == nil || timeout.AsDuration() != 0 {
			t.Errorf("slot %s gives up waiting for its limits after %v", filter.Name, timeout)
		}
	}
}

func TestConnectionFilters(t *testing.T) {
	connections := must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(shared()))
	for _, patch := range connections.Spec.ConfigPatches {
		data := must[[]byte](t)(json.Marshal(patch.Patch.Value.Fields["typed_config"]))
		manager := &hcmv3.HttpConnectionManager{}
		withoutType := map[string]any{}
		if err := json.Unmarshal(data, &withoutType); err != nil {
			t.Fatal(err)
		}
		delete(withoutType, "@type")
		if err := protojson.Unmarshal(must[[]byte](t)(json.Marshal(withoutType)), manager); err != nil {
			t.Fatal(err)
		}
		if err := validateMerged(manager); err != nil {
			t.Error(err)
		}
		options := manager.CommonHttpProtocolOptions
		if age, idle := options.MaxConnectionDuration.AsDuration(), options.IdleTimeout.AsDuration(); age != time.Minute || idle != age {
			t.Errorf("connections end at %s, idle ones after %s, want both after a minute", age, idle)
		}
		if http1 := manager.HttpProtocolOptions; !http1.AcceptHttp_10 || !manager.StripTrailingHostDot || len(http1.IgnoreHttp_11Upgrade) == 0 {
			t.Errorf("older clients aren't served: %v, trailing dots are stripped: %v", http1, manager.StripTrailingHostDot)
		}
		for _, ignored := range manager.HttpProtocolOptions.IgnoreHttp_11Upgrade {
			if exact := ignored.GetExact(); exact == "websocket" || exact == "" && ignored.GetPrefix() == "" {
				t.Errorf("%v is ignored, a WebSocket too", ignored)
			}
		}
		local := patch.Match.GetListener().PortNumber == gateway.Local.Port
		if removals := len(manager.EarlyHeaderMutationExtensions); (removals == 0) != local {
			t.Errorf("port %d removes headers %d times; Knative's own may come from inside, and from nowhere else",
				patch.Match.GetListener().PortNumber, removals)
		}
		var counters []string
		for _, logger := range manager.AccessLog {
			counters = append(counters, logger.Name)
		}
		want := []string{gateway.OfferedMetric, gateway.RefusedMetric}
		if local {
			want = slices.Insert(want, 1, gateway.MarkedMetric)
		}
		want = append(want, gateway.CompletedMetric, gateway.ErrorsMetric)
		want = append(want, slices.Repeat([]string{gateway.EndedMetric}, 5)...)
		want = append(want, "sluice.log")
		if !slices.Equal(counters, want) {
			t.Errorf("access loggers are %v, want %v", counters, want)
		}
	}
}

func readPatch(t *testing.T, patch *istioapi.EnvoyFilter_EnvoyConfigObjectPatch, filter *hcmv3.HttpFilter) {
	t.Helper()
	data := must[[]byte](t)(protojson.Marshal(patch.Patch.Value))
	if err := protojson.Unmarshal(data, filter); err != nil {
		t.Fatal(err)
	}
}

// A Service that exposes a bind port would make istiod translate it again.
func TestServicesExposeNoBindPort(t *testing.T) {
	if services := Services(dedicated()); len(services) != 0 {
		t.Errorf("a tenant's gateway has services %v beside the tenant's address", services)
	}
	for _, service := range Services(shared()) {
		for _, port := range service.Spec.Ports {
			for _, entry := range gateway.Entries() {
				if port.Port == int32(entry.Port) {
					t.Errorf("service %s exposes %d, the bind port of entry %s", service.Name, port.Port, entry.Name)
				}
			}
		}
	}
}

func TestPodIsHardened(t *testing.T) {
	pod := Deployment(dedicated()).Spec.Template.Spec
	container := pod.Containers[0].SecurityContext
	switch {
	case *pod.AutomountServiceAccountToken, *pod.EnableServiceLinks, !*pod.SecurityContext.RunAsNonRoot,
		pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault,
		*container.Privileged, *container.AllowPrivilegeEscalation, !*container.ReadOnlyRootFilesystem,
		len(container.Capabilities.Drop) != 1, container.Capabilities.Drop[0] != "ALL":
		t.Errorf("pod security: %+v, container: %+v", pod.SecurityContext, container)
	}
	if got := *pod.TerminationGracePeriodSeconds; got < int64(shared().DrainDuration.Seconds()) {
		t.Errorf("grace period is %d s, shorter than the drain", got)
	}
}

// A route would answer also where the slots are missing.
func TestStartupProbeIsAnsweredByNoRoute(t *testing.T) {
	host := Deployment(shared()).Spec.Template.Spec.Containers[0].StartupProbe.HTTPGet.HTTPHeaders[0].Value
	if slices.Contains(ProbeVirtualService(shared()).Spec.Hosts, host) {
		t.Errorf("the startup probe asks %s, which has a route", host)
	}
}

func TestPodResources(t *testing.T) {
	memory := func(request, limit string) corev1.ResourceRequirements {
		var out corev1.ResourceRequirements
		if request != "" {
			out.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)}
		}
		if limit != "" {
			out.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}
		}
		return out
	}
	defaults := shared().Resources
	for name, test := range map[string]struct{ own, want corev1.ResourceRequirements }{
		"nothing":                   {memory("", ""), memory("64Mi", "1Gi")},
		"a request":                 {memory("128Mi", ""), memory("128Mi", "1Gi")},
		"a request above":           {memory("2Gi", ""), memory("2Gi", "2Gi")},
		"a limit":                   {memory("", "128Mi"), memory("64Mi", "128Mi")},
		"a limit below":             {memory("", "32Mi"), memory("32Mi", "32Mi")},
		"both":                      {memory("2Gi", "3Gi"), memory("2Gi", "3Gi")},
		"a request above its limit": {memory("3Gi", "2Gi"), memory("2Gi", "2Gi")},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			want.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
			if got := PodResources(defaults, test.own); !equality.Semantic.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	own := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
	}
	got := PodResources(defaults, own)
	if got.Requests.Cpu().String() != "2" || got.Limits.Cpu().String() != "4" || got.Limits.Memory().String() != "1Gi" {
		t.Errorf("of CPU: got %v", got)
	}
	if !equality.Semantic.DeepEqual(defaults, shared().Resources) {
		t.Errorf("the defaults changed to %v", defaults)
	}
}
