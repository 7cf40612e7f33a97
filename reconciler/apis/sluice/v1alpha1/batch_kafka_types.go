package v1alpha1

// BatchKafkaTopic is a topic and how it is reached.
type BatchKafkaTopic struct {
	// BootstrapServers are brokers of the cluster, as in kafka.example.com:9092, from which the
	// others are known: 1 to 20.
	BootstrapServers []string `json:"bootstrapServers"`
	// Topic is its name.
	Topic string `json:"topic"`
	// TLS is true where the brokers are spoken to over TLS.
	// +optional
	TLS bool `json:"tls,omitempty"`
	// SecretName names a Secret in the Batch's namespace with the keys username and password of
	// a login by SASL, mechanism, which is SCRAM-SHA-512 where it isn't there, or SCRAM-SHA-256
	// or PLAIN, and ca.crt, the certificates of the authorities by whom brokers are known, where
	// these aren't publicly known. Those that aren't needed are left out.
	// +optional
	SecretName string `json:"secretName,omitempty"`
}

// BatchKafkaInput is what is in a topic when the run is planned, or a range of it. It is read as
// committed, and by no consumer group.
type BatchKafkaInput struct {
	BatchKafkaTopic `json:",inline"`

	// Since leaves out what is in a partition before its first record of this time, or of a
	// later one, as in 2026-12-24T00:00:00Z.
	// +optional
	Since string `json:"since,omitempty"`
	// Until leaves out the first record of this time, or of a later one, and what is behind it
	// in its partition. What comes to the topic once the run is planned isn't waited for.
	// +optional
	Until string `json:"until,omitempty"`
	// Partitions are those that are read, at most 1000, each once; all of them where none is
	// named. They are instead of Since and Until.
	// +optional
	Partitions []BatchKafkaPartition `json:"partitions,omitempty"`
}

// BatchKafkaPartition is a range of a partition.
type BatchKafkaPartition struct {
	// Partition is its number; the first is 0.
	Partition int32 `json:"partition"`
	// From is the offset of the first record: the first one that is there where it is unset.
	// +optional
	From *int64 `json:"from,omitempty"`
	// To is the offset behind the last record: that of the next one that will come, when the run
	// is planned, where it is unset.
	// +optional
	To *int64 `json:"to,omitempty"`
}

// BatchKafkaOutput is a topic to write to. Others may write to it, too.
type BatchKafkaOutput struct {
	BatchKafkaTopic `json:",inline"`

	// ErrorTopic is one, of the same cluster, that has the records of the items that failed
	// again. They are among the others alone where it is unset.
	// +optional
	ErrorTopic string `json:"errorTopic,omitempty"`
}
