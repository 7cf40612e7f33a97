//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/test/load"
)

const (
	// batchWithin bounds the wait for a run.
	batchWithin = 3 * time.Minute
	// batchItems at what is left of 40/s beside 20/s take some twenty seconds.
	batchItems = 400
)

// A batch takes what online callers leave, who don't notice; each item has one effect, though
// a worker is killed while it is at it.
func TestBatchTakesTheSlack(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	s.create(s.ranker("ranker", fixed("40")))
	endpoint := s.serving("ranker")
	s.items("items", batchItems)

	online, stop := make(chan *load.Report, 1), make(chan struct{})
	callers := plan(endpoint, load.Schedule{load.Hold(20, batchWithin)})
	callers.Stop = stop
	go func() {
		report, err := callers.Run(s.Context())
		if err != nil {
			s.Error(err)
		}
		online <- report
	}()
	s.batch("nightly", "results", "run")
	s.progresses("nightly", batchItems)
	s.killWorker("nightly")
	s.complete("nightly", batchItems)
	close(stop)
	report := <-online
	if report == nil {
		return
	}
	s.noneFailed(report)
	// What the machine held back for a moment comes all at once.
	if few := report.Total.Offered / 50; report.Total.Limited > few {
		t.Errorf("%d of %d online requests were refused beside the batch", report.Total.Limited, report.Total.Offered)
	}
	s.oneEffectEach(filepath.Join(folder, "run"), batchItems)
}

// A batch wakes a Model that nobody asks, and lets it go again; so does one that is deleted in
// mid-run, of which what is in the output stays, whole, and is nobody else's.
func TestBatchWakesAModel(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	folder := s.shelf("results")
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) { m.Spec.Autoscaling.MinReplicas = ptr.Int32(0) }))
	s.serving("ranker")
	s.atRest("ranker")
	s.items("items", 20)
	s.batch("nightly", "results", "run")
	s.complete("nightly", 20)
	s.oneEffectEach(filepath.Join(folder, "run"), 20)

	s.largeItemsIn(folder)
	s.batch("cut", "results", "cut", ofTheShelf)
	first := s.firstPart(filepath.Join(folder, "cut"))
	if err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Delete(t.Context(), "cut", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.withoutPods("cut")
	s.batch("heir", "results", "cut", ofTheShelf)
	s.failed("heir", task.OutputInUse, "batch "+s.namespace+"/cut", "Give the Batch an output of its own")
	s.atRest("ranker")
	s.unchanged(first)
}

// A batch that one replica couldn't do in time has more, which the autoscaler wouldn't want by
// itself, and is over by its deadline.
func TestBatchMeetsItsDeadline(t *testing.T) {
	t.Parallel()
	const items, deadline = 450, 90 * time.Second
	s := newStage(t)
	told := &heard{}
	s.hear(s.listen(told))
	folder := s.shelf("results")
	s.create(s.ranker("ranker", func(m *v1alpha1.Model) {
		slow := resource.MustParse("5") // all of the time for all items; it settles at 15/s
		m.Spec.Limit.RequestsPerSecondPerReplica = &slow
	}))
	s.serving("ranker")
	s.items("items", items)
	s.batch("hasty", "results", "run", func(b *v1alpha1.Batch) { b.Spec.Deadline = &metav1.Duration{Duration: deadline} })
	s.until(deadline, "more replicas to be called for", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, "ranker", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		for _, floor := range m.Status.Floors {
			if floor.Demand >= 2 {
				return "", nil
			}
		}
		return fmt.Sprintf("floors %+v", m.Status.Floors), nil
	})
	b := s.complete("hasty", items)
	if took := b.Status.CompletionTime.Sub(b.Status.StartTime.Time); took > deadline {
		s.Errorf("it took %s", took)
	}
	s.oneEffectEach(filepath.Join(folder, "run"), items)
	s.until(delivered, "events that it has started, and is over", func(context.Context) (string, error) {
		all := told.all()
		for _, kind := range []string{eventing.BatchStartedType, eventing.BatchCompletedType} {
			if !slices.Contains(all, [2]string{kind, s.namespace + "/hasty"}) {
				return fmt.Sprintf("%s isn't among %v", kind, all), nil
			}
		}
		return "", nil
	})
}

