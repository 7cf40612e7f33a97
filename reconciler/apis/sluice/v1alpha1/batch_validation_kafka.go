package v1alpha1

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"knative.dev/pkg/apis"
)

const (
	maxBootstrapServers = 20
	maxKafkaPartitions  = 1000
	// lastYear is the last one that a time can be written with.
	lastYear = 9999
	// maxTopicName is Kafka's.
	maxTopicName = 249
	// markersSuffix follows an output's topic in the name of the one that tells what is in it.
	markersSuffix = ".batches"
	// listenerSeparator is what a broker's configuration has before an address.
	listenerSeparator = "://"
)

var (
	topicName  = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	brokerHost = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	// kafkasOwn are topics that clients don't write to.
	kafkasOwn = []string{"__consumer_offsets", "__transaction_state", "__share_group_state"}
)

func (t *BatchKafkaTopic) validate(longest int) *apis.FieldError {
	errs := validateBootstrapServers(t.BootstrapServers).Also(validateTopic("topic", t.Topic, longest), validateSecret(t.SecretName))
	if t.SecretName != "" && !t.TLS {
		errs = errs.Also(warning("without TLS, whoever is on the way to the brokers reads what is sent there, and with mechanism PLAIN the password; set it, unless they are reached by a network of your own", "tls"))
	}
	return errs
}

func validateBootstrapServers(servers []string) *apis.FieldError {
	switch n := len(servers); {
	case n == 0:
		err := apis.ErrMissingField("bootstrapServers")
		err.Details = "name brokers of the cluster, as in kafka.example.com:9092"
		return err
	case n > maxBootstrapServers:
		return invalid("bootstrapServers", "must be at most %d, are %d; the others are known from the first that answers", maxBootstrapServers, n)
	}
	var errs *apis.FieldError
	for i, server := range servers {
		err := validateBroker(server)
		if slices.Contains(servers[:i], server) {
			err = invalid(apis.CurrentField, "%q is there twice, remove one of them", server)
		}
		errs = errs.Also(err.ViaFieldIndex("bootstrapServers", i))
	}
	return errs
}

// validateBroker wants host:port, and nothing of what people write around it.
func validateBroker(server string) *apis.FieldError {
	listener, address, isListener := strings.Cut(server, listenerSeparator)
	host, port, err := net.SplitHostPort(server)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	switch {
	case strings.ContainsAny(server, ", "):
		return invalid(apis.CurrentField, "%q is more than one; write each of them as an item of its own", server)
	case isListener:
		return invalid(apis.CurrentField, "%q begins with %s%s; give %q, and set tls for TLS", server, listener, listenerSeparator, address)
	case err != nil && !strings.Contains(server, ":"):
		return invalid(apis.CurrentField, "%q has no port; write one behind it, as in kafka.example.com:9092", server)
	case err != nil || notNumber != nil || number == 0, net.ParseIP(host) == nil && !brokerHost.MatchString(host):
		return invalid(apis.CurrentField, "must be a host and a port, as in kafka.example.com:9092, is %q", server)
	}
	return nil
}

func validateTopic(field, topic string, longest int) *apis.FieldError {
	switch {
	case topic == "":
		return apis.ErrMissingField(field)
	case topic == ".", topic == "..", !topicName.MatchString(topic):
		return invalid(field, "must be one topic's name, of letters, digits, dots, dashes and underscores, is %q", topic)
	case len(topic) > longest:
		return invalid(field, "must be at most %d characters long, has %d", longest, len(topic))
	}
	return nil
}

func (in *BatchKafkaInput) validate() *apis.FieldError {
	errs := in.BatchKafkaTopic.validate(maxTopicName)
	since, err := parseTime("since", in.Since)
	errs = errs.Also(err)
	until, err := parseTime("until", in.Until)
	errs = errs.Also(err)
	if since != nil && until != nil && !since.Before(*until) {
		errs = errs.Also(invalid("until", "is %s, must be after since, which is %s: what is between them is read", in.Until, in.Since))
	}
	if len(in.Partitions) > 0 && (in.Since != "" || in.Until != "") {
		both := apis.ErrMultipleOneOf("partitions", "since, until")
		both.Details = "say by offsets or by times what is read"
		errs = errs.Also(both)
	}
	if n := len(in.Partitions); n > maxKafkaPartitions {
		return errs.Also(invalid("partitions", "must be at most %d, are %d; leave them out to read all", maxKafkaPartitions, n))
	}
	seen := map[int32]bool{}
	for i, p := range in.Partitions {
		errs = errs.Also(p.validate(seen[p.Partition]).ViaFieldIndex("partitions", i))
		seen[p.Partition] = true
	}
	return errs
}

