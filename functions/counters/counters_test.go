package counters

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestEach(t *testing.T) {
	const text = `# TYPE envoy_a counter
envoy_a{entry="http",route="r",outcome="ok"} 3
envoy_a{} 4
a{entry="local"} 1.5e+07
envoy_ab{entry="http"} 9
envoy_b 2 1796096299066
envoy_c 8
`
	var got []string
	err := Each(strings.NewReader(text), []string{"a", "b"}, func(l Line) error {
		labels := ""
		l.Labels(func(name, value []byte) { labels += fmt.Sprintf(" %s=%s", name, value) })
		value, err := l.Value()
		got = append(got, fmt.Sprintf("%s%s %g", l.Metric, labels, value))
		return err
	})
	want := []string{"a entry=http route=r outcome=ok 3", "a 4", "a entry=local 1.5e+07", "b 2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

// What is cut off, or no number, is an error and no count.
func TestEachRefuses(t *testing.T) {
	for _, text := range []string{`envoy_a{entry="http"`, `envoy_a{entry="http"} x`, "envoy_a{" + strings.Repeat("x", lineBytes)} {
		err := Each(strings.NewReader(text), []string{"a"}, func(l Line) error {
			_, err := l.Value()
			return err
		})
		if err == nil {
			t.Errorf("%.30q is read without an error", text)
		}
	}
}
