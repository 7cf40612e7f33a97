//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/stores"
)

// A batch reads an object of a real S3-compatible store and writes below a prefix there, by
// the Secret of its own namespace. One that may not, or names no bucket that is there, fails
// at once, and says what is to be done.
func TestBatchOfAnObjectStore(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	store, bucket := s.bucket()
	const items, key = 100, "in/items.jsonl"
	if err := store.Put(s.Context(), bucket, key, s.requests(items)); err != nil {
		t.Fatal(err)
	}
	if err := store.Put(s.Context(), bucket, key+".gz", "\x1f\x8b\x08"+s.requests(items)); err != nil {
		t.Fatal(err)
	}
	s.storeKeys("store", store.AccessKey, store.SecretKey)
	s.storeKeys("stale", store.AccessKey, "was-rotated")
	s.create(s.ranker("ranker", fixed("40")))
	s.serving("ranker")

	at := func(bucket, secret string) v1alpha1.BatchS3Bucket {
		return v1alpha1.BatchS3Bucket{Bucket: bucket, Endpoint: store.Endpoint, SecretName: secret}
	}
	ours := at(bucket, "store")
	s.batchOfS3("right", ours, ours, key)
	s.batchOfS3("stale-key", ours, at(bucket, "stale"), key)
	s.batchOfS3("no-input", at(bucket+"-none", "store"), ours, key)
	s.batchOfS3("no-object", ours, ours, "in/none.jsonl")
	s.batchOfS3("no-output", ours, at(bucket+"-none", "store"), key)
	s.batchOfS3("twin", ours, ours, key, func(b *v1alpha1.Batch) { b.Spec.Output.S3.Prefix = "runs/right" })
	s.batchOfS3("gzipped", ours, ours, "in/items.jsonl.gz")
	s.failed("gzipped", task.InputUnreadable, "in/items.jsonl.gz is compressed with gzip", "decompress it")
	s.failed("stale-key", task.StoreRefused, "SignatureDoesNotMatch", "accessKeyID and secretAccessKey")
	s.failed("no-input", task.InputMissing, "NoSuchBucket", "spec.input")
	s.failed("no-object", task.InputMissing, "in/none.jsonl")
	s.failed("no-output", task.OutputMissing, "NoSuchBucket", "Create the bucket")
	s.waitsFor("twin", task.OutputInUse, `Batch "right" writes to the same place`, "Give this one an output of its own (spec.output)")
	s.complete("right", items)
	// What is over holds nobody, but its output is its own.
	s.failed("twin", task.OutputInUse, "batch "+s.namespace+"/right", "Give the Batch an output of its own (spec.output), or remove what is there")

	folder := t.TempDir()
	objects, err := store.Objects(s.Context(), bucket, "runs/right/")
	if err != nil {
		t.Fatal(err)
	}
	for key, content := range objects {
		path := filepath.Join(folder, filepath.FromSlash(key))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.oneEffectEach(filepath.Join(folder, "runs", "right"), items)
}

// bucket is a new one of the real store, which goes with the test.
func (s *stage) bucket() (*stores.S3, string) {
	s.Helper()
	store, err := stores.FindS3(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if err := store.Make(s.Context(), s.namespace); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := store.Remove(context.Background(), s.namespace); err != nil {
			s.Error(err)
		}
	})
	return store, s.namespace
}

// storeKeys makes a Secret as a Batch names it.
func (s *stage) storeKeys(name, access, secret string) {
	s.Helper()
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		StringData: map[string]string{task.AccessKeyFile: access, task.SecretKeyFile: secret},
	}
	if _, err := s.Kube.CoreV1().Secrets(s.namespace).Create(s.Context(), object, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating a Secret:", err)
	}
}

// batchOfS3 asks the ranker for each line of an object, and has a prefix of its own for what
// comes of them.
func (s *stage) batchOfS3(name string, from, to v1alpha1.BatchS3Bucket, key string, changes ...func(*v1alpha1.Batch)) {
	s.Helper()
	b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	b.Spec.Model = "ranker"
	b.Spec.Input.S3 = &v1alpha1.BatchS3Input{BatchS3Bucket: from, Key: key}
	b.Spec.Request.Path = "/v2/models/ranker/infer"
	b.Spec.Output.S3 = &v1alpha1.BatchS3Output{BatchS3Bucket: to, Prefix: "runs/" + name}
	for _, change := range changes {
		change(b)
	}
	if _, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Create(s.Context(), b, metav1.CreateOptions{}); err != nil {
		s.Fatalf("creating Batch %s: %v", name, err)
	}
}

// failed waits until a batch has, for a reason, with a message that says what and how to
// mend it.
func (s *stage) failed(name, reason string, says ...string) {
	s.Helper()
	s.until(batchWithin, "Batch "+name+" to fail", func(ctx context.Context) (string, error) {
		b, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if !b.Status.IsFinished() {
			return fmt.Sprintf("%+v", b.Status.GetCondition(apis.ConditionSucceeded)), nil
		}
		c := b.Status.GetCondition(v1alpha1.BatchConditionComplete)
		if !c.IsFalse() || c.Reason != reason || !b.Status.GetCondition(v1alpha1.BatchConditionFailed).IsTrue() {
			return "", fmt.Errorf("it ended with %+v, want reason %s", b.Status.Conditions, reason)
		}
		for _, text := range says {
			if !strings.Contains(c.Message, text) {
				return "", fmt.Errorf("it says %q, and nothing of %q", c.Message, text)
			}
		}
		return "", nil
	})
}
