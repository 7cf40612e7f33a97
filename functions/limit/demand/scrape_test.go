package demand

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

func TestParse(t *testing.T) {
	line := func(entry, virtualService, count string) string {
		return fmt.Sprintf("istio_sluice_offered{entry=%q,route=%q} %s\n", entry, gateway.VirtualServiceMetadata(virtualService), count)
	}
	m := series{virtualService: "team.m"}
	for name, tt := range map[string]struct {
		text string
		want counts
	}{
		"as Envoy shows it":       {"# TYPE envoy_istio_sluice_offered counter\nenvoy_" + line("http", "team.m", "7"), counts{m: 7}},
		"as a proxy of Istio's":   {line("http", "team.m", "7"), counts{m: 7}},
		"every entry":             {line("http", "team.m", "7") + line("local", "team.m", "3"), counts{m: 7, {virtualService: "team.m", entry: 2}: 3}},
		"two of the same":         {line("http", "team.m", "7") + line("http", "team.m", "3"), counts{m: 10}},
		"a large one":             {line("http", "team.m", "1.5e+07"), counts{m: 1.5e7}},
		"what is gone":            {line("http", "team.gone", "7"), counts{}},
		"no route":                {"envoy_istio_sluice_offered{entry=\"http\",route=\"\"} 7\n", counts{}},
		"an entry of nobody's":    {line("elsewhere", "team.m", "7"), counts{}},
		"other labels beside":     {"istio_sluice_offered{a=\"}b\",entry=\"http\",route=\"" + gateway.VirtualServiceMetadata("team.m") + "\"} 7\n", counts{m: 7}},
		"another counter":         {strings.ReplaceAll(line("http", "team.m", "7"), "offered", "refused"), counts{}},
		"with the mark":           {strings.ReplaceAll(line("http", "team.m", "7"), "offered", "marked"), counts{{virtualService: "team.m", marked: true}: 7}},
		"nothing was counted yet": {"", counts{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(strings.NewReader(tt.text), sets.New("team.m"))
			if err != nil || !maps.Equal(got, tt.want) {
				t.Errorf("parse() = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
	for _, bad := range []string{line("http", "team.m", "x"), "istio_sluice_offered{entry=\"http\"", "istio_sluice_offered{" + strings.Repeat("x", 64<<10)} {
		if got, err := parse(strings.NewReader(bad), sets.New("team.m")); err == nil {
			t.Errorf("parse(%.60q) = %v, want an error", bad, got)
		}
	}
}

// A pod that has served 200,000 Models shows some 35 MB of what is long gone.
func TestCountersOfWhatIsGone(t *testing.T) {
	const gone = 200_000
	text, write := io.Pipe()
	go func() {
		for i := range gone {
			_, _ = fmt.Fprintf(write, "envoy_istio_sluice_offered{entry=\"http\",route=\"%s\"} 7\n", gateway.VirtualServiceMetadata(fmt.Sprintf("team.m-%d", i)))
		}
		_ = write.Close()
	}()
	got, err := parse(text, sets.New(fmt.Sprintf("team.m-%d", gone-1)))
	if err != nil || len(got) != 1 {
		t.Errorf("parse() = %v, %v, want one count", got, err)
	}
}
