package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// MarkHeader is the header, with the batch's name, that marks its requests: the limit holds
	// them to what online demand leaves.
	MarkHeader = "Sluice-Batch"
	// KeyHeader names the item that a request is about
	// (draft-ietf-httpapi-idempotency-key-header).
	KeyHeader = "Idempotency-Key"
	// Variable is the environment variable that holds a worker's Task, as JSON.
	Variable = "SLUICE_BATCH"
	// AccessKeyFile is the file of a folder of credentials, and the key of the Secret that it
	// is mounted from, that holds the access key's ID.
	AccessKeyFile = "accessKeyID"
	// SecretKeyFile is the one that holds the secret.
	SecretKeyFile = "secretAccessKey"
	// UsernameFile is the one that holds the name of a Kafka cluster's user.
	UsernameFile = "username"
	// PasswordFile is the one that holds the user's password; where one is there, so is the other.
	PasswordFile = "password"
	// MechanismFile holds how a user says who it is: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512,
	// which it is without one.
	MechanismFile = "mechanism"
	// AuthorityFile holds the certificates of those who vouch for a Kafka cluster's brokers, as
	// PEM. Without one they are those that the worker's image has.
	AuthorityFile = "ca.crt"
	// PodVariable is the environment variable that holds the worker's name: its pod's.
	PodVariable = "POD_NAME"
	// TokenFile is the file that tells whom the worker asks for credits who it is.
	TokenFile = "token"
	// TokenFolder is where that is.
	TokenFolder = "/var/run/secrets/sluice.dev/credits"
	// TokenAudience is whom the token is for.
	TokenAudience = "sluice.dev/batch"
)

// Task is all that a worker knows of its batch. Which shard is its own it knows from its
// Job.
type Task struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Model is the URL of the Model's cluster-local entry: scheme and host.
	Model string `json:"model"`
	// Credits is the URL of what leases the part of the Model's limit that online demand
	// leaves.
	Credits string  `json:"credits"`
	Input   Input   `json:"input"`
	Format  Format  `json:"format"`
	Request Request `json:"request"`
	Output  Output  `json:"output"`
	Retry   Retry   `json:"retry"`
	// MaxFailedItems is how many items may fail; nil means any number. A worker counts those
	// of its shard, and ends once they are more.
	MaxFailedItems *int64 `json:"maxFailedItems,omitempty"`
	Bounds         Bounds `json:"bounds"`
}

// Store is where objects are: exactly one of its fields.
type Store struct {
	S3 *S3 `json:"s3,omitempty"`
	// Volume is the folder at which a volume is mounted.
	Volume string `json:"volume,omitempty"`
}

// S3 is a bucket of an S3-compatible store.
type S3 struct {
	// Endpoint is a URL; without one it is Amazon's of the region.
	Endpoint string `json:"endpoint,omitempty"`
	Region   string `json:"region,omitempty"`
	Bucket   string `json:"bucket"`
	// Credentials is the folder at which the Secret is mounted. Without one they are those
	// of the pod, as Amazon's SDK finds them.
	Credentials string `json:"credentials,omitempty"`
}

