package platform

import (
	"strings"
	"testing"
)

func TestCountsOfOneRoute(t *testing.T) {
	const shown = `# TYPE envoy_istio_sluice_offered counter
envoy_istio_sluice_offered{entry="http",route="a"} 7
envoy_istio_sluice_offered{entry="local",route="a"} 2
envoy_istio_sluice_offered{entry="http",route="b"} 100
# TYPE envoy_istio_sluice_marked counter
envoy_istio_sluice_marked{entry="local",route="a"} 1
# TYPE istio_sluice_refused counter
istio_sluice_refused{entry="http",route="a"} 3
`
	var got Counts
	for range 2 { // two pods
		if err := got.add(strings.NewReader(shown), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got.Offered != 18 || got.Marked != 2 || got.Refused != 6 || got.Admitted() != 12 {
		t.Errorf("counts %+v, want 18 offered, 2 of them marked, and 6 refused", got)
	}
}
