package v1alpha1

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
)

// batch is one that is right. What is wrong with others is told in cmd/webhook, as who
// writes them reads it.
func batch(changes ...func(*Batch)) *Batch {
	b := &Batch{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "nightly", UID: "u"}}
	b.Spec.Model, b.Spec.Request.Path = "ranker", "/v2/models/ranker/infer"
	b.Spec.Input.S3 = &BatchS3Input{BatchS3Bucket: BatchS3Bucket{Bucket: "search", SecretName: "store"}, Key: "items.jsonl"}
	b.Spec.Output.S3 = &BatchS3Output{BatchS3Bucket: BatchS3Bucket{Bucket: "search", SecretName: "store"}, Prefix: "runs/1"}
	b.SetDefaults(context.Background())
	for _, change := range changes {
		change(b)
	}
	return b
}

func begun(b *Batch) { b.Status.StartTime = &metav1.Time{Time: time.Unix(1, 0)} }

// mayChange are the fields that stay free once the run has begun.
var mayChange = []string{"suspend", "workers", "maxReplicas", "deadline", "ttlAfterFinished"}

// Each field either can't change once the run has begun, or is one of the few that may.
func TestBatchFieldsAreFrozenOrFree(t *testing.T) {
	t.Parallel()
	frozen := batch().Spec.frozen()
	fields := reflect.TypeFor[BatchSpec]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if _, is := frozen[name]; is == slices.Contains(mayChange, name) {
			t.Errorf("spec.%s is frozen: %t, and may change: %t", name, is, !is)
		}
	}
	if want := fields.NumField(); len(frozen)+len(mayChange) != want {
		t.Errorf("%d fields are frozen and %d free, want %d in all", len(frozen), len(mayChange), want)
	}
}

