package main

import "testing"

const rightTrigger = `
apiVersion: sluice.dev/v1alpha1
kind: InferenceTrigger
metadata: {name: score, namespace: search}
spec:
  broker: default
  model: ranker
  request: {path: /v2/models/ranker/infer}
`

// rightStarter is one that starts Batches.
const rightStarter = `
apiVersion: sluice.dev/v1alpha1
kind: InferenceTrigger
metadata: {name: nightly, namespace: search}
spec:
  broker: default
  filters: [{exact: {type: com.example.object.created}}]
  batch:
    template:
      spec:
        model: ranker
        input: {s3: {endpoint: "https://s3.example.com", bucket: "${event.data.bucket}", key: "${event.data.key}", secretName: store}}
        request: {path: /v2/models/ranker/infer}
        output: {s3: {endpoint: "https://s3.example.com", bucket: search, prefix: "runs/${event.id}", secretName: store}}
        ttlAfterFinished: 168h
`

var mistakesInTriggers = []mistake{
	// Names and fields.
	{what: "an InferenceTrigger's name with dots", written: `metadata: {name: score.1}`, field: "metadata.name", remedy: "must not contain dots"},
	{what: "an InferenceTrigger's name that is too long", written: `metadata: {name: score-of-everything-that-was-clicked-on-by-anybody-anywhere}`, field: "metadata.name", remedy: "at most 52 characters"},
	{what: "a subscriber as of a Trigger", written: `spec: {subscriber: {uri: "http://x"}}`, field: `unknown field "spec.subscriber"`, remedy: "set spec.reply.sink"},
	{what: "a dead letter sink in a wrong place", written: `spec: {deadLetterSink: {uri: "http://x"}}`, field: `unknown field "spec.deadLetterSink"`, remedy: "set spec.delivery.deadLetterSink"},
	{what: "a filter's dialect in filter", written: `spec: {filter: {exact: {type: x}}}`, field: `unknown field "spec.filter.exact"`, remedy: "set spec.filters"},
	{what: "a filter's dialect misspelt", written: `spec: {filters: [{exakt: {type: x}}]}`, field: `unknown field "spec.filters[0].exakt"`, remedy: "did you mean spec.filters[0].exact?"},

	// The Broker and its events.
	{what: "no Broker", written: `spec: {broker: ""}`, field: "spec.broker", remedy: "name the Broker"},
	{what: "an InferenceTrigger without the field broker", written: `spec: {broker: null}`, field: "spec.broker", remedy: "is required", by: bySchema},
	{what: "a Broker of another namespace", written: `spec: {broker: ads/default}`, field: "spec.broker", remedy: `give "default" alone, and create the InferenceTrigger in namespace "ads"`},
	{what: "a Broker in capitals", written: `spec: {broker: Default}`, field: "spec.broker", remedy: "lower case"},
	{what: "a Broker that isn't there", written: `spec: {broker: none}`, field: "Subscribed", by: byStatus},
	{what: "filter and filters", written: `spec: {filter: {attributes: {type: x}}, filters: [{exact: {type: x}}]}`, field: "spec.filter", remedy: "write it there"},
	{what: "an attribute that can't be", written: `spec: {filter: {attributes: {Type: x}}}`, field: "spec.filter.attributes", remedy: "lowercase alphanumeric"},
	{what: "filtering by data", written: `spec: {filter: {attributes: {data: x}}}`, field: "spec.filter.attributes[data]", remedy: "can't be filtered by"},
	{what: "two dialects in one filter", written: `spec: {filters: [{exact: {type: x}, prefix: {type: x}}]}`, field: "spec.filters[0]", remedy: "write each in a filter of its own"},
	{what: "CESQL that is none", written: `spec: {filters: [{cesql: "type LIKE"}]}`, field: "spec.filters[0].cesql", remedy: "as in type LIKE 'com.example.%'"},
	{what: "filters as an object", written: `spec: {filters: {exact: {type: x}}}`, field: "spec.filters", remedy: `each item of which begins with "- "`},

	// The Model and the request.
	{what: "nothing that becomes of an event", written: `spec: {request: null}`, field: "spec.batch, spec.request", remedy: "say what becomes of an event"},
	{what: "no Model to trigger", written: `spec: {model: ""}`, field: "spec.model", remedy: "name the Model"},
	{what: "a Model of another namespace to trigger", written: `spec: {model: ads/bidder}`, field: "spec.model", remedy: `create the InferenceTrigger in namespace "ads"`},
	{what: "a triggered Model that isn't there", written: `spec: {model: none}`, field: "ModelReady", by: byStatus},
	{what: "no path to trigger", written: `spec: {request: {path: ""}}`, field: "spec.request.path", remedy: "/v2/models/ranker/infer"},
	{what: "a triggered path that is a URL", written: `spec: {request: {path: "http://ranker/v2"}}`, field: "spec.request.path", remedy: "is a URL"},
	{what: "a triggered path without a slash", written: `spec: {request: {path: "score/${event.id}"}}`, field: "spec.request.path", remedy: "begins with /"},
	{what: "a method in small letters", written: `spec: {request: {method: post}}`, field: "spec.request.method", remedy: "in capitals: POST"},
	{what: "a method that there isn't", written: `spec: {request: {method: SEND}}`, field: "spec.request.method", remedy: "must be one of POST, GET"},
	{what: "a triggered header that is Sluice's own", written: `spec: {request: {headers: {Sluice-Batch: x}}}`, field: "spec.request.headers[Sluice-Batch]", remedy: "leave it out"},
	{what: "a triggered timeout of hours", written: `spec: {request: {timeout: 2h}}`, field: "spec.request.timeout", remedy: "from 100ms to 10m0s"},
	{what: "a triggered timeout without a unit", written: `spec: {request: {timeout: 30}}`, field: "spec.request.timeout", remedy: `"30s" for seconds`},
	{what: "a body as an object", written: `spec: {request: {body: {inputs: []}}}`, field: "spec.request.body", remedy: "must be text"},

	// Expressions.
	{what: "an expression that isn't marked", written: `spec: {request: {body: event.data.inputs}}`, field: "spec.request.body", remedy: "write ${event.data.inputs}"},
	{what: "an expression that doesn't end", written: `spec: {request: {body: "${event.data"}}`, field: "spec.request.body", remedy: "without the } that ends it"},
	{what: "an expression that doesn't compile", written: `spec: {request: {path: "/${event.id +}"}}`, field: "spec.request.path", remedy: "Syntax error"},
	{what: "an attribute in capitals", written: `spec: {request: {headers: {X-Id: "${event.ID}"}}}`, field: "spec.request.headers[X-Id]", remedy: "undefined field 'ID'"},
	{what: "what isn't the event", written: `spec: {request: {path: "/${data.id}"}}`, field: "spec.request.path", remedy: "undeclared reference to 'data'"},
	{what: "a number in a path", written: `spec: {request: {path: "/${event.data.tags.size()}"}}`, field: "spec.request.path", remedy: "write ${string(event.data.tags.size())}"},
	{what: "a time in a header", written: `spec: {request: {headers: {X-Time: "${event.time}"}}}`, field: "spec.request.headers[X-Time]", remedy: "write ${string(event.time)}"},
	{what: "a type for a body", written: `spec: {request: {body: "${type(event.id)}"}}`, field: "spec.request.body", remedy: "choose what of it is meant"},

	// The reply.
	{what: "a reply to nobody known", written: `spec: {reply: {to: Channel}}`, field: "spec.reply.to", remedy: "[Broker Sink None]", by: bySchema},
	{what: "a reply to a sink that isn't said", written: `spec: {reply: {to: Sink}}`, field: "spec.reply.sink", remedy: "by ref or by uri"},
	{what: "a sink beside the Broker", written: `spec: {reply: {to: Broker, sink: {uri: "http://x.example.com"}}}`, field: "spec.reply.sink", remedy: "leave sink out"},
	{what: "an empty sink", written: `spec: {reply: {sink: {}}}`, field: "spec.reply.sink.ref, spec.reply.sink.uri", remedy: "expected at least one"},
	{what: "a type of no reply", written: `spec: {reply: {to: None, type: x}}`, field: "spec.reply.type", remedy: "leave it out"},
	{what: "a reply's type with a space", written: `spec: {reply: {type: "a b"}}`, field: "spec.reply.type", remedy: "without spaces"},
	{what: "a reply's type by the event", written: `spec: {reply: {type: "scored.${event.type}"}}`, field: "spec.reply.type", remedy: "leave the expression out"},

	// The delivery.
	{what: "a backoff in Go's words", written: `spec: {delivery: {backoffDelay: 1s}}`, field: "spec.delivery.backoffDelay", remedy: "as in PT1S"},
	{what: "a backoff of no kind", written: `spec: {delivery: {backoffPolicy: random}}`, field: "spec.delivery.backoffPolicy", remedy: "exponential or linear"},
	{what: "fewer retries than none", written: `spec: {delivery: {retry: -1}}`, field: "spec.delivery.retry", remedy: "from 0"},
	{what: "an empty dead letter sink", written: `spec: {delivery: {deadLetterSink: {}}}`, field: "spec.delivery.deadLetterSink", remedy: "expected at least one"},
	{what: "a Broker that doesn't wait for the Model", written: `spec: {delivery: {timeout: PT30S}}`, field: "spec.delivery.timeout", remedy: "must be above request.timeout"},
}

