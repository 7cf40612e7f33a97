package reading

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"sluice.dev/sluice/reconciler/apis/spelling"
)

// elsewhere is what other kinds have, or people expect, and where a kind says the same.
var elsewhere = map[string]map[string]string{
	"Model": {
		"spec.template":   "a Model has no template: what a Knative Service says in spec.template.spec, a Model says in spec: spec.container for the one of containers, and the rest beside it",
		"spec.containers": "spec.container is the one that serves, spec.sidecars are those beside it",
		"spec.predictor":  "what a KServe InferenceService says in spec.predictor, a Model says in spec.container and spec.autoscaling",
		"spec.replicas":   "set spec.autoscaling.minReplicas and spec.autoscaling.maxReplicas",
		"spec.scaling":    "set spec.autoscaling",
		"spec.timeout":    "set spec.timeoutSeconds",
		"spec.limits":     "set spec.limit, or spec.container.resources.limits",
		"spec.rateLimit":  "set spec.limit",
		"spec.ports":      "set spec.container.ports",
		"spec.revision":   "spec.traffic gives requests to a revision",
		"spec.canary":     "spec.rollout.percent holds the newest revision at a percentage",
		"spec.limit.rate": "set spec.limit.requestsPerSecondPerReplica",
		"spec.limit.rps":  "set spec.limit.requestsPerSecondPerReplica",

		"spec.trial.container":       "a trial makes no revision: what can be tried is in autoscaling and limit",
		"spec.trial.duration":        "set spec.trial.for",
		"spec.trial.timeout":         "set spec.trial.for",
		"spec.trial.until":           "set spec.trial.for, which is how long it lasts at most",
		"spec.trial.target":          "set spec.trial.autoscaling.target",
		"spec.trial.minReplicas":     "set spec.trial.autoscaling.minReplicas",
		"spec.trial.maxReplicas":     "set spec.trial.autoscaling.maxReplicas",
		"spec.trial.headroomPercent": "set spec.trial.limit.headroomPercent",
		"spec.trial.errorPercent":    "set spec.trial.unless.errorPercent",
		"spec.trial.latency":         "set spec.trial.unless.latency",
	},
	"Batch": {
		"spec.modelRef":                  "set spec.model to its name",
		"spec.modelName":                 "set spec.model to its name",
		"spec.template":                  "a Batch has no template: its pods are Sluice's own; set spec.resources and spec.serviceAccountName",
		"spec.parallelism":               "set spec.workers",
		"spec.completions":               "how many shards there are follows from the input; set spec.workers for how many are worked on at a time",
		"spec.replicas":                  "set spec.workers for the run's pods, or spec.maxReplicas for the Model's replicas that it may cause",
		"spec.backoffLimit":              "set spec.retry.attempts",
		"spec.activeDeadlineSeconds":     "set spec.deadline, with its unit, as in 1h",
		"spec.ttlSecondsAfterFinished":   "set spec.ttlAfterFinished, with its unit, as in 24h",
		"spec.schedule":                  "a Batch runs once; have a CronJob, or an event, create one each time",
		"spec.input.s3.accessKeyID":      "put it into a Secret, and name that in spec.input.s3.secretName",
		"spec.input.s3.secretAccessKey":  "put it into a Secret, and name that in spec.input.s3.secretName",
		"spec.input.s3.url":              "set spec.input.s3.bucket and key or prefix, and spec.input.s3.endpoint where the store isn't Amazon's",
		"spec.input.kafka.brokers":       "set spec.input.kafka.bootstrapServers",
		"spec.input.kafka.topics":        "set spec.input.kafka.topic; a Batch reads one, so create one for each",
		"spec.input.kafka.consumerGroup": "a Batch reads a range of the topic, by no group, and commits no offsets; leave it out",
		"spec.input.kafka.offsets":       "set spec.input.kafka.partitions, as in partitions: [{partition: 0, from: 100, to: 200}]",
		"spec.input.kafka.net":           "set spec.input.kafka.tls, and spec.input.kafka.secretName",
		"spec.input.kafka.username":      "put it into a Secret, and name that in spec.input.kafka.secretName",
		"spec.input.kafka.password":      "put it into a Secret, and name that in spec.input.kafka.secretName",
		"spec.output.kafka.brokers":      "set spec.output.kafka.bootstrapServers",
		"spec.output.kafka.net":          "set spec.output.kafka.tls, and spec.output.kafka.secretName",
		"spec.output.kafka.username":     "put it into a Secret, and name that in spec.output.kafka.secretName",
		"spec.output.kafka.password":     "put it into a Secret, and name that in spec.output.kafka.secretName",
		"spec.output.kafka.partition":    "which partition a record goes to follows from the part of the input that it is of; leave it out",
		"spec.output.s3.key":             "set spec.output.s3.prefix: there are several objects",
		"spec.output.http":               "answers go to spec.output.s3, spec.output.volume or spec.output.kafka",
		"spec.output.configMap":          "answers go to spec.output.s3, spec.output.volume or spec.output.kafka",
		"spec.request.method":            "each request is a POST; leave it out",
		"spec.request.body":              "the body of a request is an item of spec.input; leave it out",
		"spec.request.url":               "set spec.request.path; the Model is named in spec.model",
	},
	"InferenceTrigger": {
		"spec.subscriber":     "the subscriber is Sluice's own, which asks spec.model; for a reply's, set spec.reply.sink",
		"spec.brokerRef":      "set spec.broker to the name of a Broker of the same namespace",
		"spec.modelRef":       "set spec.model to its name",
		"spec.modelName":      "set spec.model to its name",
		"spec.sink":           "set spec.reply.sink",
		"spec.deadLetterSink": "set spec.delivery.deadLetterSink",
		"spec.retry":          "set spec.delivery.retry",
		"spec.retries":        "set spec.delivery.retry",
		"spec.timeout":        "set spec.request.timeout",
		"spec.template":       "set spec.batch.template",
		"spec.batch.spec":     "set spec.batch.template.spec",
		"spec.body":           "set spec.request.body",
		"spec.path":           "set spec.request.path",
		"spec.request.url":    "set spec.request.path; the Model is named in spec.model",
		"spec.request.model":  "set spec.model",
		"spec.filter.exact":   "set spec.filters, as in filters: [{exact: {type: …}}]",
		"spec.filter.cesql":   "set spec.filters, as in filters: [{cesql: …}]",
		"spec.reply.broker":   "replies go to the Broker of spec.broker; leave it out",
	},
}

