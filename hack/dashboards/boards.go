package main

import "fmt"

// boards are all there are, in docs/observability.md's order.
func boards() []board {
	return []board{installation(), tenant(), oneModel(), gateway(), limits(), warmUp(), batch()}
}

// every takes what the controller shows once: each of its replicas does.
func every(metric, labels string) string {
	return fmt.Sprintf("max by (tenant, namespace, model%s) (%s)", labels, metric)
}

// quantile of a histogram, over what is chosen.
func quantile(q float64, metric, matchers string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (le) (rate(%s_bucket%s[$__rate_interval])))", q, metric, matchers)
}

func quantiles(metric, matchers string) []query {
	return []query{
		{quantile(0.5, metric, matchers), "half"},
		{quantile(0.9, metric, matchers), "90 %"},
		{quantile(0.99, metric, matchers), "99 %"},
	}
}

// requests are what each level of the gateways' log has.
func requests(level, matchers string) row {
	also := ", " + matchers
	if matchers == "" {
		also = ""
	}
	only, refused := "{"+matchers+"}", `{limit="refused"`+also+"}"
	counted := "sluice_" + level + "_requests_total"
	return row{"Requests", []panel{
		{title: "Requests, by answer", unit: "reqps", about: "All that came, refused ones too. none: the caller left before the answer.", queries: []query{
			{fmt.Sprintf("sum by (code_class) (rate(%s%s[$__rate_interval]))", counted, only), "{{code_class}}"},
		}},
		{title: "Refused by limits", unit: "percentunit", about: "Of all requests.", queries: []query{
			{fmt.Sprintf("(sum(rate(%s%s[$__rate_interval])) or vector(0)) / sum(rate(%s%s[$__rate_interval]))", counted, refused, counted, only), "refused"},
		}},
		{title: "Time to the whole answer", unit: "s", about: "Of the requests that no limit refused.", queries: quantiles("sluice_"+level+"_request_duration_seconds", only)},
		{title: "Bytes", unit: "Bps", queries: []query{
			{fmt.Sprintf("sum(rate(sluice_%s_received_bytes_total%s[$__rate_interval]))", level, only), "received"},
			{fmt.Sprintf("sum(rate(sluice_%s_sent_bytes_total%s[$__rate_interval]))", level, only), "sent"},
		}},
	}}
}

func installation() board {
	all := requests("platform", "")
	all.panels = append(all.panels,
		panel{title: "Requests, by tenant", unit: "reqps", about: "The ten with the most.", queries: []query{
			{"topk(10, sum by (tenant) (rate(sluice_tenant_requests_total[$__rate_interval])))", "{{tenant}}"},
		}},
		panel{title: "Errors, by Model", unit: "reqps", about: "Answers of 500 and above; the ten with the most.", queries: []query{
			{`topk(10, sum by (namespace, model) (rate(sluice_model_requests_total{code_class="5xx"}[$__rate_interval])))`, "{{namespace}}/{{model}}"},
		}},
	)
	return board{name: "installation", title: "installation", about: "All of Sluice: what comes, what is promised, what needs somebody.", rows: []row{
		all,
		{"What needs somebody", []panel{
			{title: "Alerts that fire", unit: "short", newest: true, queries: []query{
				{`count by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Sluice.+"})`, "{{alertname}}"},
			}},
			{title: "Budgets that burn", unit: "short", about: "How many times as fast as its objective allows, over an hour; the ten fastest.", queries: []query{
				{"topk(10, sluice:model_errors:burn1h)", "{{namespace}}/{{model}} errors"},
				{"topk(10, sluice:model_latency:burn1h)", "{{namespace}}/{{model}} latency"},
			}},
			{title: "Models whose conditions aren't met", unit: "short", queries: []query{
				{"count by (condition, status) (" + every("sluice_model_condition_unmet", ", condition, status") + ")", "{{condition}} {{status}}"},
			}},
		}},
		{"What runs", []panel{
			{title: "Replicas", unit: "short", queries: []query{
				{"sum by (state) (" + every("sluice_revision_replicas", ", revision, state") + ")", "{{state}}"},
			}},
			{title: "CPU of replicas", unit: "short", about: "Cores.", queries: []query{
				{`sum by (container) (rate(container_cpu_usage_seconds_total{model!=""}[$__rate_interval]))`, "{{container}}"},
			}},
			{title: "Memory of replicas", unit: "bytes", queries: []query{
				{`sum by (container) (container_memory_working_set_bytes{model!=""})`, "{{container}}"},
			}},
		}},
		{"Pipeline", []panel{
			{title: "Lines without a metric", unit: "percentunit", about: "Of the requests that gateways have ended; it swings about 0 by how often each is read.", queries: []query{
				{"1 - (sum(increase(sluice_platform_requests_total[10m])) or vector(0)) / sum(increase(envoy_istio_sluice_ended[10m]))", "lost"},
			}},
			{title: "Collector's queues", unit: "percentunit", queries: []query{
				{"max by (pod, exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)", "{{exporter}} {{pod}}"},
			}},
			{title: "Scraped", unit: "short", about: "1 for what answers Prometheus.", queries: []query{
				{`min by (job, component) (up{job=~"sluice.*"})`, "{{job}} {{component}}"},
			}},
		}},
	}}
}

