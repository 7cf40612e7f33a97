package platform

import (
	"maps"
	"strings"
	"testing"
)

func TestPick(t *testing.T) {
	text := `# TYPE listeners_draining gauge
listeners_draining{} 1
# TYPE requests counter
requests{host="a"} 2
requests{host="b"} 3
# TYPE others counter
others{} 4
`
	got, err := pick(strings.NewReader(text), []string{"listeners_draining", "requests", "unknown"})
	if want := map[string]float64{"listeners_draining": 1, "requests": 5}; err != nil || !maps.Equal(got, want) {
		t.Errorf("picked %v, error %v, want %v", got, err, want)
	}
	if _, err := pick(strings.NewReader("no metrics"), nil); err == nil {
		t.Error("read what is no metrics")
	}
}
