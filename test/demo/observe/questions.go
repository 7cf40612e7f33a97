package main

import (
	"fmt"
	"time"
)

// The stores, as -only names them.
const (
	prometheus      = "prometheus"
	victoriaMetrics = "victoriametrics"
	victoriaLogs    = "victorialogs"
	kafka           = "kafka"
	jaeger          = "jaeger"
)

// question is one query, and what has to come of it.
type question struct {
	// store is who is asked, query what, as people would type it.
	store, query string
	// of says what the answer counts, in the load generator's words.
	of string
	// want is how many that were. Where more may be meant, it is the least.
	want  float64
	least bool
}

// met tells whether a value is the answer that has to come.
func (q question) met(value float64) bool {
	return value == q.want || q.least && value > q.want
}

// asked is whom the questions are about.
type asked struct {
	namespace, model, run, trace string
	counted                      counted
}

// questions are all that is asked about a run.
func (a asked) questions() []question {
	var all []question
	for _, of := range [][]question{a.ofPrometheus(), a.ofVictoriaMetrics(), a.ofVictoriaLogs(), a.ofKafka(), a.ofJaeger()} {
		all = append(all, of...)
	}
	return all
}

// labels are those of the Model's series, with more of them.
func (a asked) labels(more string) string {
	return fmt.Sprintf(`{namespace=%q,model=%q%s}`, a.namespace, a.model, more)
}

func (a asked) ofPrometheus() []question {
	c := a.counted
	exact := func(query, of string, want int) question {
		return question{store: prometheus, query: query, of: of, want: float64(want)}
	}
	least := func(query, of string) question {
		return question{store: prometheus, query: query, of: of, want: 1, least: true}
	}
	return []question{
		exact(`sum(sluice_model_requests_total`+a.labels(`,limit="admitted",code_class="2xx"`)+`)`, "admitted, answered with 2xx", c.admitted),
		exact(`sum(sluice_model_requests_total`+a.labels(`,limit="refused"`)+`)`, "refused by the limit", c.refused),
		exact(`sum(sluice_model_requests_total`+a.labels(`,limit="admitted",code_class="4xx"`)+`)`, "answered with 404 by the Model", c.missing),
		exact(`sum(sluice_revision_requests_total`+a.labels(`,limit="admitted"`)+`)`, "admitted, over revisions", c.passed()),
		exact(`sum(sluice_model_request_duration_seconds_count`+a.labels("")+`)`, "admitted, in the histogram", c.passed()),
		exact(`sum(envoy_istio_sluice_offered`+a.labels("")+`)`, "offered, by Envoy's counter", c.offered()),
		exact(`sum(envoy_istio_sluice_ended`+a.labels(`,outcome="ok"`)+`)`, "ended well, by Envoy's counter", c.admitted),
		exact(`sum(envoy_istio_sluice_ended`+a.labels(`,outcome="refused"`)+`)`, "refused, by Envoy's counter", c.refused),
		exact(`sum(envoy_istio_sluice_ended`+a.labels(`,outcome="client_error"`)+`)`, "ended with 404, by Envoy's counter", c.missing),
		exact(`max(sluice_limit_requests_per_second`+a.labels("")+`)`, "the limit, in requests per second", limit),
		exact(`count(up`+a.labels(`,job="sluice-models"`)+` == 1)`, "replicas that are scraped", 1),
		least(`count(container_memory_working_set_bytes`+a.labels("")+` > 0)`, "containers whose memory is known"),
		least(`count(up{job=~"sluice|sluice-gateways|sluice-requests|sluice-collector"} == 1)`, "pods of Sluice that are scraped"),
	}
}

// limit is the Model's, with its one replica, as model.yaml has it.
const limit = 20

func (a asked) ofVictoriaMetrics() []question {
	return []question{
		{
			store: victoriaMetrics, query: `sum(sluice_model_requests_total` + a.labels(`,limit="admitted"`) + `)`,
			of: "admitted, as it was written there", want: float64(a.counted.passed()),
		},
		{
			store: victoriaMetrics, query: `sum(sluice_model_requests_total` + a.labels(`,limit="refused"`) + `)`,
			of: "refused, as it was written there", want: float64(a.counted.refused),
		},
	}
}

// route is the Model's, as the gateways' log has it: "-" is for no tenant.
func (a asked) route() string { return "-/" + a.namespace + "/" + a.model }

func (a asked) ofVictoriaLogs() []question {
	c := a.counted
	lines := func(filter, of string, want int) question {
		return question{store: victoriaLogs, query: `_time:15m ` + filter + ` | stats count() n`, of: of, want: float64(want)}
	}
	mine := fmt.Sprintf(`route:=%q`, a.route())
	return []question{
		lines(mine+` code:=200`, "lines with 200", c.admitted),
		lines(mine+` code:=429 limit:=refused`, "lines with 429, refused by the limit", c.refused),
		lines(mine+` code:=404 limit:=admitted`, "lines with 404 by the Model", c.missing),
		lines(fmt.Sprintf(`path:=%q limit:=none code:=404`, "/"+nowhere+a.run), "lines with 404 by the gateway", c.unrouted),
	}
}

func (a asked) ofKafka() []question {
	return []question{
		{store: kafka, query: lineTopics, of: "lines of the Model's route", want: float64(a.counted.offered())},
		{store: kafka, query: metricTopics, of: "points of sluice_model_requests of the Model", want: 1, least: true},
	}
}

func (a asked) ofJaeger() []question {
	return []question{{store: jaeger, query: "/api/traces/" + a.trace, of: "spans of gateway and replica, of the request that asked", want: 2, least: true}}
}

// answer is what came of a question.
type answer struct {
	question
	value float64
	there bool
	// says is what else there is to show.
	says string
	// after is how long after the last request it was right; since when it wasn't is err.
	after time.Duration
	right bool
	err   error
}