// Input is what the items are read from: a store's object or objects, URLs, or a topic.
type Input struct {
	Store
	// Key is the one object to read, Prefix begins the names of all of them.
	Key    string `json:"key,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// URLs are read in this order, by ranges.
	URLs []string `json:"urls,omitempty"`
	// Kafka is a topic, each of whose records is an item.
	Kafka *KafkaInput `json:"kafka,omitempty"`
}

// Output is where results go: to objects whose names begin with a prefix, or to a topic.
type Output struct {
	Store
	Prefix string `json:"prefix,omitempty"`
	// Kafka is a topic, which others may use as well.
	Kafka *KafkaOutput `json:"kafka,omitempty"`
}

// Format is how the input is cut into items.
type Format string

const (
	// Lines are requests' bodies in JSON, one a line, of which empty ones are none; or one a
	// record of a topic.
	Lines Format = "Lines"
	// Objects are a request's body each, of whatever bytes. So are a topic's records, whose
	// header ContentTypeHeader says what they are.
	Objects Format = "Objects"
	// Rows are requests of the Open Inference Protocol, version 2, one a line or record. They
	// are gathered into larger ones, and the answers cut again.
	Rows Format = "Rows"
)

// Request is what all requests have in common; they are POSTs.
type Request struct {
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout bounds one request, with its answer.
	Timeout Duration `json:"timeout"`
	// Rows is how many rows are gathered into a request, of Format Rows.
	Rows int `json:"rows,omitempty"`
}

// Retry is how often a request is sent again, and when.
type Retry struct {
	// Attempts bounds how often the Model is asked about an item. Answers that tell to
	// come later don't count.
	Attempts int `json:"attempts"`
	// MinBackoff is waited before the second attempt, more before each further one, up to
	// MaxBackoff.
	MinBackoff Duration `json:"minBackoff"`
	MaxBackoff Duration `json:"maxBackoff"`
	// Patience is how long a worker waits for a Model that tells it to come later or can't
	// be reached, and for a store that is away.
	Patience Duration `json:"patience"`
}

// Bounds are a worker's own.
type Bounds struct {
	// PartItems and PartBytes bound a part of the input: what is asked again at most when a
	// worker is killed. Both grow with inputs of very many parts.
	PartItems int64 `json:"partItems"`
	PartBytes int64 `json:"partBytes"`
	// Shards bounds how many shards there are: what can be worked on side by side.
	Shards int `json:"shards"`
	// Workers is how many are worked on at the same time, as far as is known: each worker has as
	// many shards, where there are more than workers.
	Workers int `json:"workers"`
	// Concurrency bounds the requests in flight of a worker.
	Concurrency int `json:"concurrency"`
	// ItemBytes bounds an item's body, AnswerBytes an answer's.
	ItemBytes   int64 `json:"itemBytes"`
	AnswerBytes int64 `json:"answerBytes"`
	// HeldBytes bounds what a worker holds of items at a time, from when they are read until they have
	// a record, and twice what it holds of large answers; an item that is larger is held alone.
	HeldBytes int64 `json:"heldBytes"`
	// SpoolBytes bounds the results of a part, which are kept on the pod's disk until they
	// are put. Two parts may be there at a time.
	SpoolBytes int64 `json:"spoolBytes"`
}

// Duration is one that JSON has as Go writes it, such as 30s.
type Duration time.Duration

// MarshalText writes it as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what Go reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration such as 30s", text)
	}
	*d = Duration(parsed)
	return nil
}

// Parse reads a Task, sets what it leaves out, and validates it.
func Parse(content []byte) (*Task, error) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	t := &Task{}
	if err := decoder.Decode(t); err != nil {
		return nil, fmt.Errorf("decoding the task: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decoding the task: more follows it")
	}
	t.SetDefaults()
	return t, t.Validate()
}

// SetDefaults sets what is left out.
func (t *Task) SetDefaults() {
	set(&t.Format, Lines)
	set(&t.Request.Timeout, Duration(5*time.Minute))
	if t.Format == Rows {
		set(&t.Request.Rows, 64)
	}
	set(&t.Retry.Attempts, 5)
	set(&t.Retry.MinBackoff, Duration(500*time.Millisecond))
	set(&t.Retry.MaxBackoff, Duration(30*time.Second))
	set(&t.Retry.Patience, Duration(10*time.Minute))
	set(&t.Bounds.PartItems, 1000)
	set(&t.Bounds.PartBytes, 16<<20)
	set(&t.Bounds.Shards, 32)
	set(&t.Bounds.Workers, 1)
	set(&t.Bounds.Concurrency, 32)
	set(&t.Bounds.ItemBytes, 4<<20)
	set(&t.Bounds.AnswerBytes, 8<<20)
	set(&t.Bounds.HeldBytes, 64<<20)
	set(&t.Bounds.SpoolBytes, 1<<30)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
