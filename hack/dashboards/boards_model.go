package main

// ofModel chooses one Model.
const ofModel = `namespace=~"$namespace", model=~"$model"`

func oneModel() board {
	only := "{" + ofModel + "}"
	return board{
		name: "model", title: "Model", about: "One Model: what it gets, what is promised of it, what it has.",
		variables: []variable{
			{name: "namespace", label: "Namespace", metric: "sluice_limit_requests_per_second", one: true},
			{name: "model", label: "Model", metric: "sluice_limit_requests_per_second", by: `{namespace=~"$namespace"}`, one: true},
		},
		rows: []row{
			requests("model", ofModel),
			{"Limit", []panel{
				{title: "Offered, admitted, limit", unit: "reqps", about: "As gateways count: admitted is what the limit let through.", queries: []query{
					{"sum(rate(envoy_istio_sluice_offered" + only + "[$__rate_interval]))", "offered"},
					{"sum(rate(envoy_istio_sluice_offered" + only + "[$__rate_interval])) - (sum(rate(envoy_istio_sluice_refused" + only + "[$__rate_interval])) or vector(0))", "admitted"},
					{"max(sluice_limit_requests_per_second" + only + ")", "limit"},
					{"max(sluice_model_uncapped_requests_per_second" + only + ")", "limit without its tenant's cap"},
				}},
				{title: "Replicas", unit: "short", queries: []query{
					{every("sluice_revision_replicas"+only, ", revision, state"), "{{revision}} {{state}}"},
					{"max(sluice_model_max_replicas" + only + ")", "most of each revision"},
				}},
				{title: "Conditions that aren't met", unit: "short", newest: true, queries: []query{
					{every("sluice_model_condition_unmet"+only, ", condition, status, reason"), "{{condition}} {{status}}: {{reason}}"},
				}},
			}},
			{"Objective", []panel{
				{title: "Errors: burn rate", unit: "short", about: "How many times as fast as the objective allows. Alerts: 14.4 in 5m and 1h, 6 in 30m and 6h, 1 in 6h and 3d.", queries: []query{
					{"sluice:model_errors:burn5m" + only, "5m"},
					{"sluice:model_errors:burn1h" + only, "1h"},
					{"sluice:model_errors:burn6h" + only, "6h"},
					{"sluice:model_errors:burn3d" + only, "3d"},
				}},
				{title: "Latency: burn rate", unit: "short", about: "The same of answers that come too late.", queries: []query{
					{"sluice:model_latency:burn5m" + only, "5m"},
					{"sluice:model_latency:burn1h" + only, "1h"},
					{"sluice:model_latency:burn6h" + only, "6h"},
					{"sluice:model_latency:burn3d" + only, "3d"},
				}},
				{title: "Promised", unit: "percentunit", newest: true, queries: []query{
					{every("sluice_model_objective_availability"+only, ""), "without an error"},
					{every("sluice_model_objective_latency"+only, ", le"), "within {{le}} s"},
				}},
			}},
			{"Revisions", []panel{
				{title: "Requests, by revision", unit: "reqps", queries: []query{
					{"sum by (revision) (rate(sluice_revision_requests_total" + only + "[$__rate_interval]))", "{{revision}}"},
				}},
				{title: "Errors, by revision", unit: "reqps", queries: []query{
					{`sum by (revision) (rate(sluice_revision_requests_total{code_class="5xx", ` + ofModel + "}[$__rate_interval]))", "{{revision}}"},
				}},
				{title: "99 % of answers, by revision", unit: "s", queries: []query{
					{"histogram_quantile(0.99, sum by (revision, le) (rate(sluice_revision_request_duration_seconds_bucket" + only + "[$__rate_interval])))", "{{revision}}"},
				}},
				{title: "CPU, by revision", unit: "short", about: "Cores, of all containers.", queries: []query{
					{"sum by (revision) (rate(container_cpu_usage_seconds_total" + only + "[$__rate_interval]))", "{{revision}}"},
				}},
				{title: "Memory, by revision", unit: "bytes", queries: []query{
					{"sum by (revision) (container_memory_working_set_bytes" + only + ")", "{{revision}}"},
				}},
				{title: "Warm-up", unit: "short", about: "Replicas in each of its states.", queries: []query{
					{"sum by (state) (sluice_warmup_state" + only + ")", "{{state}}"},
				}},
			}},
		},
	}
}

func warmUp() board {
	only := "{" + ofModel + "}"
	return board{
		name: "warmup", title: "warm-up and cold start", about: "How replicas become ready, and who waits for them.",
		variables: []variable{
			{name: "namespace", label: "Namespace", metric: "sluice_warmup_state"},
			{name: "model", label: "Model", metric: "sluice_warmup_state", by: `{namespace=~"$namespace"}`},
		},
		rows: []row{
			{"Warm-ups", []panel{
				{title: "Replicas, by state", unit: "short", queries: []query{
					{"sum by (state) (sluice_warmup_state" + only + ")", "{{state}}"},
				}},
				{title: "Failed, or serving cold", unit: "short", queries: []query{
					{`sum by (namespace, model) (sluice_warmup_state{state=~"Failed|ServingCold", ` + ofModel + "})", "{{namespace}}/{{model}}"},
				}},
				{title: "How long the last took", unit: "s", queries: []query{
					{"max by (namespace, model) (sluice_warmup_seconds" + only + ")", "{{namespace}}/{{model}}"},
				}},
				{title: "What it gained", unit: "s", about: "The first request of a warm-up, and the mean of its last round.", queries: []query{
					{"max by (namespace, model) (sluice_warmup_first_request_seconds" + only + ")", "{{namespace}}/{{model}} first"},
					{"max by (namespace, model) (sluice_warmup_last_round_seconds" + only + ")", "{{namespace}}/{{model}} last round"},
				}},
				{title: "Starts of models", unit: "short", about: "In ten minutes; more than replicas that came are restarts.", queries: []query{
					{"sum by (namespace, model) (increase(sluice_warmup_starts_total" + only + "[10m]))", "{{namespace}}/{{model}}"},
				}},
			}},
			{"Who waits", []panel{
				{title: "Wait for a model that isn't warm", unit: "s", about: "In queue-proxy, where it has metrics.", queries: quantiles("sluice_warmup_wait_seconds", only)},
				{title: "How the waits ended", unit: "reqps", queries: []query{
					{"sum by (outcome) (rate(sluice_warmup_wait_seconds_count" + only + "[$__rate_interval]))", "{{outcome}}"},
				}},
				{title: "Replicas that aren't coming", unit: "short", queries: []query{
					{every(`sluice_revision_replicas{state="missing", `+ofModel+"}", ", revision"), "{{namespace}}/{{revision}}"},
				}},
				{title: "Replicas that are awaited", unit: "short", about: "Desired, and not ready.", queries: []query{
					{every(`sluice_revision_replicas{state="desired", `+ofModel+"}", ", revision") + " - " + every(`sluice_revision_replicas{state="ready", `+ofModel+"}", ", revision"), "{{namespace}}/{{revision}}"},
				}},
			}},
		},
	}
}
