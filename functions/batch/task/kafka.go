package task

import "time"

const (
	// ContentTypeHeader is the header of an input's record that says what its value is, of
	// Format Objects; without one it is application/octet-stream.
	ContentTypeHeader = "content-type"
	// BatchHeader is the header of an output's record that says which batch it is of, as
	// namespace/name.
	BatchHeader = "sluice-batch"
	// UIDHeader is the one that holds the batch's UID.
	UIDHeader = "sluice-batch-uid"
	// MarkersSuffix is what the name of an output's topic is followed by in that of the one
	// that holds batches' plans, and which of their parts are in the output.
	MarkersSuffix = ".batches"
)

// Kafka is a topic of a Kafka cluster.
type Kafka struct {
	// Brokers are some of the cluster's, as host:port. They name the others.
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
	// TLS is true where brokers are spoken to by TLS.
	TLS bool `json:"tls,omitempty"`
	// Credentials is the folder at which the Secret is mounted: UsernameFile, PasswordFile and
	// MechanismFile, AuthorityFile, each if it is there. Without one nobody says who asks.
	Credentials string `json:"credentials,omitempty"`
}

// KafkaInput is what is read of a topic, committed records alone. Without a range it is what
// is there when the input is planned.
type KafkaInput struct {
	Kafka
	// Since and Until bound the records of each partition by their timestamps: from the first
	// that isn't before Since, up to and without the first that isn't before Until.
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	// Partitions are those that are read, by offsets; without any, all are.
	Partitions []KafkaRange `json:"partitions,omitempty"`
}

// KafkaRange is what is read of a partition: the offsets From, the first that is there without
// one, up to and without To, the end that there is when the input is planned.
type KafkaRange struct {
	Partition int32  `json:"partition"`
	From      *int64 `json:"from,omitempty"`
	To        *int64 `json:"to,omitempty"`
}

// KafkaOutput is where records go.
type KafkaOutput struct {
	Kafka
	// ErrorTopic is where those of items that have failed go again; without one they don't.
	ErrorTopic string `json:"errorTopic,omitempty"`
}

// Markers is the name of the topic that says what is in the output.
func (o *KafkaOutput) Markers() string { return o.Topic + MarkersSuffix }
