// Package off takes out of a configuration what is turned off: exporters without an address, and what then leads
// nowhere. A section of its own says by which values:
//
//	enabled:
//	  exporters:
//	    kafka/logs: ${value:kafka-brokers}
//
// The Collector itself has no such thing: it refuses an exporter that has no address.
package off

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

const section = "enabled"

// NewFactory makes the converter.
func NewFactory() confmap.ConverterFactory {
	return confmap.NewConverterFactory(func(confmap.ConverterSettings) confmap.Converter { return converter{} })
}

type converter struct{}

// Convert changes the lists of pipelines, and takes the rest away, so that nothing else of the configuration is read
// and written again.
func (converter) Convert(_ context.Context, conf *confmap.Conf) error {
	config := conf.ToStringMap()
	off, err := turnedOff(config)
	if err != nil {
		return err
	}
	conf.Delete(section)
	if off.empty() {
		return nil
	}
	g, err := graphOf(config)
	if err != nil {
		return err
	}
	left := g.without(off)
	for _, key := range left.gone {
		conf.Delete(key)
	}
	return conf.Merge(confmap.NewFromStringMap(map[string]any{"service": map[string]any{"pipelines": left.lists()}}))
}

// components are names of components, by what they are.
type components struct{ receivers, exporters set }

func (c components) empty() bool { return len(c.receivers)+len(c.exporters) == 0 }

type set map[string]bool

func turnedOff(config map[string]any) (components, error) {
	off := components{receivers: set{}, exporters: set{}}
	switches, err := mapOf(config, section)
	if err != nil {
		return off, err
	}
	for _, kind := range slices.Sorted(maps.Keys(switches)) {
		names := map[string]set{"receivers": off.receivers, "exporters": off.exporters}[kind]
		if names == nil {
			return off, fmt.Errorf("%s::%s: only receivers and exporters can be turned off", section, kind)
		}
		values, err := mapOf(switches, kind)
		if err != nil {
			return off, fmt.Errorf("%s::%w", section, err)
		}
		known, err := mapOf(config, kind)
		if err != nil {
			return off, err
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if _, ok := known[name]; !ok {
				return off, fmt.Errorf("%s::%s::%s: there is none of this name among the %s: correct it, or take it out", section, kind, name, kind)
			}
			if isOff(values[name]) {
				names[name] = true
			}
		}
	}
	return off, nil
}

// isOff says whether a value is none. Values may have come from files, with a line's end.
func isOff(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		v = strings.TrimSpace(v)
		return v == "" || v == "off"
	}
	return false
}

// mapOf reads one of the configuration's maps; one that is left out is empty.
func mapOf(config map[string]any, key string) (map[string]any, error) {
	switch v := config[key].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	default:
		return nil, fmt.Errorf("%s: is %T, must be a map", key, v)
	}
}
