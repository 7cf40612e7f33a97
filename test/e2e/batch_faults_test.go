//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// largeItems are of largeItem bytes each: two shards of two parts. At
	// 20/s one takes some four seconds.
	largeItems, largeItem = 240, 200 << 10
	// heldWithin bounds the wait for what keeps a run from going on to be told.
	heldWithin = time.Minute
)

// A Model that is deleted in mid-run, and made again: the run says what it waits for and has no
// pods, then goes on behind what is in the output, and no item has failed by it.
func TestBatchOutlivesItsModel(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	ranker := s.ranker("ranker", fixed("20"))
	s.create(ranker.DeepCopy())
	s.serving("ranker")
	s.largeItemsIn(folder)
	s.batch("nightly", "results", "run", ofTheShelf)
	first := s.firstPart(filepath.Join(folder, "run"))
	models := s.Sluice.SluiceV1alpha1().Models(s.namespace)
	if err := models.Delete(t.Context(), "ranker", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitsFor("nightly", "ModelMissing", `There is no Model "ranker"`, "Create it again, and the run goes on where it was")
	s.withoutPods("nightly")
	s.until(time.Minute, "the Model to be gone", func(ctx context.Context) (string, error) {
		_, err := models.Get(ctx, "ranker", metav1.GetOptions{})
		if there, err := gone(err); err != nil || there {
			return "", err
		}
		return "it is there", nil
	})
	s.create(ranker)
	s.complete("nightly", largeItems)
	s.oneEffectEach(filepath.Join(folder, "run"), largeItems)
	s.unchanged(first)
}

// A namespace that is deleted in mid-run goes, and what is in the output stays, whole.
func TestBatchIsInANamespaceThatGoes(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	s.create(s.ranker("ranker", fixed("20")))
	s.serving("ranker")
	s.largeItemsIn(folder)
	s.batch("last", "results", "run", ofTheShelf)
	first := s.firstPart(filepath.Join(folder, "run"))
	if err := s.Kube.CoreV1().Namespaces().Delete(t.Context(), s.namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// What else is in it is Kubernetes' to delete, which takes its time.
	took := s.until(3*time.Minute, "the run's Jobs and pods to be gone", func(ctx context.Context) (string, error) {
		runs := metav1.ListOptions{LabelSelector: sluice.BatchLabelKey}
		jobs, err := s.Kube.BatchV1().Jobs(s.namespace).List(ctx, runs)
		if err != nil {
			return "", err
		}
		pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, runs)
		if err != nil || len(jobs.Items)+len(pods.Items) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d Jobs, %d pods", len(jobs.Items), len(pods.Items)), nil
	})
	t.Logf("its Jobs and pods were gone after %.1f s", took.Seconds())
	s.unchanged(first)
}

// A Secret that is deleted in mid-run: the next pod waits for it and the run says so; with it made
// again the run goes on, and each item has one effect.
func TestBatchLosesItsSecret(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	store, bucket := s.bucket()
	if err := store.Put(s.Context(), bucket, "in/items.jsonl", s.largeRequests()); err != nil {
		t.Fatal(err)
	}
	s.storeKeys("store", store.AccessKey, store.SecretKey)
	s.create(s.ranker("ranker", fixed("20")))
	s.serving("ranker")
	s.batch("nightly", "results", "run", func(b *v1alpha1.Batch) {
		b.Spec.Input = v1alpha1.BatchInput{S3: &v1alpha1.BatchS3Input{
			BatchS3Bucket: v1alpha1.BatchS3Bucket{Bucket: bucket, Endpoint: store.Endpoint, SecretName: "store"}, Key: "in/items.jsonl",
		}}
		// A pod after the other: the next one is still to come.
		b.Spec.Workers = ptr.Int32(1)
	})
	first := s.firstPart(filepath.Join(folder, "run"))
	if err := s.Kube.CoreV1().Secrets(s.namespace).Delete(t.Context(), "store", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitsFor("nightly", "SecretMissing", `secret "store" not found`, "Create the Secret, with the keys accessKeyID and secretAccessKey")
	s.storeKeys("store", store.AccessKey, store.SecretKey)
	s.complete("nightly", largeItems)
	s.oneEffectEach(filepath.Join(folder, "run"), largeItems)
	s.unchanged(first)
}

// A volume that is full: the run says so, and that it is tried again; with more room it is
// complete, and each item has one effect.
func TestBatchFillsItsVolume(t *testing.T) {
	t.Parallel()
	const items = 100
	s := newStage(t)
	folder := s.shelf("results")
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=16k,mode=0777"); err != nil {
		t.Fatal("a volume of 16 KiB:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s.create(s.ranker("ranker", fixed("40")))
	s.serving("ranker")
	s.items("items", items)
	s.batch("nightly", "results", "run")
	s.waitsFor("nightly", task.DiskFull, "no space left on device", "Give what is full more room", "It is tried again on its own")
	if found, err := filepath.Glob(filepath.Join(folder, "run", "results", "*")); err != nil || len(found) > 0 {
		t.Errorf("what had no room has left %v, %v", found, err)
	}
	if err := syscall.Mount("", folder, "", syscall.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal("more room:", err)
	}
	s.complete("nightly", items)
	s.oneEffectEach(filepath.Join(folder, "run"), items)
}

// ofTheShelf has a batch read what is on its shelf.
func ofTheShelf(b *v1alpha1.Batch) {
	b.Spec.Input = v1alpha1.BatchInput{Volume: &v1alpha1.BatchVolumeInput{ClaimName: "results", File: "in/items.jsonl"}}
}

// largeRequests are largeItems of the ranker's, a line each.
func (s *stage) largeRequests() string {
	s.Helper()
	var lines strings.Builder
	for line := range strings.Lines(s.requests(largeItems)) {
		line = strings.TrimSuffix(line, "\n")
		lines.WriteString(line + strings.Repeat(" ", largeItem-len(line)-1) + "\n")
	}
	return lines.String()
}

// largeItemsIn puts them on a shelf.
func (s *stage) largeItemsIn(folder string) {
	s.Helper()
	path := filepath.Join(folder, "in", "items.jsonl")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(s.largeRequests()), 0o644); err != nil {
		s.Fatal(err)
	}
}

// part is one that is in an output.
type part struct {
	path    string
	content []byte
}

// firstPart waits until an output has its first part, while the batch isn't over, and checks that
// it is whole.
func (s *stage) firstPart(output string) part {
	s.Helper()
	p := part{path: filepath.Join(output, "results", "000000000000.jsonl")}
	s.until(batchWithin, "the first part", func(context.Context) (string, error) {
		var err error
		if p.content, err = os.ReadFile(p.path); os.IsNotExist(err) {
			return "it isn't there", nil
		}
		return "", err
	})
	next := int64(0)
	for line := range bytes.Lines(p.content) {
		var record struct{ Item int64 }
		if err := json.Unmarshal(line, &record); err != nil || record.Item != next {
			s.Fatalf("record %d of the first part is %s, %v", next, line, err)
		}
		next++
	}
	if next == 0 || next > largeItems/2 {
		s.Fatalf("the first part has %d of %d items", next, largeItems)
	}
	return p
}

// unchanged checks that a part is as it was.
func (s *stage) unchanged(p part) {
	s.Helper()
	if now, err := os.ReadFile(p.path); err != nil || !bytes.Equal(now, p.content) {
		s.Errorf("%s isn't any more what it was: %d bytes, %v", p.path, len(now), err)
	}
}

// waitsFor waits until a batch that isn't over says what it waits for, and how to mend it.
func (s *stage) waitsFor(name, reason string, says ...string) {
	s.Helper()
	took := s.until(heldWithin, "Batch "+name+" to wait for "+reason, func(ctx context.Context) (string, error) {
		b, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		c := b.Status.GetCondition(apis.ConditionSucceeded)
		switch {
		case b.Status.IsFinished():
			return "", fmt.Errorf("it is over: %+v", c)
		case c == nil, c.Reason != reason, !b.Status.GetCondition(v1alpha1.BatchConditionRunning).IsFalse():
			return fmt.Sprintf("%+v", b.Status.Conditions), nil
		}
		for _, text := range says {
			if !strings.Contains(c.Message, text) {
				return "", fmt.Errorf("it says %q, and nothing of %q", c.Message, text)
			}
		}
		return "", nil
	})
	s.Logf("%s was told after %.1f s", reason, took.Seconds())
}

// withoutPods waits until no pod of a batch is at work.
func (s *stage) withoutPods(batch string) {
	s.Helper()
	took := s.until(time.Minute, "the pods of Batch "+batch+" to go", func(ctx context.Context) (string, error) {
		pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.BatchLabelKey + "=" + batch})
		if err != nil {
			return "", err
		}
		for _, p := range pods.Items {
			if p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending {
				return fmt.Sprintf("%s is %s", p.Name, p.Status.Phase), nil
			}
		}
		return "", nil
	})
	s.Logf("its pods were gone after %.1f s", took.Seconds())
}
