package resources

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func shared() Gateway {
	return Gateway{
		Name:                  gateway.Shared,
		Replicas:              2,
		CPURequest:            resource.MustParse("20m"),
		MemoryRequest:         resource.MustParse("64Mi"),
		MemoryLimit:           resource.MustParse("1Gi"),
		DrainDuration:         10 * time.Minute,
		MaxConnectionDuration: time.Minute,
		ProbePath:             gateway.ProbePath("0123456789abcdef"),
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
		"slots":       {must[*istiov1alpha3.EnvoyFilter](t)(SlotFilters(gw))},
		"connections": {must[*istiov1alpha3.EnvoyFilter](t)(ConnectionFilters(gw))},
		"gateways":    {IstioGateways(gw)[0], IstioGateways(gw)[1]},
		"probe":       {ProbeVirtualService(gw)},
		"services":    {Services(gw)[0], Services(gw)[1]},
		"identity":    {ServiceAccount(gw), DisruptionBudget(gw)},
		"deployment":  {Deployment(gw)},
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
func TestPatchesAreValidEnvoy(t *testing.T) {
	slots := must[*istiov1alpha3.EnvoyFilter](t)(SlotFilters(shared()))
	names := map[string]bool{}
	for _, patch := range slots.Spec.ConfigPatches {
		filter := &hcmv3.HttpFilter{}
		readPatch(t, patch, filter)
		if err := filter.ValidateAll(); err != nil {
			t.Errorf("slot %s: %v", filter.Name, err)
		}
		discovery := filter.GetConfigDiscovery()
		if discovery.GetDefaultConfig() != nil {
			t.Errorf("slot %s has a default: a new pod would serve without its limits", filter.Name)
		}
		if timeout := discovery.GetConfigSource().GetInitialFetchTimeout(); timeout == nil || timeout.AsDuration() != 0 {
			t.Errorf("slot %s gives up waiting for its limits after %v", filter.Name, timeout)
		}
		names[filter.Name] = true
	}
	if want := gateway.Slots * len(gateway.Entries()); len(names) != want {
		t.Errorf("got %d slots, want %d", len(names), want)
	}

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
		if len(manager.AccessLog) != 2 {
			t.Errorf("got %d access loggers, want the two counters", len(manager.AccessLog))
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
	pod := Deployment(shared()).Spec.Template.Spec
	container := pod.Containers[0].SecurityContext
	switch {
	case *pod.AutomountServiceAccountToken, !*pod.SecurityContext.RunAsNonRoot,
		*container.AllowPrivilegeEscalation, !*container.ReadOnlyRootFilesystem,
		len(container.Capabilities.Drop) != 1, container.Capabilities.Drop[0] != "ALL":
		t.Errorf("pod security: %+v, container: %+v", pod.SecurityContext, container)
	}
	if got := *pod.TerminationGracePeriodSeconds; got < int64(shared().DrainDuration.Seconds()) {
		t.Errorf("grace period is %d s, shorter than the drain", got)
	}
}
