package main

// rightTopics is a Batch from a topic to another one.
const rightTopics = `
apiVersion: sluice.dev/v1alpha1
kind: Batch
metadata: {name: nightly, namespace: search}
spec:
  model: ranker
  input: {kafka: {bootstrapServers: ["kafka.example.com:9092"], topic: clicks, tls: true, secretName: kafka}}
  request: {path: /v2/models/ranker/infer}
  output: {kafka: {bootstrapServers: ["kafka.example.com:9092"], topic: scores, tls: true, secretName: kafka}}
`

var mistakesInTopics = []mistake{
	{what: "a topic and a bucket", written: `spec: {input: {s3: {bucket: search, key: a}}}`, field: "spec.input.kafka, spec.input.s3", remedy: "expected exactly one"},
	{what: "an output to a topic and a volume", written: `spec: {output: {volume: {claimName: data, folder: runs/1}}}`, field: "spec.output.kafka, spec.output.volume", remedy: "expected exactly one"},
	{what: "brokers under another name", written: `spec: {input: {kafka: {brokers: ["kafka.example.com:9092"]}}}`, field: `unknown field "spec.input.kafka.brokers"`, remedy: "set spec.input.kafka.bootstrapServers"},
	{what: "topics as of a KafkaSource", written: `spec: {input: {kafka: {topics: [clicks]}}}`, field: `unknown field "spec.input.kafka.topics"`, remedy: "set spec.input.kafka.topic"},
	{what: "a group as of a KafkaSource", written: `spec: {input: {kafka: {consumerGroup: nightly}}}`, field: `unknown field "spec.input.kafka.consumerGroup"`, remedy: "leave it out"},
	{what: "net as of a KafkaSource", written: `spec: {output: {kafka: {net: {tls: {enable: true}}}}}`, field: `unknown field "spec.output.kafka.net"`, remedy: "set spec.output.kafka.tls"},
	{what: "a password in clear", written: `spec: {input: {kafka: {password: x}}}`, field: `unknown field "spec.input.kafka.password"`, remedy: "put it into a Secret"},
	{what: "since beside the topic", written: `spec: {input: {since: "2026-12-24T00:00:00Z"}}`, field: `unknown field "spec.input.since"`, remedy: "did you mean spec.input.kafka.since?"},

	// Brokers.
	{what: "no brokers", written: `spec: {input: {kafka: {bootstrapServers: []}}}`, field: "spec.input.kafka.bootstrapServers", remedy: "as in kafka.example.com:9092"},
	{what: "brokers as text", written: `spec: {input: {kafka: {bootstrapServers: "kafka.example.com:9092"}}}`, field: "spec.input.kafka.bootstrapServers", remedy: `each item of which begins with "- "`},
	{what: "brokers in one text", written: `spec: {input: {kafka: {bootstrapServers: ["a.example.com:9092,b.example.com:9092"]}}}`, field: "spec.input.kafka.bootstrapServers[0]", remedy: "write each of them as an item of its own"},
	{what: "a broker without a port", written: `spec: {output: {kafka: {bootstrapServers: ["kafka.example.com"]}}}`, field: "spec.output.kafka.bootstrapServers[0]", remedy: "as in kafka.example.com:9092"},
	{what: "a broker without a host", written: `spec: {output: {kafka: {bootstrapServers: [":9092"]}}}`, field: "spec.output.kafka.bootstrapServers[0]", remedy: "must be a host and a port"},
	{what: "a broker's port in words", written: `spec: {output: {kafka: {bootstrapServers: ["kafka.example.com:kafka"]}}}`, field: "spec.output.kafka.bootstrapServers[0]", remedy: "must be a host and a port"},
	{what: "a broker by its listener", written: `spec: {input: {kafka: {bootstrapServers: ["SASL_SSL://kafka.example.com:9093"]}}}`, field: "spec.input.kafka.bootstrapServers[0]", remedy: `give "kafka.example.com:9093", and set tls`},
	{what: "a broker with a password", written: `spec: {input: {kafka: {bootstrapServers: ["me:secret@kafka.example.com:9093"]}}}`, field: "spec.input.kafka.bootstrapServers[0]", remedy: "must be a host and a port"},
	{what: "a broker twice", written: `spec: {input: {kafka: {bootstrapServers: ["kafka.example.com:9092", "kafka.example.com:9092"]}}}`, field: "spec.input.kafka.bootstrapServers[1]", remedy: "remove one of them"},
	{what: "a login without TLS", written: `spec: {input: {kafka: {tls: null}}}`, field: "spec.input.kafka.tls", remedy: "without TLS, whoever is on the way", by: byWarning},
	{what: "TLS in quotes", written: `spec: {input: {kafka: {tls: "true"}}}`, field: "spec.input.kafka.tls", remedy: "without quotes"},
	{what: "a broker's Secret of another namespace", written: `spec: {output: {kafka: {secretName: ads/kafka}}}`, field: "spec.output.kafka.secretName", remedy: `give "kafka" alone`},

	// Topics.
	{what: "no topic", written: `spec: {input: {kafka: {topic: ""}}}`, field: "spec.input.kafka.topic", remedy: "missing field"},
	{what: "topics in one text", written: `spec: {input: {kafka: {topic: "clicks,views"}}}`, field: "spec.input.kafka.topic", remedy: "must be one topic's name"},
	{what: "a pattern of topics", written: `spec: {input: {kafka: {topic: "clicks.*"}}}`, field: "spec.input.kafka.topic", remedy: "must be one topic's name"},
	{what: "an output's topic with no room behind it", written: `spec: {output: {kafka: {topic: "` + longTopic + `"}}}`, field: "spec.output.kafka.topic", remedy: "at most 241 characters long, has 249"},
	{what: "an output to Kafka's own topic", written: `spec: {output: {kafka: {topic: __consumer_offsets}}}`, field: "spec.output.kafka.topic", remedy: "choose another"},
	{what: "a topic that is both read and written", written: `spec: {output: {kafka: {topic: clicks}}}`, field: "spec.output.kafka.topic", remedy: "answers would be taken for items; choose another"},
	{what: "errors to the topic that is read", written: `spec: {output: {kafka: {errorTopic: clicks}}}`, field: "spec.output.kafka.errorTopic", remedy: "answers would be taken for items; choose another"},
	{what: "errors to the output's topic", written: `spec: {output: {kafka: {errorTopic: scores}}}`, field: "spec.output.kafka.errorTopic", remedy: "choose another, or leave it out"},
	{what: "errors to the topic of plans", written: `spec: {output: {kafka: {errorTopic: scores.batches}}}`, field: "spec.output.kafka.errorTopic", remedy: "choose another"},
	{what: "reading the topic of plans", written: `spec: {input: {kafka: {topic: scores.batches}}}`, field: "spec.input.kafka.topic", remedy: "has no items; choose another"},

	// Ranges.
	{what: "a time without a zone", written: `spec: {input: {kafka: {since: "2026-12-24T00:00:00"}}}`, field: "spec.input.kafka.since", remedy: "as in 2026-12-24T18:00:00Z"},
	{what: "a day", written: `spec: {input: {kafka: {until: "2026-12-24"}}}`, field: "spec.input.kafka.until", remedy: "as in 2026-12-24T18:00:00Z"},
	{what: "a time in milliseconds", written: `spec: {input: {kafka: {since: 1798070400000}}}`, field: "spec.input.kafka.since", remedy: "must be text"},
	{what: "until before since", written: `spec: {input: {kafka: {since: "2026-12-24T00:00:00Z", until: "2026-12-24T00:00:00+01:00"}}}`, field: "spec.input.kafka.until", remedy: "must be after since"},
	{what: "a time before there were any", written: `spec: {input: {kafka: {since: "1969-12-31T23:59:59.999Z"}}}`, field: "spec.input.kafka.since", remedy: "leave it out"},
	{what: "times and offsets", written: `spec: {input: {kafka: {since: "2026-12-24T00:00:00Z", partitions: [{partition: 0}]}}}`, field: "spec.input.kafka.partitions", remedy: "by offsets or by times"},
	{what: "partitions by their numbers", written: `spec: {input: {kafka: {partitions: [0, 1]}}}`, field: "spec.input.kafka.partitions[0]", remedy: "must have fields"},
	{what: "a partition below the first", written: `spec: {input: {kafka: {partitions: [{partition: -1}]}}}`, field: "spec.input.kafka.partitions[0].partition", remedy: "at least 0"},
	{what: "a partition twice", written: `spec: {input: {kafka: {partitions: [{partition: 0, to: 9}, {partition: 0, from: 9}]}}}`, field: "spec.input.kafka.partitions[1].partition", remedy: "write one range for it"},
	{what: "an offset below the first", written: `spec: {input: {kafka: {partitions: [{partition: 0, from: -2}]}}}`, field: "spec.input.kafka.partitions[0].from", remedy: "leave it out to read from the first record on"},
	{what: "an empty range", written: `spec: {input: {kafka: {partitions: [{partition: 0, from: 5, to: 5}]}}}`, field: "spec.input.kafka.partitions[0].to", remedy: "must be above from"},
	{what: "an offset in quotes", written: `spec: {input: {kafka: {partitions: [{partition: 0, from: "5"}]}}}`, field: "spec.input.kafka.partitions[0].from", remedy: "take the quotes away: 5"},
}

// longTopic is as long as Kafka takes one.
const longTopic = "clicks-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-01234567890"
