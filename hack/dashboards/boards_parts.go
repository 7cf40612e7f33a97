package main

func gateway() board {
	only := `{gateway=~"$gateway"}`
	return board{
		name: "gateway", title: "gateway", about: "Gateways and their pods, as Envoy counts.",
		variables: []variable{{name: "gateway", label: "Gateway", metric: "envoy_istio_sluice_offered"}},
		rows: []row{
			{"Requests", []panel{
				{title: "Offered, by pod", unit: "reqps", queries: []query{
					{"sum by (pod) (rate(envoy_istio_sluice_offered" + only + "[$__rate_interval]))", "{{pod}}"},
				}},
				{title: "Offered, by entry", unit: "reqps", queries: []query{
					{"sum by (entry) (rate(envoy_istio_sluice_offered" + only + "[$__rate_interval]))", "{{entry}}"},
				}},
				{title: "How requests ended", unit: "reqps", queries: []query{
					{"sum by (outcome) (rate(envoy_istio_sluice_ended" + only + "[$__rate_interval]))", "{{outcome}}"},
				}},
				{title: "Refused, by pod", unit: "percentunit", about: "Of the offered. Where pods differ, their shares of limits may lag.", queries: []query{
					{"sum by (pod) (rate(envoy_istio_sluice_refused" + only + "[$__rate_interval])) / sum by (pod) (rate(envoy_istio_sluice_offered" + only + "[$__rate_interval]))", "{{pod}}"},
				}},
				{title: "Errors, by pod", unit: "reqps", queries: []query{
					{`sum by (pod) (rate(envoy_istio_sluice_errors` + only + `[$__rate_interval]))`, "{{pod}}"},
				}},
				{title: "Models with the most requests", unit: "reqps", queries: []query{
					{"topk(10, sum by (namespace, model) (rate(envoy_istio_sluice_offered" + only + "[$__rate_interval])))", "{{namespace}}/{{model}}"},
				}},
			}},
			{"Pods", []panel{
				{title: "Limits that a pod lacks", unit: "short", about: "Nothing, while all are proved.", queries: []query{
					{"max by (gateway, gateway_pod) (sluice_limit_gateway_pod_behind" + only + ")", "{{gateway_pod}}"},
				}},
				{title: "Pods that answer", unit: "short", queries: []query{
					{`sum by (gateway) (up{job="sluice-gateways", gateway=~"$gateway"})`, "{{gateway}}"},
				}},
				{title: "Routes: until every pod serves them", unit: "s", queries: quantiles("sluice_ingress_ready_seconds", "")},
			}},
		},
	}
}

