//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/platform"
	"sluice.dev/sluice/test/s3batch"
)

// An object that is put into a store is scored: the store's own event starts one Batch of it,
// though it comes twice, and what runs write starts none.
func TestStoredObjectIsScored(t *testing.T) {
	t.Parallel()
	images := s3batch.Images{Ranker: cluster.image, Store: os.Getenv("VERSITYGW_IMAGE"), Events: os.Getenv("S3EVENTS_IMAGE")}
	if images.Store == "" || images.Events == "" {
		t.Fatalf("VERSITYGW_IMAGE is %q and S3EVENTS_IMAGE %q; both are needed, `make test-e2e` sets them", images.Store, images.Events)
	}
	expected, err := os.ReadFile(testdata + "expected.json")
	if err != nil {
		t.Fatal(err)
	}
	in, err := s3batch.NewInput(expected, 120, 3)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	on, err := s3batch.New(s.Context(), s.Clients, s.namespace, images)
	if err != nil {
		t.Fatal(err)
	}
	const key = "in/2026 01.jsonl"
	if err := on.Put(s.Context(), s3batch.Rows, key, in.Content); err != nil {
		t.Fatal(err)
	}
	event, err := on.Announced(s.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("event %s of type %s, source %s, subject %s", event.ID, event.Type, event.Source, event.Subject)
	first, err := on.Started(s.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b := s.complete(first.Name, in.Rows())
	output, err := on.Output(s.Context(), b, in)
	if err != nil {
		t.Error(err)
	}
	if output != nil {
		t.Logf("%d records, %d errors, scores off by %.1e at most", len(output.Records), len(output.Errors), output.Difference)
	}
	if n, err := on.Again(s.Context(), key, event, first); err != nil || n != 1 {
		t.Errorf("after its event came twice the object has %d Batches, %v", n, err)
	}
	if all, err := on.All(s.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d Batches were started in all, %v", len(all), err)
	}
	s.resultsStartNothing(on, in)
}

// resultsStartNothing has an InferenceTrigger whose filters let its own results pass: the store
// announces them, and they start no Batch.
func (s *stage) resultsStartNothing(on *s3batch.Stage, in *s3batch.Input) {
	s.Helper()
	at := v1alpha1.BatchS3Bucket{Endpoint: s3batch.Endpoint, Bucket: s3batch.Scores, SecretName: s3batch.Secret}
	s.triggers("wide", func(spec *v1alpha1.InferenceTriggerSpec) {
		spec.Broker = s3batch.Broker
		spec.Filters = []eventingv1.SubscriptionsAPIFilter{{Exact: map[string]string{"source": s3batch.Source(s3batch.Scores)}}, {Suffix: map[string]string{"subject": ".jsonl"}}}
		spec.Batch = &v1alpha1.TriggerBatch{}
		b := &spec.Batch.Template.Spec
		b.Model, b.Request.Path = s3batch.Model, platform.InferPath
		b.Input.S3 = &v1alpha1.BatchS3Input{BatchS3Bucket: at, Key: "${event.subject}"}
		b.Output.S3 = &v1alpha1.BatchS3Output{BatchS3Bucket: at, Prefix: "wide/${event.id}"}
		b.TTLAfterFinished = &metav1.Duration{Duration: time.Hour}
	})
	before := s.outcomes("batch", ofTriggers)
	row, _, _ := strings.Cut(in.Content, "\n")
	if err := on.Put(s.Context(), s3batch.Scores, "rows.jsonl", row+"\n"); err != nil {
		s.Fatal(err)
	}
	err := platform.Until(s.Context(), answered, "its results to come back", func(ctx context.Context) (string, error) {
		made, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.TriggerLabelKey + "=wide"})
		if err != nil {
			return "", err
		}
		if n := len(made.Items); n > 1 {
			return "", fmt.Errorf("there are %d Batches: results were taken for rows", n)
		}
		now, err := s.counters(ctx, "batch", ofTriggers)
		if err != nil || len(made.Items) == 1 && now["own"] > before["own"] {
			return "", err
		}
		return fmt.Sprintf("%d Batches, events %v, before %v", len(made.Items), now, before), nil
	})
	// Before all else: what goes round would fill the node.
	if gone := s.Sluice.SluiceV1alpha1().InferenceTriggers(s.namespace).Delete(context.WithoutCancel(s.Context()), "wide", metav1.DeleteOptions{}); gone != nil {
		s.Error(gone)
	}
	if err != nil {
		s.Fatal(err)
	}
}
