package resources

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// Where a pod of a run has what it reads and writes.
	inputFolder       = "/input"
	outputFolder      = "/output"
	inputCredentials  = "/etc/sluice/input"
	outputCredentials = "/etc/sluice/output"

	// leastShards is into how many shards an input is divided, at most, where few work on it;
	// shardsPerWorker where many do: so that those who are done first take up more, and more
	// can be asked to work later on.
	leastShards, shardsPerWorker = 32, 4
)

// encodeTask is what a pod of a run is told, as the value of its variable. The Batch has its
// defaults, and the Model its address.
func encodeTask(b *v1alpha1.Batch, model string, w Worker) (string, error) {
	s := &b.Spec
	t := task.Task{
		Namespace: b.Namespace, Name: b.Name, UID: string(b.UID),
		Model: strings.TrimRight(model, "/"), Credits: w.Credits,
		Input: inputOf(&s.Input), Output: outputOf(&s.Output),
		Format:  task.Format(s.Format.Type),
		Request: task.Request{Path: s.Request.Path, Headers: s.Request.Headers, Timeout: task.Duration(s.Request.Timeout.Duration)},
		Retry: task.Retry{
			Attempts: int(*s.Retry.Attempts), MinBackoff: task.Duration(s.Retry.Delay.Duration), MaxBackoff: task.Duration(s.Retry.MaxDelay.Duration),
			Patience: task.Duration(patience),
		},
		MaxFailedItems: s.MaxFailedItems,
		Bounds: task.Bounds{
			Shards: int(min(max(leastShards, shardsPerWorker**s.Workers), task.MaxShards)), Workers: int(*s.Workers), HeldBytes: heldOf(b), SpoolBytes: spoolOf(b),
		},
	}
	if s.Format.Rows != nil {
		t.Request.Rows = int(*s.Format.Rows)
	}
	content, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("writing the task as JSON: %w", err)
	}
	if _, err := task.Parse(content); err != nil {
		return "", err
	}
	return string(content), nil
}

// patience is how long a pod waits for a Model or a store that is away before it ends, and
// its Job starts it again later.
const patience = 10 * time.Minute

func inputOf(in *v1alpha1.BatchInput) task.Input {
	switch {
	case in.S3 != nil:
		return task.Input{Store: bucketOf(&in.S3.BatchS3Bucket, inputCredentials), Key: in.S3.Key, Prefix: in.S3.Prefix}
	case in.HTTP != nil:
		return task.Input{URLs: in.HTTP.URLs}
	case in.ConfigMap != nil:
		return task.Input{Store: task.Store{Volume: inputFolder}, Key: in.ConfigMap.Key}
	case in.Volume != nil && in.Volume.File != "":
		return task.Input{Store: task.Store{Volume: inputFolder}, Key: in.Volume.File}
	case in.Volume != nil:
		return task.Input{Store: task.Store{Volume: inputFolder}, Prefix: below(in.Volume.Folder)}
	case in.Kafka != nil:
		return task.Input{Kafka: topicToRead(in.Kafka)}
	}
	return task.Input{}
}

func outputOf(out *v1alpha1.BatchOutput) task.Output {
	switch {
	case out.S3 != nil:
		return task.Output{Store: bucketOf(&out.S3.BatchS3Bucket, outputCredentials), Prefix: below(out.S3.Prefix)}
	case out.Volume != nil:
		return task.Output{Store: task.Store{Volume: outputFolder}, Prefix: below(out.Volume.Folder)}
	case out.Kafka != nil:
		return task.Output{Kafka: &task.KafkaOutput{Kafka: topicOf(&out.Kafka.BatchKafkaTopic, outputCredentials), ErrorTopic: out.Kafka.ErrorTopic}}
	}
	return task.Output{}
}

// below is what the names of all objects of a folder begin with.
func below(folder string) string {
	if clean := path.Clean(folder); clean != "." {
		return clean + "/"
	}
	return ""
}

func bucketOf(b *v1alpha1.BatchS3Bucket, credentials string) task.Store {
	s3 := &task.S3{Endpoint: b.Endpoint, Region: b.Region, Bucket: b.Bucket}
	if b.SecretName != "" {
		s3.Credentials = credentials
	}
	return task.Store{S3: s3}
}

func topicToRead(in *v1alpha1.BatchKafkaInput) *task.KafkaInput {
	read := &task.KafkaInput{Kafka: topicOf(&in.BatchKafkaTopic, inputCredentials)}
	read.Since, read.Until = in.Times()
	for _, p := range in.Partitions {
		read.Partitions = append(read.Partitions, task.KafkaRange{Partition: p.Partition, From: p.From, To: p.To})
	}
	return read
}

func topicOf(t *v1alpha1.BatchKafkaTopic, credentials string) task.Kafka {
	k := task.Kafka{Brokers: t.BootstrapServers, Topic: t.Topic, TLS: t.TLS}
	if t.SecretName != "" {
		k.Credentials = credentials
	}
	return k
}