func tenant() board {
	return board{
		name: "tenant", title: "tenant", about: "What a tenant's Models get and take.",
		variables: []variable{{name: "tenant", label: "Tenant", metric: "sluice_tenant_requests_total", one: true}},
		rows: []row{
			requests("tenant", `tenant=~"$tenant"`),
			{"Models", []panel{
				{title: "Requests, by Model", unit: "reqps", queries: []query{
					{`topk(20, sum by (namespace, model) (rate(sluice_model_requests_total{tenant=~"$tenant"}[$__rate_interval])))`, "{{namespace}}/{{model}}"},
				}},
				{title: "Errors, by Model", unit: "percentunit", about: "Answers of 500 and above, of all that no limit refused.", queries: []query{
					{`topk(20, sum by (namespace, model) (rate(sluice_model_requests_total{tenant=~"$tenant", code_class="5xx"}[$__rate_interval])) / sum by (namespace, model) (rate(sluice_model_requests_total{tenant=~"$tenant", limit!="refused"}[$__rate_interval])))`, "{{namespace}}/{{model}}"},
				}},
				{title: "Budgets that burn", unit: "short", about: "How many times as fast as its objective allows, over an hour.", queries: []query{
					{`sluice:model_errors:burn1h{tenant=~"$tenant"}`, "{{namespace}}/{{model}} errors"},
					{`sluice:model_latency:burn1h{tenant=~"$tenant"}`, "{{namespace}}/{{model}} latency"},
				}},
				{title: "Requests, by namespace", unit: "reqps", queries: []query{
					{`sum by (namespace) (rate(sluice_namespace_requests_total{tenant=~"$tenant"}[$__rate_interval]))`, "{{namespace}}"},
				}},
			}},
			{"What it has", []panel{
				{title: "Replicas, by Model", unit: "short", queries: []query{
					{"sum by (namespace, model) (" + every(`sluice_revision_replicas{tenant=~"$tenant", state="ready"}`, ", revision") + ")", "{{namespace}}/{{model}}"},
				}},
				{title: "Held down by its cap", unit: "reqps", about: "What Models' limits would be without the tenant's cap, while that holds them.", queries: []query{
					{every(`sluice_model_uncapped_requests_per_second{tenant=~"$tenant"}`, ""), "{{namespace}}/{{model}}"},
				}},
				{title: "Certificates", unit: "s", newest: true, about: "How long they are good.", queries: []query{
					{`min by (secret) (sluice_certificate_not_after_seconds{tenant=~"$tenant"}) - time()`, "{{secret}}"},
				}},
			}},
		},
	}
}