// progresses waits until a batch that is at work says how far it is, how fast, and when it
// will be over.
func (s *stage) progresses(name string, items int64) {
	s.Helper()
	s.until(time.Minute, "the batch to say how far it is", func(ctx context.Context) (string, error) {
		b, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		p := b.Status.BatchProgress
		switch {
		case b.Status.IsFinished():
			return "", fmt.Errorf("it is over, and never said so: %+v", p)
		case p.RequestsPerSecond == nil || p.EstimatedEnd == nil || p.InFlight == nil || p.Succeeded == nil || *p.Succeeded == 0:
			return fmt.Sprintf("%+v", p), nil
		}
		rate := p.RequestsPerSecond.AsApproximateFloat64()
		if *p.Succeeded > items || rate <= 0 || rate > 40 || p.EstimatedEnd.Before(b.Status.StartTime) {
			return "", fmt.Errorf("that can't be: %+v, at %g/s", p, rate)
		}
		return "", nil
	})
}

// atRest waits until no replica of a Model is wanted.
func (s *stage) atRest(model string) {
	s.Helper()
	s.until(2*restWithin, "Model "+model+" to rest", func(ctx context.Context) (string, error) {
		m, err := s.Sluice.SluiceV1alpha1().Models(s.namespace).Get(ctx, model, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if m.Status.DesiredReplicas+m.Status.ReadyReplicas > 0 {
			return fmt.Sprintf("%d are desired, %d ready", m.Status.DesiredReplicas, m.Status.ReadyReplicas), nil
		}
		return "", nil
	})
}

// complete waits until a batch is, and returns it.
func (s *stage) complete(name string, items int64) (done *v1alpha1.Batch) {
	s.Helper()
	took := s.until(batchWithin, "the batch to be complete", func(ctx context.Context) (string, error) {
		b, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		c := b.Status.GetCondition(v1alpha1.BatchConditionComplete)
		switch {
		case c.IsFalse():
			return "", fmt.Errorf("the run has failed: %s: %s", c.Reason, c.Message)
		case c.IsTrue() && (b.Status.Total == nil || *b.Status.Total != items):
			return "", fmt.Errorf("it had other items than %d: %+v", items, b.Status)
		case c.IsTrue():
			done = b
			return "", nil
		}
		return fmt.Sprintf("%+v, %+v", b.Status.GetCondition(apis.ConditionSucceeded), b.Status.BatchProgress), nil
	})
	s.Logf("%d items in %.1f s", items, took.Seconds())
	return done
}

// shelf is a volume, with a claim of that name, that is a folder of the node, which tests and
// pods see.
func (s *stage) shelf(name string) string {
	s.Helper()
	folder, err := os.MkdirTemp("", "sluice-e2e-")
	if err == nil {
		err = os.Chmod(folder, 0o777) // a worker is no root
	}
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(folder) })
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-" + name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: folder}},
			ClaimRef:               &corev1.ObjectReference{Namespace: s.namespace, Name: name},
		},
	}
	if _, err := s.Kube.CoreV1().PersistentVolumes().Create(s.Context(), volume, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating a volume:", err)
	}
	s.Cleanup(func() {
		if err := s.Kube.CoreV1().PersistentVolumes().Delete(context.Background(), volume.Name, metav1.DeleteOptions{}); err != nil {
			s.Error("removing the volume:", err)
		}
	})
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: volume.Spec.AccessModes, Resources: corev1.VolumeResourceRequirements{Requests: size},
			StorageClassName: ptr.String(""), VolumeName: volume.Name,
		},
	}
	if _, err := s.Kube.CoreV1().PersistentVolumeClaims(s.namespace).Create(s.Context(), claim, metav1.CreateOptions{}); err != nil {
		s.Fatal("claiming the volume:", err)
	}
	return folder
}

