package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/reconciler/apis/warmup"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/scrape"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	costPart = "Cost of the warm-up container per replica"
	// costReplicas are looked at.
	costReplicas = 3
	// idleFor is how old a warm replica is at least when its memory is read; the
	// kubelet counts every ten seconds or so, countedWithin bounds that.
	idleFor       = 5 * time.Second
	countedWithin = time.Minute

	mebibyte, megabyte = 1 << 20, 1e6
)

// measureCost reads the memory of warm replicas at rest, and the size of the image.
func (b *bench) measureCost(ctx context.Context) error {
	s := subject{name: "cost", changes: []change{warmed, replicas(costReplicas)}}
	if _, err := b.populate(ctx, s); err != nil {
		return err
	}
	pods, err := b.replicas(ctx, s.name, costReplicas)
	if err != nil {
		return err
	}
	b.Sayf("cost: waiting for the kubelet to count %d replicas", costReplicas)
	memory, err := b.idleMemory(ctx, pods)
	if err != nil {
		return err
	}
	size, err := sizeOf(ctx, imageOf(pods[0]))
	if err != nil {
		return err
	}
	b.reportCost(pods, memory, size)
	return nil
}

// idleMemory waits until the containers of all replicas were counted at rest.
func (b *bench) idleMemory(ctx context.Context, pods []corev1.Pod) (scrape.Memory, error) {
	since := time.Now().Add(idleFor)
	var memory scrape.Memory
	err := platform.Until(ctx, countedWithin, "the kubelet to count the replicas", func(ctx context.Context) (string, error) {
		if err := command.Pause(ctx, time.Second); err != nil { // a summary is work for the kubelet
			return "", err
		}
		var err error
		if memory, err = scrape.ContainerMemory(ctx, b.clients.Kube); err != nil {
			return "", err
		}
		for _, pod := range pods {
			if held := memory[warmUpIn(pod)]; held.At.Before(since) || held.RSS == 0 {
				return fmt.Sprintf("%s has %.0f bytes as of %v", pod.Name, held.RSS, held.At), nil
			}
		}
		return "", nil
	})
	return memory, err
}

func warmUpIn(pod corev1.Pod) scrape.Container {
	return scrape.Container{Namespace: pod.Namespace, Pod: pod.Name, Name: warmup.ContainerName}
}

// imageOf is the image of a replica's warm-up container, by digest.
func imageOf(pod corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if c.Name == warmup.ContainerName {
			return c.Image
		}
	}
	return ""
}

// imageSize is in bytes: what a node pulls that has none of the layers, and what that
// takes on its disk.
type imageSize struct{ pulled, unpacked float64 }

// sizeOf asks the registry for an image.
func sizeOf(ctx context.Context, image string) (imageSize, error) {
	reference, err := name.ParseReference(image)
	if err != nil {
		return imageSize{}, fmt.Errorf("the warm-up container's image %q: %w", image, err)
	}
	found, err := remote.Image(reference, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return imageSize{}, fmt.Errorf("asking the registry for %s: %w", image, err)
	}
	size, err := measureImage(found)
	if err != nil {
		return imageSize{}, fmt.Errorf("measuring %s: %w", image, err)
	}
	return size, nil
}

func measureImage(image v1.Image) (imageSize, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return imageSize{}, fmt.Errorf("reading its manifest: %w", err)
	}
	size := imageSize{pulled: float64(manifest.Config.Size)}
	layers, err := image.Layers()
	if err != nil {
		return imageSize{}, fmt.Errorf("reading its layers: %w", err)
	}
	for i, layer := range layers {
		size.pulled += float64(manifest.Layers[i].Size)
		n, err := unpacked(layer)
		if err != nil {
			return imageSize{}, fmt.Errorf("unpacking layer %d: %w", i+1, err)
		}
		size.unpacked += float64(n)
	}
	return size, nil
}

func unpacked(layer v1.Layer) (int64, error) {
	content, err := layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer content.Close()
	return io.Copy(io.Discard, content)
}

func (b *bench) reportCost(pods []corev1.Pod, memory scrape.Memory, size imageSize) {
	var rss, workingSets []float64
	for _, pod := range pods {
		held := memory[warmUpIn(pod)]
		rss = append(rss, held.RSS/mebibyte)
		workingSets = append(workingSets, held.WorkingSet/mebibyte)
	}
	b.report.Add(costPart,
		report.Value("RSS at rest, the largest", stats.Quantile(rss, 1), "MiB").Within(report.AtMost, 16),
		report.Median("RSS at rest", stats.Summarize(rss), "MiB"),
		report.Median("working set at rest", stats.Summarize(workingSets), "MiB"),
		report.Value("image, unpacked", size.unpacked/megabyte, "MB").Within(report.AtMost, 15),
		report.Value("image, pulled once by a node", size.pulled/megabyte, "MB"),
	)
}
