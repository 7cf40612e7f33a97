package off

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

// all is one configuration with all that can go; what is turned off is put before it.
const all = `
receivers: {logs: {}, scraped: {}}
processors: {memory: {}}
connectors: {counted: {}}
exporters:
  store: {endpoint: "", headers: {key: value}}
  kafka: {brokers: ["a:1", "b:2"]}
  page: {}
service:
  extensions: [health]
  pipelines:
    logs: {receivers: [logs], processors: [memory], exporters: [counted, store, kafka]}
    metrics/counted: {receivers: [counted], exporters: [page]}
    metrics/scraped: {receivers: [scraped], exporters: [kafka]}
`

func TestWhatIsTurnedOff(t *testing.T) {
	for _, c := range []struct {
		name, enabled string
		gone          []string
		pipelines     string
	}{
		{
			name: "nothing", enabled: `{}`,
			pipelines: `{logs: {receivers: [logs], processors: [memory], exporters: [counted, store, kafka]},
				metrics/counted: {receivers: [counted], exporters: [page]}, metrics/scraped: {receivers: [scraped], exporters: [kafka]}}`,
		},
		{
			name: "an exporter beside others", enabled: `{exporters: {store: "", kafka: "a:1"}}`,
			gone: []string{"exporters::store"},
			pipelines: `{logs: {receivers: [logs], processors: [memory], exporters: [counted, kafka]},
				metrics/counted: {receivers: [counted], exporters: [page]}, metrics/scraped: {receivers: [scraped], exporters: [kafka]}}`,
		},
		{
			name: "a pipeline's only exporter", enabled: `{exporters: {kafka: "\n"}}`,
			gone: []string{"exporters::kafka", "service::pipelines::metrics/scraped"},
			pipelines: `{logs: {receivers: [logs], processors: [memory], exporters: [counted, store]},
				metrics/counted: {receivers: [counted], exporters: [page]}}`,
		},
		{
			name: "a pipeline's only receiver", enabled: `{receivers: {scraped: "off"}}`,
			gone: []string{"receivers::scraped", "service::pipelines::metrics/scraped"},
			pipelines: `{logs: {receivers: [logs], processors: [memory], exporters: [counted, store, kafka]},
				metrics/counted: {receivers: [counted], exporters: [page]}}`,
		},
		{
			name: "what a connector leads to", enabled: `{exporters: {page: ~}}`,
			gone: []string{"exporters::page", "connectors::counted", "service::pipelines::metrics/counted"},
			pipelines: `{logs: {receivers: [logs], processors: [memory], exporters: [store, kafka]},
				metrics/scraped: {receivers: [scraped], exporters: [kafka]}}`,
		},
		{
			name: "what a connector leads from", enabled: `{receivers: {logs: false}}`,
			gone:      []string{"receivers::logs", "connectors::counted", "service::pipelines::logs", "service::pipelines::metrics/counted"},
			pipelines: `{metrics/scraped: {receivers: [scraped], exporters: [kafka]}}`,
		},
		{
			name: "everything", enabled: `{exporters: {page: "", store: "", kafka: ""}}`,
			gone: []string{"exporters::page", "exporters::store", "exporters::kafka", "connectors::counted",
				"service::pipelines::logs", "service::pipelines::metrics/counted", "service::pipelines::metrics/scraped"},
			pipelines: `{}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := read(t, all)
			if err := conf.Merge(read(t, "enabled: "+c.enabled)); err != nil {
				t.Fatal(err)
			}
			if err := (converter{}).Convert(context.Background(), conf); err != nil {
				t.Fatal(err)
			}
			want := read(t, all)
			for _, key := range c.gone {
				if !want.Delete(key) {
					t.Fatalf("the case names %s, which isn't there", key)
				}
			}
			want.Delete("service::pipelines")
			if err := want.Merge(read(t, "service: {pipelines: "+c.pipelines+"}")); err != nil {
				t.Fatal(err)
			}
			if got, want := conf.ToStringMap(), want.ToStringMap(); !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

// What was wrong before is the Collector's to refuse, and isn't hidden.
func TestWhatIsIncompleteStays(t *testing.T) {
	conf := read(t, `
enabled: {exporters: {store: ""}}
connectors: {counted: {}}
exporters: {store: {}, page: {}}
receivers: {logs: {}}
service:
  pipelines:
    logs: {receivers: [logs], exporters: [counted, store]}
    metrics: {receivers: [], exporters: [page]}
`)
	if err := (converter{}).Convert(context.Background(), conf); err != nil {
		t.Fatal(err)
	}
	want := read(t, `{logs: {receivers: [logs], exporters: [counted]}, metrics: {receivers: [], exporters: [page]}}`).ToStringMap()
	got, err := conf.Sub("service::pipelines")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.ToStringMap(), want) {
		t.Errorf("got %v, want %v", got.ToStringMap(), want)
	}
}

func TestWhatCannotBeTurnedOff(t *testing.T) {
	for enabled, want := range map[string]string{
		`{exporters: {kafak: ""}}`:    "enabled::exporters::kafak: there is none of this name",
		`{processors: {memory: ""}}`:  "enabled::processors: only receivers and exporters",
		`{exporters: [kafka]}`:        "enabled::exporters: is []interface {}, must be a map",
		`[kafka]`:                     "enabled: is []interface {}, must be a map",
		`{receivers: {kafka: "off"}}`: "enabled::receivers::kafka: there is none of this name among the receivers",
	} {
		conf := read(t, all)
		if err := conf.Merge(read(t, "enabled: "+enabled)); err != nil {
			t.Fatal(err)
		}
		if err := (converter{}).Convert(context.Background(), conf); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", enabled, err, want)
		}
	}
}

func read(t *testing.T, text string) *confmap.Conf {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return confmap.NewFromStringMap(config)
}
