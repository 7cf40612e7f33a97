package kept

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// URI is what a collector is told to resolve.
const URI = schemeConfiguration + ":configuration"

const (
	schemeConfiguration = "kept"
	schemeValue         = "value"
)

// Providers give a collector the State that is in force: its configuration as a whole, and in it values by
// ${value:NAME}, or ${value:NAME:-DEFAULT} where there is none.
func (k *Keeper) Providers() []confmap.ProviderFactory { return factories(k) }

// Fixed give a collector one State for good.
func Fixed(state State) []confmap.ProviderFactory { return factories(fixed(state)) }

// source is where providers have what they give. A configuration is asked for first, and then the values that go
// with it.
type source interface {
	configuration(confmap.WatcherFunc) (text string, done func())
	value(name string) string
}

func factories(s source) []confmap.ProviderFactory {
	return []confmap.ProviderFactory{
		confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return configurations{source: s} }),
		confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return values{source: s} }),
	}
}

type configurations struct{ source source }

// Retrieve gives the configuration's text as YAML.
func (p configurations) Retrieve(_ context.Context, uri string, watcher confmap.WatcherFunc) (*confmap.Retrieved, error) {
	if !strings.HasPrefix(uri, schemeConfiguration+":") {
		return nil, fmt.Errorf("%q isn't of scheme %s", uri, schemeConfiguration)
	}
	text, done := p.source.configuration(watcher)
	return confmap.NewRetrievedFromYAML([]byte(text), confmap.WithRetrievedClose(func(context.Context) error {
		done()
		return nil
	}))
}

func (configurations) Scheme() string { return schemeConfiguration }

func (configurations) Shutdown(context.Context) error { return nil }

type values struct{ source source }

// Retrieve gives a value as what it looks like, or as text where text is wanted.
func (p values) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	name, ok := strings.CutPrefix(uri, schemeValue+":")
	if !ok {
		return nil, fmt.Errorf("%q isn't of scheme %s", uri, schemeValue)
	}
	name, otherwise, _ := strings.Cut(name, ":-")
	value := p.source.value(name)
	if value == "" {
		value = otherwise
	}
	return confmap.NewRetrievedFromYAML([]byte(value))
}

func (values) Scheme() string { return schemeValue }

func (values) Shutdown(context.Context) error { return nil }

func (k *Keeper) configuration(watcher confmap.WatcherFunc) (string, func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serving, k.served = k.inForce, k.generation
	if watcher == nil {
		return k.serving.Configuration, func() {}
	}
	k.changed[&watcher] = struct{}{}
	return k.serving.Configuration, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.changed, &watcher)
	}
}

func (k *Keeper) value(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serving.Values[name]
}

type fixed State

func (f fixed) configuration(confmap.WatcherFunc) (string, func()) {
	return f.Configuration, func() {}
}

func (f fixed) value(name string) string { return f.Values[name] }
