package resources

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cases are the folders of golden files.
var cases = []string{"minimal", "full", "volumes", "rows", "topics", "partitions"}

const model = "http://ranker.search.svc.cluster.local"

var worker = Worker{Image: "registry.example.com/batch-worker@sha256:0", Credits: "http://batch.sluice-system.svc.cluster.local"}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := read(t, name)
			b.Status.MarkPlanned(100_000, 40)
			plan, work := jobs(t, b)
			golden(t, filepath.Join("testdata", name, "plan.out.yaml"), plan)
			golden(t, filepath.Join("testdata", name, "work.out.yaml"), work)
		})
	}
}

// What pods are told is what a worker reads: validation isn't held up by what was set here.
func TestWorkersReadTheirTask(t *testing.T) {
	t.Parallel()
	for _, name := range cases {
		b := read(t, name)
		b.Status.MarkPlanned(100_000, 40)
		plan, work := jobs(t, b)
		told, err := task.Parse([]byte(variable(t, plan)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(variable(t, plan), variable(t, work)); diff != "" {
			t.Errorf("%s: those who plan and those who work are told different things: %s", name, diff)
		}
		if told.UID != string(b.UID) || told.Model != model || told.Credits != worker.Credits || told.Request.Path != b.Spec.Request.Path {
			t.Errorf("%s: told %+v", name, told)
		}
		// Its disk has room for the two parts that a worker may have there.
		for _, v := range work.Spec.Template.Spec.Volumes {
			if v.Name == "spool" && v.EmptyDir.SizeLimit.Value() < 2*told.Bounds.SpoolBytes {
				t.Errorf("%s: the disk has %s for two parts of %d bytes", name, v.EmptyDir.SizeLimit, told.Bounds.SpoolBytes)
			}
		}
		hasMemory(t, work, told)
		for _, folder := range credentialsOf(told) {
			if folder != "" && !mounted(work, folder) {
				t.Errorf("%s: nothing is mounted at %s", name, folder)
			}
		}
		for _, store := range []task.Store{told.Input.Store, told.Output.Store} {
			if store.Volume != "" && !mounted(work, store.Volume) {
				t.Errorf("%s: nothing is mounted at %s", name, store.Volume)
			}
		}
	}
}

// hasMemory checks that a worker has room for what it holds and what that is made of, and that Go
// knows how much there is.
func hasMemory(t *testing.T, work *batchv1.Job, told *task.Task) {
	t.Helper()
	limit, known := work.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value(), valueOf(t, work, "GOMEMLIMIT")
	if told.Bounds.HeldBytes > limit/8 || known != strconv.FormatInt(limit/10*9, 10) {
		t.Errorf("of %d bytes of memory, items are to take %d, and Go %s", limit, told.Bounds.HeldBytes, known)
	}
}

// credentialsOf are the folders in which a worker finds whom to be.
func credentialsOf(told *task.Task) []string {
	var folders []string
	for _, s3 := range []*task.S3{told.Input.S3, told.Output.S3} {
		if s3 != nil {
			folders = append(folders, s3.Credentials)
		}
	}
	if in := told.Input.Kafka; in != nil {
		folders = append(folders, in.Credentials)
	}
	if out := told.Output.Kafka; out != nil {
		folders = append(folders, out.Credentials)
	}
	return folders
}

// However many workers there are to be, shards are enough for them, and not too many pods.
func TestShards(t *testing.T) {
	t.Parallel()
	for workers, want := range map[int32]int{1: 32, 8: 32, 9: 36, 100: 400} {
		b := read(t, "minimal")
		b.Spec.Workers = &workers
		plan, err := PlanJob(b, model, worker)
		if err != nil {
			t.Fatal(err)
		}
		told, err := task.Parse([]byte(variable(t, plan)))
		if err != nil || told.Bounds.Shards != want {
			t.Errorf("%d workers: %d shards, %v; want %d", workers, told.Bounds.Shards, err, want)
		}
		b.Status.MarkPlanned(10, 3)
		if got := Parallelism(b); got != min(workers, 3) {
			t.Errorf("%d workers of 3 shards: %d at a time", workers, got)
		}
	}
}

// A task that no worker would read makes no Job, whose pods would fail one after the other.
func TestUnreadableTask(t *testing.T) {
	t.Parallel()
	b := read(t, "minimal")
	b.Spec.Request.Path = ""
	if job, err := PlanJob(b, model, worker); err == nil {
		t.Errorf("made %v", job)
	}
	if job, err := PlanJob(read(t, "minimal"), "", worker); err == nil {
		t.Errorf("made %v of no Model", job)
	}
}

// Whatever the webhook lets in, a worker can read.
func TestWhatIsLetInMakesAJob(t *testing.T) {
	t.Parallel()
	text := rapid.SampledFrom([]string{
		"", "a", "a/", "/a", "a/b", "a//b", "../a", "./a", "a/./b", ".", "a b", "items/", "items/*", "s3://a/b", "https://example.com", "https://example.com/",
		"https://example.com/a?b=c", "ftp://example.com", "//example.com/a", "/v2/models/ranker/infer", "/a?b=c#d", "/é", "%", "/%zz", "a\nb", "bücket",
		"my-bucket", "Content-Type", "Host", "X-A", "text/plain", "a\tb", "a\x7fb",
	})
	number := rapid.SampledFrom([]int32{-1, 0, 1, 2, 100, 101, 10_000, 10_001})
	duration := rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Millisecond, 10 * time.Millisecond, time.Second, time.Hour, 1000 * time.Hour})
	times := rapid.SampledFrom([]string{"", "2026-12-24T00:00:00Z", "2026-12-24T00:00:00+01:00", "2026-12-24T00:00:00.123456789Z", "2026-12-24", "now", "1969-12-31T23:59:59.999Z", "2026-12-24T00:00:00+24:00", "9999-12-31T23:59:59-23:59"})
	brokers := rapid.SampledFrom([]string{"a:9092", "A:9092", "a:9093", "a:0", "a:09092", "a:99999", "a", ":9092", "[::1]:9092", "::1:9092", "a b:9092", "a:9092,b:9092", "SSL://a:9092"})
	topics := rapid.SampledFrom([]string{"clicks", "scores", "scores.batches", ".", "a/b", "", "clicks.*"})
	topic := func(t *rapid.T) v1alpha1.BatchKafkaTopic {
		return v1alpha1.BatchKafkaTopic{BootstrapServers: rapid.SliceOfN(brokers, 0, 3).Draw(t, "brokers"), Topic: topics.Draw(t, "topic"), TLS: rapid.Bool().Draw(t, "tls")}
	}
	changes := []func(*rapid.T, *v1alpha1.BatchSpec){
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Input.S3.Bucket = text.Draw(t, "bucket") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Input.S3.Endpoint = text.Draw(t, "endpoint") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Input.S3.Key = text.Draw(t, "key") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input.S3.Key, s.Input.S3.Prefix = "", text.Draw(t, "prefix")
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Output.S3.Prefix = text.Draw(t, "output") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Output.S3.Endpoint = text.Draw(t, "endpoint") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Request.Path = text.Draw(t, "path") },
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Request.Headers = map[string]string{text.Draw(t, "header"): text.Draw(t, "value")}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Request.Timeout = &metav1.Duration{Duration: duration.Draw(t, "timeout")}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Retry.Delay = &metav1.Duration{Duration: duration.Draw(t, "delay")}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Retry.MaxDelay = &metav1.Duration{Duration: duration.Draw(t, "longest")}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Retry.Attempts = ptr(number.Draw(t, "attempts")) },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Workers = ptr(number.Draw(t, "workers")) },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.MaxFailedItems = ptr(int64(number.Draw(t, "failed"))) },
		func(t *rapid.T, s *v1alpha1.BatchSpec) { s.Format.Rows = ptr(number.Draw(t, "rows")) },
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Format.Type = rapid.SampledFrom([]v1alpha1.BatchItemFormat{"Lines", "Objects", "Rows", "CSV"}).Draw(t, "format")
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input = v1alpha1.BatchInput{HTTP: &v1alpha1.BatchHTTPInput{URLs: rapid.SliceOfN(text, 0, 3).Draw(t, "urls")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input = v1alpha1.BatchInput{Volume: &v1alpha1.BatchVolumeInput{ClaimName: "data", File: text.Draw(t, "file")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input = v1alpha1.BatchInput{Volume: &v1alpha1.BatchVolumeInput{ClaimName: "data", Folder: text.Draw(t, "folder")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input = v1alpha1.BatchInput{ConfigMap: &v1alpha1.BatchConfigMapInput{Name: "items", Key: text.Draw(t, "key")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Output = v1alpha1.BatchOutput{Volume: &v1alpha1.BatchVolumeOutput{ClaimName: "data", Folder: text.Draw(t, "output")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			s.Input = v1alpha1.BatchInput{Kafka: &v1alpha1.BatchKafkaInput{BatchKafkaTopic: topic(t), Since: times.Draw(t, "since"), Until: times.Draw(t, "until")}}
		},
		func(t *rapid.T, s *v1alpha1.BatchSpec) {
			in := &v1alpha1.BatchKafkaInput{BatchKafkaTopic: topic(t)}
			for range rapid.IntRange(1, 3).Draw(t, "partitions") {
				p := v1alpha1.BatchKafkaPartition{Partition: number.Draw(t, "partition")}
				if rapid.Bool().Draw(t, "bounded") {
					p.From, p.To = ptr(int64(number.Draw(t, "from"))), ptr(int64(number.Draw(t, "to")))
				}
				in.Partitions = append(in.Partitions, p)
			}
			s.Input = v1alpha1.BatchInput{Kafka: in}
			if rapid.Bool().Draw(t, "both") {
				s.Output = v1alpha1.BatchOutput{Kafka: &v1alpha1.BatchKafkaOutput{BatchKafkaTopic: topic(t), ErrorTopic: topics.Draw(t, "errors")}}
			}
		},
	}
	taken := 0
	right := read(t, "full")
	rapid.Check(t, func(t *rapid.T) {
		b := right.DeepCopy()
		b.Spec.Format = v1alpha1.BatchFormat{}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			change := rapid.SampledFrom(changes).Draw(t, "change")
			// What is of another input or output than is there by now has nothing to change.
			if b.Spec.Input.S3 != nil && b.Spec.Output.S3 != nil {
				change(t, &b.Spec)
			}
		}
		b.SetDefaults(t.Context())
		if b.Validate(t.Context()).Filter(apis.ErrorLevel) != nil {
			return
		}
		taken++
		if _, err := PlanJob(b, model, worker); err != nil {
			t.Fatal(err)
		}
	})
	if taken == 0 {
		t.Error("nothing was let in")
	}
}

// What the Batch says of its pods holds, and requests are within limits.
func TestResources(t *testing.T) {
	t.Parallel()
	amounts := rapid.SampledFrom([]string{"", "50m", "200m", "64Mi", "256Mi", "2Gi"})
	rapid.Check(t, func(t *rapid.T) {
		b := &v1alpha1.Batch{}
		b.Spec.Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := amounts.Draw(t, "request"), amounts.Draw(t, "limit")
			if request != "" {
				b.Spec.Resources.Requests[name] = resource.MustParse(request)
			}
			if limit != "" {
				b.Spec.Resources.Limits[name] = resource.MustParse(limit)
			}
		}
		said := b.Spec.Resources
		for name, request := range said.Requests {
			if limit, ok := said.Limits[name]; ok && request.Cmp(limit) > 0 {
				t.Skip("refused by the webhook")
			}
		}
		got := resourcesOf(b)
		for name, limit := range got.Limits {
			if request := got.Requests[name]; request.Cmp(limit) > 0 {
				t.Fatalf("%s: requests %s, limited to %s", name, &request, &limit)
			}
		}
		for name, request := range said.Requests {
			if kept := got.Requests[name]; kept.Cmp(request) != 0 {
				t.Fatalf("%s: requests %s, asked for %s", name, &kept, &request)
			}
		}
		for name, limit := range said.Limits {
			if kept := got.Limits[name]; kept.Cmp(limit) != 0 {
				t.Fatalf("%s: limited to %s, asked for %s", name, &kept, &limit)
			}
		}
		if _, ok := got.Limits[corev1.ResourceMemory]; !ok {
			t.Fatal("memory has no limit")
		}
	})
}

// Whatever a pod may have on its disk, what its worker keeps at a time is within it, and is enough
// for an answer.
func TestDisk(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := &v1alpha1.Batch{}
		least := resource.MustParse("128Mi")
		size := int64(spoolRoom)
		if said := rapid.Int64Range(0, 1<<45).Draw(t, "said"); said >= least.Value() {
			size = said
			b.Spec.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: *resource.NewQuantity(said, resource.BinarySI)}
		}
		v, _ := volumesOf(b)
		if got := v[0].EmptyDir.SizeLimit.Value(); got != size {
			t.Fatalf("the pod's disk is of %d bytes, want %d", got, size)
		}
		// In base 64 the longest takes a third more.
		if spool := spoolOf(b); 2*spool+beside > size || spool < 2*(8<<20) {
			t.Fatalf("two parts of %d bytes each are kept on %d", spool, size)
		}
	})
}

func jobs(t *testing.T, b *v1alpha1.Batch) (plan, work *batchv1.Job) {
	t.Helper()
	plan, err := PlanJob(b, model, worker)
	if err != nil {
		t.Fatal(err)
	}
	if work, err = WorkJob(b, model, worker); err != nil {
		t.Fatal(err)
	}
	return plan, work
}

func variable(t *testing.T, job *batchv1.Job) string {
	t.Helper()
	return valueOf(t, job, task.Variable)
}

func valueOf(t *testing.T, job *batchv1.Job, name string) string {
	t.Helper()
	for _, v := range job.Spec.Template.Spec.Containers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	t.Fatalf("pods have no %s", name)
	return ""
}

// mounted tells whether something is mounted at a folder, or below it.
func mounted(job *batchv1.Job, folder string) bool {
	for _, m := range job.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.MountPath == folder || filepath.Dir(m.MountPath) == folder {
			return true
		}
	}
	return false
}

func read(t *testing.T, name string) *v1alpha1.Batch {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name, "batch.in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b := &v1alpha1.Batch{}
	if err := yaml.UnmarshalStrict(content, b); err != nil {
		t.Fatal(err)
	}
	b.SetDefaults(t.Context())
	if err := b.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func golden(t *testing.T, file string, object metav1.Object) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want, +got):\n%s", file, diff)
	}
}
