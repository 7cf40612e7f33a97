package usage

import (
	"maps"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Requests of a Model are known by route, its revision by the cluster; all else is nobody's.
func TestParse(t *testing.T) {
	route := gateway.VirtualServiceMetadata("team.ranker")
	cluster := gateway.RevisionClusters("team", "ranker-00001", "http1")[0]
	text := `envoy_server_uptime{} 90
envoy_istio_sluice_offered{entry="http",route="` + route + `"} 12
envoy_istio_sluice_offered{entry="local",route="` + route + `"} 3
envoy_istio_sluice_marked{entry="local",route="` + route + `"} 2
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="` + cluster + `",outcome="ok"} 7
envoy_istio_sluice_ended{entry="local",route="` + route + `",cluster="` + cluster + `",outcome="ok"} 1
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="",outcome="refused"} 4
envoy_istio_sluice_ended{entry="http",route="` + route + `",cluster="` + gateway.RevisionClusters("other", "x-1", "h2c")[0] + `",outcome="left"} 1
envoy_istio_sluice_ended{entry="http",route="` + gateway.VirtualServiceMetadata("team.gone") + `",cluster="",outcome="ok"} 5
envoy_istio_sluice_ended{entry="http",route="",cluster="",outcome="client_error"} 5
`
	known := func(name types.NamespacedName) bool { return name == ranker }
	got, err := parse(strings.NewReader(text), known)
	if err != nil || got.uptime != 90*time.Second || len(got.models) != 1 {
		t.Fatalf("read %+v, %v", got, err)
	}
	m := got.models[ranker]
	want := map[string]v1alpha1.UsageRequests{"ranker-00001": {Ended: 8, OK: 8}, "": {Ended: 5, Refused: 4, Left: 1}}
	if m.offered != 15 || m.marked != 2 || !maps.Equal(m.ended, want) {
		t.Errorf("read %+v, want %+v", m, want)
	}
	if _, err := parse(strings.NewReader(strings.ReplaceAll(text, `"refused"`, `"queued"`)), known); err == nil {
		t.Error("an outcome that nobody knows is no error")
	}
}

// The sum of a pod's containers is newer, its own has what ended.
func TestParseResources(t *testing.T) {
	const text = `container_cpu_usage_seconds_total{container="a",namespace="team",pod="p"} 1.25 1796096299066
container_cpu_usage_seconds_total{container="b",namespace="team",pod="p"} 0.5 1796096299066
container_memory_working_set_bytes{container="a",namespace="team",pod="p"} 3e+07 1796096299066
container_cpu_usage_seconds_total{container="a",namespace="team",pod="other"} 9 1796096299066
pod_cpu_usage_seconds_total{namespace="team",pod="p"} 1.5 1796096290000
`
	p := types.NamespacedName{Namespace: "team", Name: "p"}
	wanted := func(name types.NamespacedName) bool { return name == p }
	got, err := parseResources(strings.NewReader(text), wanted)
	if err != nil || len(got) != 1 || got[p].cpu(0.25) != 2000 || got[p].beyond() != 0 || got[p].memory != 3e7 {
		t.Errorf("read %+v, %v", got, err)
	}
	got, err = parseResources(strings.NewReader(strings.ReplaceAll(text, "1.5 ", "2.5 ")), wanted)
	if err != nil || got[p].cpu(0) != 2500 || got[p].beyond() != 0.75 {
		t.Errorf("read %+v, %v", got, err)
	}
}

// A look at the pod that is newer than one at its containers has what these used since.
func TestBeyondTakesOlderLooks(t *testing.T) {
	for name, tt := range map[string]struct {
		used resources
		want float64
	}{
		"older":  {resources{containers: 2, pod: 2.5, containersAt: 20, podAt: 10}, 0.5},
		"newer":  {resources{containers: 2, pod: 2.5, containersAt: 10, podAt: 20}, 0},
		"unsaid": {resources{containers: 2, pod: 2.5}, 0},
		"less":   {resources{containers: 2, pod: 1.5, containersAt: 20, podAt: 10}, 0},
	} {
		if got := tt.used.beyond(); got != tt.want {
			t.Errorf("%s: %g, want %g", name, got, tt.want)
		}
	}
}