func TestBatchUpdates(t *testing.T) {
	t.Parallel()
	one, yes := int32(1), true
	frozen := map[string]func(*Batch){
		"spec.model":              func(b *Batch) { b.Spec.Model = "other" },
		"spec.input":              func(b *Batch) { b.Spec.Input.S3.Key = "other.jsonl" },
		"spec.format":             func(b *Batch) { b.Spec.Format = BatchFormat{Type: FormatRows, Rows: &one} },
		"spec.request":            func(b *Batch) { b.Spec.Request.Headers = map[string]string{"X-A": "1"} },
		"spec.output":             func(b *Batch) { b.Spec.Output.S3.Prefix = "runs/2" },
		"spec.retry":              func(b *Batch) { b.Spec.Retry.Attempts = &one },
		"spec.maxFailedItems":     func(b *Batch) { b.Spec.MaxFailedItems = new(int64) },
		"spec.serviceAccountName": func(b *Batch) { b.Spec.ServiceAccountName = "other" },
		"spec.resources": func(b *Batch) {
			b.Spec.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
		},
	}
	for field, change := range frozen {
		before, after := batch(begun), batch(begun, change)
		err := after.Validate(apis.WithinUpdate(context.Background(), before))
		if err == nil || len(err.WrappedErrors()) != 1 || err.WrappedErrors()[0].Paths[0] != field {
			t.Errorf("%s: got %v", field, err)
		}
		before, after = batch(), batch(change)
		if err := after.Validate(apis.WithinUpdate(context.Background(), before)); err != nil {
			t.Errorf("%s, of a run that hasn't begun: %v", field, err)
		}
	}
	if want := len(batch().Spec.frozen()); len(frozen) != want {
		t.Errorf("%d fields are tried, want %d", len(frozen), want)
	}
	free := func(b *Batch) {
		b.Spec.Suspend, b.Spec.Workers, b.Spec.MaxReplicas = yes, &one, &one
		b.Spec.Deadline, b.Spec.TTLAfterFinished = &metav1.Duration{Duration: time.Hour}, &metav1.Duration{}
	}
	// What was accepted by an earlier version isn't held up by what has become stricter.
	accepted := func(b *Batch) { b.Spec.Input.S3.Bucket = "Of_Old" }
	for name, of := range map[string][2]*Batch{
		"what may change":                   {batch(begun), batch(begun, free)},
		"of what would be refused now":      {batch(begun, accepted), batch(begun, accepted, free)},
		"without the defaults of a version": {batch(begun, func(b *Batch) { b.Spec.Retry = BatchRetry{} }), batch(begun)},
	} {
		if err := of[1].Validate(apis.WithinUpdate(context.Background(), of[0])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bounds := batch(begun, func(b *Batch) { b.Spec.Workers = new(int32) })
	if err := bounds.Validate(apis.WithinUpdate(context.Background(), batch(begun))); err == nil || !strings.Contains(err.Error(), "spec.workers") {
		t.Errorf("no workers: got %v", err)
	}
}

// Who changes a run that is over is told that nothing comes of it.
func TestBatchUpdateAfterItsEnd(t *testing.T) {
	t.Parallel()
	over := func(b *Batch) { begun(b); b.Status.MarkCompleted(time.Unix(9, 0)) }
	for name, test := range map[string]struct {
		change func(*Batch)
		warned bool
	}{
		"suspended":           {func(b *Batch) { b.Spec.Suspend = true }, true},
		"kept for longer":     {func(b *Batch) { b.Spec.TTLAfterFinished = &metav1.Duration{Duration: time.Hour} }, false},
		"labelled, and so on": {func(b *Batch) { b.Labels = map[string]string{"a": "b"} }, false},
	} {
		err := batch(over, test.change).Validate(apis.WithinUpdate(context.Background(), batch(over)))
		if warned := err.Filter(apis.WarningLevel) != nil; warned != test.warned || err.Filter(apis.ErrorLevel) != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestBatchIsDeletable(t *testing.T) {
	t.Parallel()
	b := batch(func(b *Batch) { b.Spec.Model, b.DeletionTimestamp = "", &metav1.Time{Time: time.Unix(1, 0)} })
	if err := b.Validate(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestSameOutput(t *testing.T) {
	t.Parallel()
	toVolume := func(claim, folder string) func(*Batch) {
		return func(b *Batch) {
			b.Spec.Output = BatchOutput{Volume: &BatchVolumeOutput{ClaimName: claim, Folder: folder}}
		}
	}
	toTopic := func(b *Batch) {
		b.Spec.Output = BatchOutput{Kafka: &BatchKafkaOutput{BatchKafkaTopic: BatchKafkaTopic{BootstrapServers: []string{"a:9092"}, Topic: "scores"}}}
	}
	prefix := func(prefix string) func(*Batch) { return func(b *Batch) { b.Spec.Output.S3.Prefix = prefix } }
	for _, test := range []struct {
		name        string
		mine, their func(*Batch)
		want        bool
	}{
		{"the same", prefix("runs/1"), prefix("runs/1"), true},
		{"with a slash behind it", prefix("runs/1"), prefix("runs/1/"), true},
		{"one that begins alike", prefix("runs/1"), prefix("runs/10"), false},
		{"another bucket", prefix("runs/1"), func(b *Batch) { b.Spec.Output.S3.Bucket = "other" }, false},
		{"another store", prefix("runs/1"), func(b *Batch) { b.Spec.Output.S3.Endpoint = "https://s3.example.com" }, false},
		{"another kind", prefix("runs/1"), toVolume("data", "runs/1"), false},
		{"the same folder", toVolume("data", "runs/1"), toVolume("data", "runs/1/"), true},
		{"the same topic, which two may have", toTopic, toTopic, false},
		{"the same folder of another volume", toVolume("data", "runs/1"), toVolume("other", "runs/1"), false},
	} {
		mine, theirs := batch(test.mine), batch(test.their)
		if mine.SameOutput(theirs) != test.want || theirs.SameOutput(mine) != test.want {
			t.Errorf("%s: want %t", test.name, test.want)
		}
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	key := func(key string) func(*Batch) {
		return func(b *Batch) {
			b.Spec.Input = BatchInput{S3: &BatchS3Input{BatchS3Bucket: BatchS3Bucket{Bucket: "search", SecretName: "store"}, Key: key}}
		}
	}
	file := func(file string) func(*Batch) {
		return func(b *Batch) {
			b.Spec.Input = BatchInput{Volume: &BatchVolumeInput{ClaimName: "data", File: file}}
		}
	}
	toVolume := func(b *Batch) {
		b.Spec.Output = BatchOutput{Volume: &BatchVolumeOutput{ClaimName: "data", Folder: "runs/1"}}
	}
	for _, test := range []struct {
		name        string
		mine, their func(*Batch)
		want        bool
	}{
		{"a result", key("runs/1/results/0.jsonl"), func(*Batch) {}, true},
		{"what was read", key("in/1.jsonl"), func(*Batch) {}, false},
		{"one that begins alike", key("runs/10/results/0.jsonl"), func(*Batch) {}, false},
		{"a result of another bucket", key("runs/1/results/0.jsonl"), func(b *Batch) { b.Spec.Output.S3.Bucket = "other" }, false},
		{"results of many", func(b *Batch) { key("")(b); b.Spec.Input.S3.Prefix = "runs/" }, func(*Batch) {}, true},
		{"a file of results", file("runs/1/results/0.jsonl"), toVolume, true},
		{"a file beside", file("in/1.jsonl"), toVolume, false},
		{"another kind", key("runs/1/results/0.jsonl"), toVolume, false},
	} {
		if got := batch(test.mine).Reads(batch(test.their)); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

// Defaults don't contradict what is set, and are the same a second time.
func TestBatchDefaults(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Batch){
		"nothing":         func(*Batch) {},
		"rows":            func(b *Batch) { b.Spec.Format.Type = FormatRows },
		"a long delay":    func(b *Batch) { b.Spec.Retry.Delay = &metav1.Duration{Duration: 10 * time.Minute} },
		"a short longest": func(b *Batch) { b.Spec.Retry.MaxDelay = &metav1.Duration{Duration: 20 * time.Millisecond} },
	} {
		b := batch()
		b.Spec.Format, b.Spec.Retry, b.Spec.Workers, b.Spec.Request.Timeout = BatchFormat{}, BatchRetry{}, nil, nil
		change(b)
		b.SetDefaults(t.Context())
		if err := b.Validate(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s := b.Spec
		if s.Format.Type == "" || s.Workers == nil || s.Request.Timeout == nil || s.Retry.Attempts == nil || s.Retry.Delay == nil || s.Retry.MaxDelay == nil {
			t.Errorf("%s: something is unset: %+v", name, s)
		}
		again := b.DeepCopy()
		again.SetDefaults(t.Context())
		if !reflect.DeepEqual(b, again) {
			t.Errorf("%s: the defaults change what has them", name)
		}
	}
}