func limits() board {
	return board{name: "limits", title: "limits, proof and lag", about: "How limits follow replicas, and how it is known.", rows: []row{
		{"Proof", []panel{
			{title: "From a change to its proof", unit: "s", about: "On every ready gateway pod.", queries: quantiles("sluice_limit_convergence_seconds", "")},
			{title: "Its steps: 99 %", unit: "s", queries: []query{
				{"histogram_quantile(0.99, sum by (step, le) (rate(sluice_limit_step_seconds_bucket[$__rate_interval])))", "{{step}}"},
			}},
			{title: "Limits that gateway pods lack", unit: "short", queries: []query{
				{"max by (gateway, gateway_pod) (sluice_limit_gateway_pod_behind)", "{{gateway_pod}}"},
			}},
			{title: "Models without a proved limit", unit: "short", queries: []query{
				{"count by (reason) (" + every(`sluice_model_condition_unmet{condition="Limited"}`, ", reason") + ")", "{{reason}}"},
			}},
			{title: "Questions without an answer", unit: "cps", queries: []query{
				{"sum(rate(sluice_limit_proof_errors_total[$__rate_interval]))", "proof"},
				{"sum(rate(sluice_limit_demand_errors_total[$__rate_interval]))", "demand"},
				{"sum(rate(sluice_limit_bounds_errors_total[$__rate_interval]))", "bounds of trials"},
			}},
		}},
		{"Limits", []panel{
			{title: "Limits in force", unit: "short", queries: []query{
				{"count(sluice_limit_requests_per_second)", "limits"},
			}},
			{title: "All limits together", unit: "reqps", queries: []query{
				{"sum(max by (namespace, model) (sluice_limit_requests_per_second))", "limit"},
				{"sum(rate(envoy_istio_sluice_offered[$__rate_interval]))", "offered"},
			}},
			{title: "Refused, by Model", unit: "percentunit", about: "The ten that refuse the most.", queries: []query{
				{"topk(10, sluice:model_refused:ratio5m)", "{{namespace}}/{{model}}"},
			}},
			{title: "Models at the most replicas", unit: "short", queries: []query{
				{"sluice:model_at_max", "{{namespace}}/{{model}}"},
			}},
			{title: "Held down by a tenant's cap", unit: "reqps", queries: []query{
				{every("sluice_model_uncapped_requests_per_second", ""), "{{namespace}}/{{model}}"},
			}},
			{title: "Bounds of trials that were passed", unit: "short", about: "In ten minutes.", queries: []query{
				{"sum by (reason) (increase(sluice_limit_breaches_total[10m]))", "{{reason}}"},
			}},
		}},
		{"Slots", []panel{
			{title: "Room that is taken", unit: "percentunit", about: "From 60 % on the gateway gets more slots, above 100 % limits have none.", queries: []query{
				{"max by (slot) (sluice_limit_slot_fill_ratio)", "{{slot}}"},
			}},
			{title: "Writes", unit: "wps", queries: []query{
				{"sum by (outcome) (rate(sluice_limit_slot_writes_total[$__rate_interval]))", "slots {{outcome}}"},
				{"sum by (outcome) (rate(sluice_limit_status_writes_total[$__rate_interval]))", "statuses {{outcome}}"},
			}},
			{title: "Put right, tried again", unit: "short", about: "In ten minutes.", queries: []query{
				{"sum by (was) (increase(sluice_limit_slot_repairs_total[10m]))", "slots {{was}}"},
				{"sum(increase(sluice_limit_pass_errors_total[10m]))", "passes"},
			}},
			{title: "Statuses that wait", unit: "short", queries: []query{
				{"max(sluice_limit_statuses_waiting)", "statuses"},
			}},
		}},
		{"Events", []panel{
			{title: "Received", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_limit_events_received_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{title: "Sent by the limiter", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_limit_events_sent_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{title: "Sent by the controller", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_revisionscale_events_total[$__rate_interval]))", "revision.scaled {{outcome}}"},
				{"sum by (outcome) (rate(sluice_tenant_migrated_events_total[$__rate_interval]))", "gateway.migrated {{outcome}}"},
				{"sum by (outcome) (rate(sluice_model_warmed_events_total[$__rate_interval]))", "model.warmed {{outcome}}"},
				{"sum by (outcome) (rate(sluice_model_tuned_events_total[$__rate_interval]))", "model.tuned {{outcome}}"},
			}},
		}},
	}}
}

func batch() board {
	return board{name: "batch", title: "batch and triggers", about: "What Batches take of what is left, and what events start.", rows: []row{
		{"Batches", []panel{
			{title: "Workers' asks for credits", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_batch_asks_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{title: "Requests of Batches", unit: "reqps", about: "Those at the local entry that carry the mark, of which batch is the most.", queries: []query{
				{"sum by (namespace, model) (rate(envoy_istio_sluice_marked[$__rate_interval]))", "{{namespace}}/{{model}}"},
			}},
			{title: "Questions what is left, without an answer", unit: "cps", queries: []query{
				{"sum(rate(sluice_batch_slack_errors_total[$__rate_interval]))", "errors"},
			}},
			{title: "Events about Batches", unit: "cps", queries: []query{
				{"sum by (type, outcome) (rate(sluice_batch_events_total[$__rate_interval]))", "{{type}} {{outcome}}"},
			}},
		}},
		{"Triggers", []panel{
			{title: "Events to InferenceTriggers", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_trigger_events_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{title: "Events that ask for Batches", unit: "cps", queries: []query{
				{"sum by (outcome) (rate(sluice_batch_requests_total[$__rate_interval]))", "{{outcome}}"},
			}},
			{title: "Requests of events", unit: "short", about: "Under way.", queries: []query{
				{"sum(sluice_trigger_requests)", "requests"},
			}},
			{title: "How long they took", unit: "s", queries: quantiles("sluice_trigger_request_seconds", "")},
		}},
	}}
}