// itemID names the i-th item, and so what the ranker answers to it.
func itemID(i int64) string { return fmt.Sprintf("item-%d", i) }

// requests are that many of the ranker's, a line each.
func (s *stage) requests(n int64) string {
	s.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, cluster.request); err != nil {
		s.Fatal(err)
	}
	var lines strings.Builder
	for i := range n {
		var request map[string]any
		if err := json.Unmarshal(compact.Bytes(), &request); err != nil {
			s.Fatal(err)
		}
		request["id"] = itemID(i)
		line, err := json.Marshal(request)
		if err != nil {
			s.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	return lines.String()
}

// items makes a ConfigMap of that many requests.
func (s *stage) items(name string, n int64) {
	s.Helper()
	items := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: map[string]string{"items.jsonl": s.requests(n)}}
	if _, err := s.Kube.CoreV1().ConfigMaps(s.namespace).Create(s.Context(), items, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating the items:", err)
	}
}

// batch asks the ranker for each of the items.
func (s *stage) batch(name, claim, folder string, changes ...func(*v1alpha1.Batch)) {
	s.Helper()
	b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	b.Spec.Model = "ranker"
	b.Spec.Input.ConfigMap = &v1alpha1.BatchConfigMapInput{Name: "items", Key: "items.jsonl"}
	b.Spec.Request.Path = "/v2/models/ranker/infer"
	b.Spec.Output.Volume = &v1alpha1.BatchVolumeOutput{ClaimName: claim, Folder: folder}
	for _, change := range changes {
		change(b)
	}
	if _, err := s.Sluice.SluiceV1alpha1().Batches(s.namespace).Create(s.Context(), b, metav1.CreateOptions{}); err != nil {
		s.Fatal("creating the batch:", err)
	}
}

// killWorker kills a pod of a batch that has worked for a moment.
func (s *stage) killWorker(batch string) {
	s.Helper()
	s.until(time.Minute, "a worker to kill", func(ctx context.Context) (string, error) {
		pods, err := s.Kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{LabelSelector: sluice.BatchLabelKey + "=" + batch})
		if err != nil {
			return "", err
		}
		for _, p := range pods.Items {
			_, works := p.Labels["batch.kubernetes.io/job-completion-index"]
			state := p.Status.ContainerStatuses
			if works && len(state) > 0 && state[0].State.Running != nil && time.Since(state[0].State.Running.StartedAt.Time) > 5*time.Second {
				return "", s.Kube.CoreV1().Pods(s.namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.Int64(0)})
			}
		}
		return fmt.Sprintf("%d pods", len(pods.Items)), nil
	})
}

// oneEffectEach checks that each item has one record in an output, which is its own.
func (s *stage) oneEffectEach(folder string, items int64) {
	s.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "results", "*.jsonl"))
	if err != nil {
		s.Fatal(err)
	}
	records := map[int64]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			s.Fatal(err)
		}
		for line := range bytes.Lines(content) {
			var record struct {
				Item     int64
				Status   int
				Response struct{ ID string }
			}
			if err := json.Unmarshal(line, &record); err != nil {
				s.Fatalf("%s: %v", line, err)
			}
			records[record.Item]++
			if record.Status != 200 || record.Response.ID != itemID(record.Item) {
				s.Errorf("the record of item %d is of status %d, for %q", record.Item, record.Status, record.Response.ID)
			}
		}
	}
	for i := range items {
		if records[i] != 1 {
			s.Errorf("item %d has %d records", i, records[i])
		}
	}
	if int64(len(records)) != items {
		s.Errorf("there are records of %d items, want %d", len(records), items)
	}
}