func (p *BatchKafkaPartition) validate(twice bool) *apis.FieldError {
	var errs *apis.FieldError
	switch {
	case p.Partition < 0:
		errs = invalid("partition", "must be at least 0, which is the first, is %d", p.Partition)
	case twice:
		errs = invalid("partition", "%d is there twice; write one range for it", p.Partition)
	}
	from := int64(0)
	if p.From != nil {
		from = *p.From
	}
	if from < 0 {
		errs = errs.Also(invalid("from", "must be at least 0, is %d; leave it out to read from the first record on", from))
	}
	if p.To != nil && *p.To <= max(from, 0) {
		errs = errs.Also(invalid("to", "is %d, must be above from, which is %d: it is the offset behind the last record that is read", *p.To, from))
	}
	return errs
}

// parseTime reads a time that bounds what is read; nil for none.
func parseTime(field, text string) (*time.Time, *apis.FieldError) {
	if text == "" {
		return nil, nil //nolint:nilnil // none is no error
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	at = at.UTC()
	switch {
	case err != nil || at.Year() > lastYear:
		return nil, invalid(field, "must be a time with its zone, as in 2026-12-24T18:00:00Z, is %q", text)
	case at.UnixMilli() < 0:
		// Kafka counts from there, and has meanings of its own for what is below.
		return nil, invalid(field, "must not be before 1970, when the times of records begin, is %q; leave it out", text)
	}
	return &at, nil
}

// Times are those that bound what is read, as far as they can be read: nil where they don't.
func (in *BatchKafkaInput) Times() (since, until *time.Time) {
	since, _ = parseTime("since", in.Since)
	until, _ = parseTime("until", in.Until)
	return since, until
}

func (out *BatchKafkaOutput) validate() *apis.FieldError {
	errs := out.BatchKafkaTopic.validate(maxTopicName - len(markersSuffix)).Also(foreign("topic", out.Topic))
	if out.ErrorTopic == "" {
		return errs
	}
	errs = errs.Also(validateTopic("errorTopic", out.ErrorTopic, maxTopicName), foreign("errorTopic", out.ErrorTopic))
	switch out.ErrorTopic {
	case out.Topic:
		errs = errs.Also(invalid("errorTopic", "%q is the output's topic, which has the records of all items; choose another, or leave it out", out.ErrorTopic))
	case out.markers():
		errs = errs.Also(invalid("errorTopic", "%q tells what is in the output; choose another", out.ErrorTopic))
	}
	return errs
}

func foreign(field, topic string) *apis.FieldError {
	if !slices.Contains(kafkasOwn, topic) {
		return nil
	}
	return invalid(field, "%q is Kafka's own; choose another", topic)
}

// markers is the topic that tells what is in the output.
func (out *BatchKafkaOutput) markers() string { return out.Topic + markersSuffix }

// validateApart refuses to write to the topic that is read.
func (in *BatchKafkaInput) validateApart(out *BatchKafkaOutput) *apis.FieldError {
	if !in.sameCluster(&out.BatchKafkaTopic) {
		return nil
	}
	var errs *apis.FieldError
	for field, topic := range map[string]string{"topic": out.Topic, "errorTopic": out.ErrorTopic} {
		if topic != "" && topic == in.Topic {
			errs = errs.Also(invalid("output.kafka."+field, "%q is input.kafka.topic, too, so that answers would be taken for items; choose another", topic))
		}
	}
	if in.Topic != "" && in.Topic == out.markers() {
		errs = errs.Also(invalid("input.kafka.topic", "%q tells what is in output.kafka.topic, and has no items; choose another", in.Topic))
	}
	return errs
}

// sameCluster is true of those that have a broker in common. That two clusters are one can be
// known no further from here.
func (t *BatchKafkaTopic) sameCluster(other *BatchKafkaTopic) bool {
	return slices.ContainsFunc(t.BootstrapServers, func(server string) bool {
		return slices.ContainsFunc(other.BootstrapServers, func(o string) bool { return strings.EqualFold(server, o) })
	})
}
