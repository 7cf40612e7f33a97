package task

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
)

const (
	// maxBrokers bounds the brokers that a client begins with.
	maxBrokers = 20
	// maxPartitions bounds those that are named.
	maxPartitions = 1000
	// maxTopic bounds a topic's name, as Kafka does.
	maxTopic = 249
)

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// kafka checks what an input and an output have in common. The topic's name has to leave so
// much of its length.
func (p *problems) kafka(field string, k *Kafka, leaving int) {
	if len(k.Brokers) == 0 || len(k.Brokers) > maxBrokers {
		p.add(field+".brokers", "has %d addresses; name 1 to %d brokers of the cluster", len(k.Brokers), maxBrokers)
	}
	for i, broker := range k.Brokers {
		p.broker(fmt.Sprintf("%s.brokers[%d]", field, i), broker)
		if slices.Contains(k.Brokers[:i], broker) {
			p.add(fmt.Sprintf("%s.brokers[%d]", field, i), "%q is there twice; leave one out", broker)
		}
	}
	p.topic(field+".topic", k.Topic, leaving)
	if k.Credentials != "" {
		p.folder(field+".credentials", k.Credentials)
	}
}

func (p *problems) broker(field, address string) {
	host, port, err := net.SplitHostPort(address)
	number, notPort := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || notPort != nil || number == 0 {
		p.add(field, "%q is no address such as kafka.team.svc:9092", address)
	}
}

func (p *problems) topic(field, name string, leaving int) {
	switch most := maxTopic - leaving; {
	case name == "":
		p.add(field, "is missing; name the topic")
	case !topicName.MatchString(name) || name == "." || name == "..":
		p.add(field, "%q is no name of a topic, which has letters, digits, '.', '_' and '-'", name)
	case len(name) > most:
		p.add(field, "has %d characters, at most %d are allowed", len(name), most)
	}
}

func (p *problems) kafkaInput(field string, in *KafkaInput) {
	p.kafka(field, &in.Kafka, 0)
	if in.Since != nil && in.Until != nil && !in.Since.Before(*in.Until) {
		p.add(field+".until", "isn't after since; what lies between them is read")
	}
	if len(in.Partitions) == 0 {
		return
	}
	if in.Since != nil || in.Until != nil {
		p.add(field+".partitions", "are there beside since or until; say by offsets or by time what is read")
	}
	if len(in.Partitions) > maxPartitions {
		p.add(field+".partitions", "has %d partitions, at most %d are named; without any, all are read", len(in.Partitions), maxPartitions)
	}
	seen := map[int32]bool{}
	for i, partition := range in.Partitions {
		at := fmt.Sprintf("%s.partitions[%d]", field, i)
		p.partition(at, partition)
		if seen[partition.Partition] {
			p.add(at+".partition", "%d is there twice; name one range of it", partition.Partition)
		}
		seen[partition.Partition] = true
	}
}

func (p *problems) partition(field string, r KafkaRange) {
	if r.Partition < 0 {
		p.add(field+".partition", "%d is below 0; the first is 0", r.Partition)
	}
	from := int64(0)
	if r.From != nil {
		from = *r.From
	}
	if from < 0 {
		p.add(field+".from", "%d is below 0; leave it out, so that all from the first record on is read", from)
	}
	if r.To != nil && *r.To <= from {
		p.add(field+".to", "%d isn't above from, %d; it is the offset behind the last one that is read", *r.To, from)
	}
}

func (p *problems) kafkaOutput(field string, out *KafkaOutput) {
	p.kafka(field, &out.Kafka, len(MarkersSuffix))
	if out.ErrorTopic == "" {
		return
	}
	p.topic(field+".errorTopic", out.ErrorTopic, 0)
	if out.ErrorTopic == out.Topic || out.ErrorTopic == out.Markers() {
		p.add(field+".errorTopic", "%q is a topic of the output already; name another one, or leave it out", out.ErrorTopic)
	}
}

// topics checks that nothing is written to what is read.
func (p *problems) topics(t *Task) {
	in, out := t.Input.Kafka, t.Output.Kafka
	if in == nil || out == nil || !slices.ContainsFunc(in.Brokers, func(b string) bool { return slices.Contains(out.Brokers, b) }) {
		return
	}
	for field, written := range map[string]string{"output.kafka.topic": out.Topic, "output.kafka.errorTopic": out.ErrorTopic} {
		if written == in.Topic {
			p.add(field, "%q is what is read, too; results would become items of the next batch", written)
		}
	}
	if out.Markers() == in.Topic {
		p.add("input.kafka.topic", "%q is the one that says what is in the output; name the topic of the items", in.Topic)
	}
}
