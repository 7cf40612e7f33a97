package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/ptr"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/scrape"
	"sluice.dev/sluice/test/bench/internal/stage"
	"sluice.dev/sluice/test/platform"
)

const (
	manyPart               = "1,000 Models of 3 revisions"
	manyModels, manyEach   = 1000, 3
	manyLines, manySeconds = 1000, 60
	// seriesOf a revision: the histogram's buckets, sum and count, two of bytes, and one each of
	// what was answered with 2xx, 4xx and 5xx. Levels above have as many for each of theirs.
	seriesOf = 14 + 2 + 2 + 3
	writer   = "bench-log-writer"
)

// measureMany has a pod write what the gateways of a thousand Models would.
func (b *bench) measureMany(ctx context.Context) error {
	b.Sayf("many: %d lines a second, for %d s", manyLines, manySeconds)
	before, err := scrape.ContainerCPU(ctx, b.clients.Kube)
	if err != nil {
		return err
	}
	const counted = `sum(sluice_tenant_requests_total{tenant=~"tenant-[0-9]+"}) or vector(0)`
	was, err := b.value(ctx, counted)
	if err != nil {
		return err
	}
	if _, err := b.clients.Kube.CoreV1().Pods(gateway.Namespace).Create(ctx, b.writerPod(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the pod that writes: %w", err)
	}
	began := time.Now()
	want := was + manyLines*manySeconds
	err = platform.Until(ctx, 3*time.Minute, "all lines to be counted", func(ctx context.Context) (string, error) {
		now, err := b.value(ctx, counted)
		if err != nil {
			return "", err
		}
		if now < want {
			return fmt.Sprintf("%v of %v are", now-was, want-was), nil
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	after, err := scrape.ContainerCPU(ctx, b.clients.Kube)
	if err != nil {
		return err
	}
	if err := b.reportMany(ctx, after.CoresSince(before), took); err != nil {
		return err
	}
	return b.removeWriters(ctx)
}

func (b *bench) reportMany(ctx context.Context, cores map[string]float64, took time.Duration) error {
	series, err := b.value(ctx, `count({__name__=~"sluice_(platform|tenant|namespace|model|revision)_.+"})`)
	if err != nil {
		return err
	}
	got, err := b.value(ctx, `sum(sluice_tenant_requests_total{tenant=~"tenant-[0-9]+"})`)
	if err != nil {
		return err
	}
	held, err := scrape.ContainerMemory(ctx, b.clients.Kube)
	if err != nil {
		return err
	}
	memory := map[string]float64{}
	for of, m := range held {
		if of.Namespace == sluice.SystemNamespace {
			memory[of.Name] = max(memory[of.Name], m.WorkingSet/(1<<20))
		}
	}
	const levels = manyModels*manyEach + manyModels + 100 + 20 + 1
	b.report.Add(manyPart,
		report.Value("counted of what was written, beyond all", got-manyLines*manySeconds, "").Within(report.AtMost, 0),
		report.Value("series / those of each revision, Model, namespace, tenant", series/(seriesOf*levels), "×").Within(report.AtMost, 1.1),
		report.Value("series", series, ""),
		report.Value("agent's working set", memory["agent"], "MiB").Within(report.AtMost, 300),
		report.Value("gateway collector's working set", memory["gateway"], "MiB").Within(report.AtMost, 700),
		report.Value("agent's CPU", cores[sluice.SystemNamespace+"/agent"], "cores").Within(report.AtMost, 0.5),
		report.Value("gateway collector's CPU", cores[sluice.SystemNamespace+"/gateway"], "cores").Within(report.AtMost, 0.5),
		report.Value("all counted after", took.Seconds(), "s"),
	)
	return nil
}

// writerPod writes as a gateway does, where gateways are.
func (b *bench) writerPod() *corev1.Pod {
	value := func(name string, n int) corev1.EnvVar { return corev1.EnvVar{Name: name, Value: strconv.Itoa(n)} }
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: gateway.Namespace, Name: writer,
			Labels: map[string]string{"app": writer, "sidecar.istio.io/inject": "false"},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.Int64(1),
			AutomountServiceAccountToken:  ptr.Bool(false),
			Containers: []corev1.Container{{
				Name: "istio-proxy", Image: b.lines,
				Env: []corev1.EnvVar{
					value("LINES", manyLines), value("SECONDS", manySeconds), value("MODELS", manyModels), value("REVISIONS", manyEach),
				},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}},
			}},
		},
	}
}

// removeWriters removes the pod that writes, and waits until it is gone.
func (b *bench) removeWriters(ctx context.Context) error {
	pods := b.clients.Kube.CoreV1().Pods(gateway.Namespace)
	if err := stage.IgnoreNotFound(pods.Delete(ctx, writer, metav1.DeleteOptions{})); err != nil {
		return fmt.Errorf("deleting the pod that writes: %w", err)
	}
	return platform.Until(ctx, time.Minute, "the pod that writes to go", func(ctx context.Context) (string, error) {
		_, err := pods.Get(ctx, writer, metav1.GetOptions{})
		switch {
		case err == nil:
			return "it is there", nil
		case stage.IgnoreNotFound(err) == nil:
			return "", nil
		default:
			return "", fmt.Errorf("getting it: %w", err)
		}
	})
}
