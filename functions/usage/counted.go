package usage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/functions/counters"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// uptime is the gauge by which an Envoy says how long it has run.
const uptime = "server_uptime"

// counted is what a gateway pod says.
type counted struct {
	uptime time.Duration
	models map[types.NamespacedName]*modelCounts
}

// modelCounts are those of one Model.
type modelCounts struct {
	offered, marked int64
	ended           map[string]v1alpha1.UsageRequests
}

// rows are what has ended, by revision.
func (m *modelCounts) rows() []v1alpha1.RevisionRequests {
	rows := make([]v1alpha1.RevisionRequests, 0, len(m.ended))
	for revision, requests := range m.ended {
		rows = append(rows, v1alpha1.RevisionRequests{Revision: revision, UsageRequests: requests})
	}
	return rows
}

// metrics are those that are read, without the prefix by which Envoy shows them.
func metrics() []string {
	return []string{gateway.EndedMetric, gateway.OfferedMetric, gateway.MarkedMetric, uptime}
}

// countedAt reads what a gateway pod has counted of those Models that are known.
func countedAt(ctx context.Context, client *http.Client, address string, known func(types.NamespacedName) bool) (counted, error) {
	own := []string{`server\.uptime`}
	for _, metric := range metrics()[:3] {
		scope, name := gateway.Scoped(metric)
		own = append(own, regexp.QuoteMeta(scope+"."+name))
	}
	shown, err := counters.Shown(ctx, client, address, strings.Join(own, "|"))
	if err != nil {
		return counted{}, err //nolint:wrapcheck // it says what was being done
	}
	defer func() { _ = shown.Close() }()
	return parse(shown, known)
}

// parse reads what a pod shows. What has no Model of ours is left out.
func parse(text io.Reader, known func(types.NamespacedName) bool) (counted, error) {
	read := counted{models: map[types.NamespacedName]*modelCounts{}}
	err := counters.Each(text, metrics(), func(line counters.Line) error {
		value, err := line.Value()
		if err != nil {
			return err //nolint:wrapcheck // it says what was being done
		}
		if string(line.Metric) == uptime {
			read.uptime = time.Duration(value * float64(time.Second))
			return nil
		}
		of := tagsOf(line)
		if !of.ours || !known(of.model) {
			return nil
		}
		if read.models[of.model] == nil {
			read.models[of.model] = &modelCounts{ended: map[string]v1alpha1.UsageRequests{}}
		}
		return read.models[of.model].add(string(line.Metric), of, int64(value))
	})
	return read, err //nolint:wrapcheck // it says what was being done
}

// tags are what a counter says of its requests.
type tags struct {
	ours     bool
	model    types.NamespacedName
	revision string
	outcome  gateway.Outcome
}

func tagsOf(line counters.Line) (l tags) {
	namespace := ""
	line.Labels(func(name, value []byte) {
		switch string(name) {
		case gateway.RouteTag:
			if service, ok := bytes.CutPrefix(value, []byte(gateway.VirtualServiceMetadata(""))); ok {
				l.model.Namespace, l.model.Name, l.ours = gateway.IngressOf(string(service))
			}
		case gateway.ClusterTag:
			namespace, l.revision, _ = gateway.RevisionOf(string(value))
		case gateway.OutcomeTag:
			l.outcome = gateway.Outcome(value)
		}
	})
	if namespace != l.model.Namespace {
		l.revision = "" // a route may lead anywhere, a Model's revisions are beside it
	}
	return l
}

// add counts a series, of any entry.
func (m *modelCounts) add(metric string, of tags, n int64) error {
	switch metric {
	case gateway.OfferedMetric:
		m.offered += n
		return nil
	case gateway.MarkedMetric:
		m.marked += n
		return nil
	}
	r := v1alpha1.UsageRequests{Ended: n}
	switch of.outcome {
	case gateway.OutcomeOK:
		r.OK = n
	case gateway.OutcomeClientError:
		r.ClientErrors = n
	case gateway.OutcomeServerError:
		r.ServerErrors = n
	case gateway.OutcomeRefused:
		r.Refused = n
	case gateway.OutcomeLeft:
		r.Left = n
	default:
		return fmt.Errorf("reading counters: requests of %s ended as %q, which is none of the outcomes", of.model, of.outcome)
	}
	m.ended[of.revision] = m.ended[of.revision].Plus(r)
	return nil
}