var mistakesInStarters = []mistake{
	{what: "a Batch and a request", written: `spec: {model: ranker, request: {path: /}}`, field: "spec.batch, spec.request", remedy: "expected exactly one"},
	{what: "a Model beside the Batch's", written: `spec: {model: ranker}`, field: "spec.model", remedy: "batch.template.spec.model"},
	{what: "a reply of a Batch", written: `spec: {reply: {to: Broker}}`, field: "spec.reply", remedy: "leave it out"},
	{what: "a Batch's spec without a template", written: `spec: {batch: {spec: {}}}`, field: `unknown field "spec.batch.spec"`, remedy: "set spec.batch.template.spec"},
	{what: "a field that a template's Batch hasn't", written: `spec: {batch: {template: {spec: {parallelism: 3}}}}`, field: `unknown field "spec.batch.template.spec.parallelism"`},
	{what: "a template's Batch without a Model", written: `spec: {batch: {template: {spec: {model: ""}}}}`, field: "spec.batch.template.spec.model", remedy: "name the Model"},
	{what: "a template's bucket that can't be", written: `spec: {batch: {template: {spec: {input: {s3: {bucket: Search}}}}}}`, field: "spec.batch.template.spec.input.s3.bucket", remedy: "lower case letters"},
	{what: "a template's expression that doesn't compile", written: `spec: {batch: {template: {spec: {input: {s3: {key: "${event.}"}}}}}}`, field: "spec.batch.template.spec.input.s3.key", remedy: "Syntax error"},
	{what: "a number for a template's text", written: `spec: {batch: {template: {spec: {input: {s3: {key: "${1}"}}}}}}`, field: "spec.batch.template.spec.input.s3.key", remedy: "write ${string(1)}"},
	{what: "a template's number by an expression", written: `spec: {batch: {template: {spec: {workers: "${event.data.n}"}}}}`, field: "spec.batch.template.spec.workers", remedy: "must be a whole number"},
	{what: "a template's output that is all Batches'", written: `spec: {batch: {template: {spec: {output: {s3: {prefix: runs}}}}}}`, field: "spec.batch.template.spec.output.s3.prefix", remedy: "runs/${event.id}"},
	{what: "a template's Batches that stay for good", written: `spec: {batch: {template: {spec: {ttlAfterFinished: null}}}}`, field: "spec.batch.template.spec.ttlAfterFinished", remedy: "as in 168h"},
	{what: "a service account by the event", written: `spec: {batch: {template: {spec: {serviceAccountName: "${event.data.account}"}}}}`, field: "spec.batch.template.spec.serviceAccountName", remedy: "write out the one that is meant"},
	{what: "a part of a service account by the event", written: `spec: {batch: {template: {spec: {serviceAccountName: "runs-${event.subject}"}}}}`, field: "spec.batch.template.spec.serviceAccountName", remedy: "write out the one that is meant"},
	{what: "a service account by what isn't marked", written: `spec: {batch: {template: {spec: {serviceAccountName: event.subject}}}}`, field: "spec.batch.template.spec.serviceAccountName", remedy: "write out the one that is meant"},
	{what: "a Secret by the event", written: `spec: {batch: {template: {spec: {input: {s3: {secretName: "${event.subject}"}}}}}}`, field: "spec.batch.template.spec.input.s3.secretName", remedy: "write out the one that is meant"},
	{what: "an output's Secret by the event", written: `spec: {batch: {template: {spec: {output: {s3: {secretName: "${event.subject}"}}}}}}`, field: "spec.batch.template.spec.output.s3.secretName", remedy: "write out the one that is meant"},
	{what: "an endpoint by the event", written: `spec: {batch: {template: {spec: {input: {s3: {endpoint: "https://${event.data.host}"}}}}}}`, field: "spec.batch.template.spec.input.s3.endpoint", remedy: "write out the one that is meant"},
	{what: "a template's name for its Secret alone", written: `spec: {batch: {template: {spec: {output: {s3: {prefix: runs, secretName: "${event.id}"}}}}}}`, field: "spec.batch.template.spec.output.s3.prefix", remedy: "an output of its own"},
}

