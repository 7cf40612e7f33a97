package off

import (
	"fmt"
	"maps"
	"slices"
)

// graph is what pipelines lead from and to.
type graph struct {
	pipelines  map[string]pipeline
	connectors set
	gone       []string
}

type pipeline struct{ receivers, exporters []string }

func graphOf(config map[string]any) (graph, error) {
	g := graph{pipelines: map[string]pipeline{}, connectors: set{}}
	connectors, err := mapOf(config, "connectors")
	if err != nil {
		return g, err
	}
	for name := range connectors {
		g.connectors[name] = true
	}
	service, err := mapOf(config, "service")
	if err != nil {
		return g, err
	}
	pipelines, err := mapOf(service, "pipelines")
	if err != nil {
		return g, fmt.Errorf("service::%w", err)
	}
	for name := range pipelines {
		p, err := mapOf(pipelines, name)
		if err != nil {
			return g, fmt.Errorf("service::pipelines::%w", err)
		}
		g.pipelines[name] = pipeline{receivers: listOf(p["receivers"]), exporters: listOf(p["exporters"])}
	}
	return g, nil
}

// listOf reads a list of names. What is no list stays as it is, for the Collector to refuse.
func listOf(value any) []string {
	var names []string
	values, _ := value.([]any)
	for _, v := range values {
		if name, ok := v.(string); ok {
			names = append(names, name)
		}
	}
	return names
}

// without takes away components, then pipelines that have lost all that they lead from, or to, and the connectors that
// have lost one of their ends with them, until nothing more goes. What was incomplete before stays, for the Collector
// to refuse.
func (g graph) without(off components) graph {
	for name := range off.receivers {
		g.gone = append(g.gone, "receivers::"+name)
	}
	for name := range off.exporters {
		g.gone = append(g.gone, "exporters::"+name)
	}
	whole := g.joined()
	g.pipelines = maps.Clone(g.pipelines)
	for {
		changed := false
		for name, p := range g.pipelines {
			kept := pipeline{receivers: except(p.receivers, off.receivers), exporters: except(p.exporters, off.exporters)}
			if len(kept.receivers) == len(p.receivers) && len(kept.exporters) == len(p.exporters) {
				continue
			}
			changed = true
			g.pipelines[name] = kept
			if len(kept.receivers) == 0 || len(kept.exporters) == 0 {
				delete(g.pipelines, name)
				g.gone = append(g.gone, "service::pipelines::"+name)
			}
		}
		joined := g.joined()
		for name := range whole {
			if !joined[name] {
				off.receivers[name], off.exporters[name] = true, true
				g.gone = append(g.gone, "connectors::"+name)
				delete(whole, name)
				changed = true
			}
		}
		if !changed {
			slices.Sort(g.gone)
			return g
		}
	}
}

// joined are the connectors that have both their ends.
func (g graph) joined() set {
	into, from := set{}, set{}
	for _, p := range g.pipelines {
		for _, name := range p.exporters {
			into[name] = true
		}
		for _, name := range p.receivers {
			from[name] = true
		}
	}
	both := set{}
	for name := range g.connectors {
		if into[name] && from[name] {
			both[name] = true
		}
	}
	return both
}

// lists are those of the pipelines that are left.
func (g graph) lists() map[string]any {
	lists := map[string]any{}
	for name, p := range g.pipelines {
		lists[name] = map[string]any{"receivers": anyOf(p.receivers), "exporters": anyOf(p.exporters)}
	}
	return lists
}

func except(names []string, gone set) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return gone[name] })
}

func anyOf(names []string) []any {
	values := make([]any, 0, len(names))
	for _, name := range names {
		values = append(values, name)
	}
	return values
}