// searched is how deep below spec a field is looked for that was named in a wrong place.
const searched = 3

// Meant says what was meant by a field that a kind doesn't have: one beside it of a similar
// name, one of the same name elsewhere in the spec, or those that there are, if they are few. It
// is "" where that can't be told, as of a path that leads to no object of the kind's.
func Meant(kind any, path string) string {
	whole := reflect.TypeOf(kind).Elem()
	if says, ok := elsewhere[whole.Name()][path]; ok {
		return says
	}
	cut := strings.LastIndex(path, ".")
	if cut < 0 || len(path) > longestPath {
		return ""
	}
	parent, name := path[:cut], path[cut+1:]
	at := typeAt(whole, parent)
	if at == nil {
		return ""
	}
	names := slices.Sorted(maps.Keys(fieldsOf(at)))
	if near := spelling.Nearest(name, names); near != "" {
		return "did you mean " + parent + "." + near + "?"
	}
	if found := find(name, fieldsOf(whole)["spec"], "spec", searched); found != "" {
		return "did you mean " + found + "?"
	}
	const most = 15
	if len(names) > most {
		return ""
	}
	return "there are " + strings.Join(names, ", ")
}

// longestPath bounds what is taken apart.
const longestPath = 500

// typeAt is the struct that a path leads to, through lists by their indices; nil where it
// leads elsewhere.
func typeAt(t reflect.Type, path string) reflect.Type {
	for part := range strings.SplitSeq(path, ".") {
		name, _, indexed := strings.Cut(part, "[")
		if t.Kind() != reflect.Struct {
			return nil
		}
		next, ok := fieldsOf(t)[name]
		if !ok {
			return nil
		}
		if t = pointedTo(next); indexed && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
			t = pointedTo(t.Elem())
		}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

func pointedTo(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// find looks for a field by its name, the nearest to the root first.
func find(name string, t reflect.Type, path string, deep int) string {
	t = pointedTo(t)
	if t.Kind() != reflect.Struct || deep == 0 || reflect.PointerTo(t).Implements(unmarshaler) {
		return ""
	}
	fields := fieldsOf(t)
	if _, ok := fields[name]; ok {
		return path + "." + name
	}
	best := ""
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		found := find(name, fields[field], path+"."+field, deep-1)
		if found != "" && (best == "" || strings.Count(found, ".") < strings.Count(best, ".")) {
			best = found
		}
	}
	return best
}