// rightStarterOfTopics starts Batches of what was in a topic a day before an event, which all
// write to one topic.
const rightStarterOfTopics = `
apiVersion: sluice.dev/v1alpha1
kind: InferenceTrigger
metadata: {name: daily, namespace: search}
spec:
  broker: default
  filters: [{exact: {type: com.example.day}}]
  batch:
    template:
      spec:
        model: ranker
        input:
          kafka:
            bootstrapServers: ["kafka.example.com:9092"]
            topic: "${event.data.topic}"
            since: "${string(event.time - duration('24h'))}"
            until: "${string(event.time)}"
        request: {path: /v2/models/ranker/infer}
        output: {kafka: {bootstrapServers: ["kafka.example.com:9092"], topic: scores}}
        ttlAfterFinished: 168h
`

var mistakesInTopicsByEvents = []mistake{
	{what: "a broker by the event", written: `spec: {batch: {template: {spec: {input: {kafka: {bootstrapServers: ["${event.data.host}:9092"]}}}}}}`, field: "spec.batch.template.spec.input.kafka.bootstrapServers[0]", remedy: "write out the one that is meant"},
	{what: "a broker's Secret by the event", written: `spec: {batch: {template: {spec: {output: {kafka: {secretName: "${event.subject}"}}}}}}`, field: "spec.batch.template.spec.output.kafka.secretName", remedy: "write out the one that is meant"},
	{what: "a time for a template's text", written: `spec: {batch: {template: {spec: {input: {kafka: {until: "${event.time}"}}}}}}`, field: "spec.batch.template.spec.input.kafka.until", remedy: "write ${string(event.time)}"},
	{what: "a template's day without a zone", written: `spec: {batch: {template: {spec: {input: {kafka: {since: "2026-12-24"}}}}}}`, field: "spec.batch.template.spec.input.kafka.since", remedy: "as in 2026-12-24T18:00:00Z"},
	{what: "a template's offset by an expression", written: `spec: {batch: {template: {spec: {input: {kafka: {since: null, until: null, partitions: [{partition: 0, from: "${event.data.n}"}]}}}}}}`, field: "spec.batch.template.spec.input.kafka.partitions[0].from", remedy: "must be a whole number"},
}

