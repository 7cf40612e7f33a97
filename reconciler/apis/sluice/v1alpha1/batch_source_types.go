package v1alpha1

// BatchInput is where items are: exactly one of its fields is set.
type BatchInput struct {
	// S3 reads from an S3-compatible object store.
	// +optional
	S3 *BatchS3Input `json:"s3,omitempty"`
	// HTTP reads what is at URLs.
	// +optional
	HTTP *BatchHTTPInput `json:"http,omitempty"`
	// Volume reads a file of a PersistentVolumeClaim, or those of a folder.
	// +optional
	Volume *BatchVolumeInput `json:"volume,omitempty"`
	// ConfigMap reads a key of a ConfigMap, for small inputs.
	// +optional
	ConfigMap *BatchConfigMapInput `json:"configMap,omitempty"`
	// Kafka reads a topic: each record is one item.
	// +optional
	Kafka *BatchKafkaInput `json:"kafka,omitempty"`
}

// BatchOutput is where answers go, and errors: exactly one of its fields is set.
type BatchOutput struct {
	// S3 writes objects below a prefix of an S3-compatible object store: results/ has a record
	// of each item, in the order of the input, errors/ those of the items that failed again.
	// +optional
	S3 *BatchS3Output `json:"s3,omitempty"`
	// Volume writes files of the same names into a folder of a PersistentVolumeClaim.
	// +optional
	Volume *BatchVolumeOutput `json:"volume,omitempty"`
	// Kafka writes a record of each item to a topic, those of a part of the input in one
	// transaction.
	// +optional
	Kafka *BatchKafkaOutput `json:"kafka,omitempty"`
}

// BatchS3Bucket is a bucket and how it is reached.
type BatchS3Bucket struct {
	// Bucket is its name.
	Bucket string `json:"bucket"`
	// Endpoint is the store's URL, as in https://s3.example.com, at which buckets are the first
	// part of the path. AWS's own where it is unset.
	// +optional
	Endpoint string `json:"endpoint,omitempty"`
	// Region of the bucket: us-east-1 where it is unset.
	// +optional
	Region string `json:"region,omitempty"`
	// SecretName names a Secret in the Batch's namespace with the keys accessKeyID and
	// secretAccessKey. Without one, the pods' own identity is used, if they have one there,
	// or else none.
	// +optional
	SecretName string `json:"secretName,omitempty"`
}

// BatchS3Input is one object, or those of a prefix.
type BatchS3Input struct {
	BatchS3Bucket `json:",inline"`

	// Key of one object.
	// +optional
	Key string `json:"key,omitempty"`
	// Prefix reads all objects whose keys begin with it, in the order of their keys. Those
	// that come after the run has begun aren't read.
	// +optional
	Prefix string `json:"prefix,omitempty"`
}

// BatchS3Output is a prefix to write below.
type BatchS3Output struct {
	BatchS3Bucket `json:",inline"`

	// Prefix that the keys of all objects begin with. No object is there before the run.
	Prefix string `json:"prefix"`
}

// BatchHTTPInput is what is at URLs.
type BatchHTTPInput struct {
	// URLs of it, http or https, in the order in which they are read. Their servers have to
	// answer requests for ranges. At most 1000.
	URLs []string `json:"urls"`
}

// BatchVolumeInput is one file of a volume, or those of a folder.
type BatchVolumeInput struct {
	// ClaimName names a PersistentVolumeClaim in the Batch's namespace.
	ClaimName string `json:"claimName"`
	// File is the path of one within the volume, as in data/items.jsonl.
	// +optional
	File string `json:"file,omitempty"`
	// Folder is the path of one within the volume: all files below it are read, in the order
	// of their paths. The volume's own is a dot.
	// +optional
	Folder string `json:"folder,omitempty"`
}

// BatchVolumeOutput is a folder to write to.
type BatchVolumeOutput struct {
	// ClaimName names a PersistentVolumeClaim in the Batch's namespace. Workers on several
	// nodes need one that can be mounted there (ReadWriteMany).
	ClaimName string `json:"claimName"`
	// Folder is the path of one within the volume, as in runs/1. It needn't be there.
	Folder string `json:"folder"`
}

// BatchConfigMapInput is a key of a ConfigMap.
type BatchConfigMapInput struct {
	// Name of the ConfigMap, in the Batch's namespace.
	Name string `json:"name"`
	// Key of the input in it.
	Key string `json:"key"`
}