func TestAnInferenceTriggerThatIsRightIsTakenInSilence(t *testing.T) {
	triggers, starters := newGate(t, rightTrigger, "inferencetriggers"), newGate(t, rightStarter, "inferencetriggers")
	topics := newGate(t, rightStarterOfTopics, "inferencetriggers")
	for name, c := range map[string]struct {
		gate    *gate
		written string
	}{
		"as it is":            {triggers, `{}`},
		"all dialects":        {triggers, `spec: {filters: [{all: [{exact: {type: a}}, {any: [{prefix: {source: /a}}, {suffix: {subject: .jsonl}}]}]}, {not: {exact: {type: b}}}, {cesql: "EXISTS subject AND type LIKE 'com.%'"}]}`},
		"attributes":          {triggers, `spec: {filter: {attributes: {type: com.example.click, source: ""}}}`},
		"a request's parts":   {triggers, `spec: {request: {method: PUT, path: "/v1/${event.subject}?x=1", headers: {X-User: "${event.data.user}", X-Plain: a}, body: "${ {'inputs': event.data.inputs} }", timeout: 5m}}`},
		"a body of text":      {triggers, `spec: {request: {body: "{\"text\": \"${event.subject}\"}"}}`},
		"a path by the event": {triggers, `spec: {request: {path: "${event.data.path}"}}`},
		"an extension":        {triggers, `spec: {request: {headers: {X-Tenant: "${event.tenant}"}}}`},
		"a plain ${":          {triggers, `spec: {request: {body: "$${x}"}}`},
		"a sink":              {triggers, `spec: {reply: {sink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: results, namespace: search}}, type: com.example.scored}}`},
		"no reply":            {triggers, `spec: {reply: {to: None}}`},
		"a delivery":          {triggers, `spec: {delivery: {retry: 5, backoffPolicy: exponential, backoffDelay: PT1S, timeout: PT2M, retryAfterMax: PT1M, deadLetterSink: {uri: "http://dead.example.com"}}}`},
		"a Batch":             {starters, `{}`},
		"a Batch's bounds":    {starters, `spec: {batch: {template: {spec: {workers: 4, deadline: 2h, ttlAfterFinished: 24h, request: {headers: {X-From: "${event.source}"}}}}}}`},
		"a Batch of a day":    {topics, `{}`},
		"errors by the event": {topics, `spec: {batch: {template: {spec: {output: {kafka: {errorTopic: "errors-${event.data.team}"}}}}}}`},
		"a Batch's Model":     {starters, `spec: {batch: {template: {spec: {model: "${event.data.model}"}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.gate.apply(t, c.written); got.refusal != "" || len(got.warnings) > 0 {
				t.Errorf("refused: %q, warned: %q", got.refusal, got.warnings)
			}
		})
	}
}
