package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/bench/internal/command"
	"sluice.dev/sluice/test/bench/internal/report"
	"sluice.dev/sluice/test/bench/internal/scrape"
	"sluice.dev/sluice/test/bench/internal/stats"
	"sluice.dev/sluice/test/platform"
)

const (
	// many is how many limits one gateway comes to have, and manyChanges how often one
	// of them is changed then.
	many, manyChanges = 5000, 20
	// manyWithin bounds the wait for their proof, which has other pods in between.
	manyWithin = 6 * time.Minute
	// etcdTakes is the largest request that etcd takes as it comes, in bytes.
	etcdTakes = 3 << 19
	// manyTenant has a gateway of its own, which gets other pods.
	manyTenant = tenantName + "-many"
)

var manyGateway = gateway.OfTenant(manyTenant)

var manyPart = fmt.Sprintf("Many: %d Models without routes on one gateway", many)

// measureMany fills a gateway's slots, has it get more of them, and changes limits.
func (b *bench) measureMany(ctx context.Context) error {
	b.Sayf("many: bringing up gateway %s and making %d limits", manyGateway, many)
	tenants := b.clients.Sluice.SluiceV1alpha1().Tenants()
	if _, err := tenants.Create(ctx, tenant(manyTenant, 1), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a tenant: %w", err)
	}
	making, inner := errgroup.WithContext(ctx)
	making.SetLimit(writers)
	for i := range many {
		making.Go(func() error {
			_, err := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace).Create(inner, manyOf(i).rateLimit(), metav1.CreateOptions{})
			return err
		})
	}
	if err := making.Wait(); err != nil {
		return fmt.Errorf("creating a rate limit: %w", err)
	}
	made := time.Now()
	if err := platform.Until(ctx, manyWithin, "all limits to be proved", b.allProved); err != nil {
		return err
	}
	proved := time.Since(made)
	if err := b.quiet(ctx); err != nil {
		return err
	}
	slots, largest, err := b.fullest(ctx)
	if err != nil {
		return err
	}
	before, err := b.use(ctx)
	if err != nil {
		return err
	}
	b.Sayf("many: %d slots, the largest of %d bytes; changing one limit %d times", slots, largest, manyChanges)
	began := time.Now()
	writes, proofs, err := b.changeMany(ctx)
	if err != nil {
		return err
	}
	after, err := b.use(ctx)
	if err != nil {
		return err
	}
	memory, err := scrape.ContainerMemory(ctx, b.clients.Kube)
	if err != nil {
		return fmt.Errorf("reading the memory of containers: %w", err)
	}
	used, seconds := after.since(before), time.Since(began).Seconds()
	b.report.Add(manyPart,
		report.Value("all proved, after the last was made", proved.Seconds(), "s"),
		report.Value("slots, 4 to begin with", float64(slots), ""),
		report.Value("largest slot, of what etcd takes", float64(largest)/etcdTakes, "×").Within(report.AtMost, 0.9),
		report.Value("largest slot", float64(largest)/1e3, "kB"),
		report.Value("change to write, p50", stats.Median(writes), "s"),
		report.Value("change to proof, p50", stats.Median(proofs), "s"),
		report.Value("change to proof, max", stats.Quantile(proofs, 1), "s").Within(report.AtMost, 5),
		report.Value("limiter: CPU per change", 1e3*used.cpu/manyChanges, "ms"),
		report.Value("limiter: CPU", used.cpu/seconds, "cores"),
		report.Value("limiter: memory", used.memory/1e6, "MB"),
		report.Value("gateway pods: memory, the largest", heaviest(memory, gateway.Namespace)/1e6, "MB"),
		report.Value("sent by istiod per write of a slot", used.pushed/used.slotWrites/1e3, "kB"),
	)
	if err := tenants.Delete(ctx, manyTenant, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting a tenant: %w", err)
	}
	return b.deleteSubjects(ctx)
}

func manyOf(i int) subject {
	s := fixed(fmt.Sprintf("many-%04d", i), 50)
	s.gateway = manyGateway
	return s
}

// allProved says how many limits aren't Ready yet.
func (b *bench) allProved(ctx context.Context) (string, error) {
	fromCache := own
	fromCache.ResourceVersion = "0" // to read them all anew would keep the API server busy
	list, err := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace).List(ctx, fromCache)
	if err != nil {
		return "", fmt.Errorf("listing rate limits: %w", err)
	}
	waiting := 0
	for i := range list.Items {
		if !list.Items[i].IsReady() {
			waiting++
		}
	}
	if waiting == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d of %d aren't", waiting, len(list.Items)), command.Pause(ctx, 3*time.Second)
}

// fullest is how many slots that gateway's pods have, and how large the largest one's
// object is, as JSON.
func (b *bench) fullest(ctx context.Context) (slots, bytes int, err error) {
	list, err := b.slotsOf(ctx, manyGateway)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range list {
		content, err := json.Marshal(f)
		if err != nil {
			return 0, 0, fmt.Errorf("writing a slot as JSON: %w", err)
		}
		slots, bytes = max(slots, gateway.SlotsOf(f.Labels)), max(bytes, len(content))
	}
	return slots, bytes, nil
}

func (b *bench) slotsOf(ctx context.Context, name string) ([]*istio.EnvoyFilter, error) {
	list, err := b.clients.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).List(ctx,
		metav1.ListOptions{LabelSelector: gateway.SlotLabelKey + "," + gateway.LabelKey + "=" + name})
	if err != nil {
		return nil, fmt.Errorf("listing slots: %w", err)
	}
	return list.Items, nil
}

// changeMany changes limits, one after another, and returns after how many seconds each
// was written, and proved.
func (b *bench) changeMany(ctx context.Context) (writes, proofs []float64, err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	books := newLedger()
	if _, err := b.watchSlots(watching, books.read); err != nil {
		return nil, nil, err
	}
	limits := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace)
	for n := range manyChanges {
		s, began := manyOf(n*many/manyChanges), time.Now()
		rate := 2 * s.rate
		books.event(s.virtualService(), 2, began)
		patch := fmt.Appendf(nil, `{"spec": {"requestsPerSecondPerReplica": "%d"}}`, rate)
		if _, err := b.clients.AsController.SluiceV1alpha1().RateLimits(namespace).Patch(ctx, s.name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return nil, nil, fmt.Errorf("changing a limit: %w", err)
		}
		err := platform.Until(ctx, manyWithin, "a changed limit to be proved", func(ctx context.Context) (string, error) {
			l, err := limits.Get(ctx, s.name, metav1.GetOptions{})
			if err != nil {
				return "", fmt.Errorf("getting a rate limit: %w", err)
			}
			if !l.IsReady() || l.Status.Limit.RequestsPerSecond.Value() != rate {
				return fmt.Sprintf("%+v", l.Status), nil
			}
			return "", nil
		})
		if err != nil {
			return nil, nil, err
		}
		proofs = append(proofs, time.Since(began).Seconds())
	}
	return books.close(time.Now()), proofs, nil
}

// heaviest is the largest resident set of a namespace's containers, in bytes.
func heaviest(memory scrape.Memory, namespace string) float64 {
	most := 0.0
	for container, held := range memory {
		if container.Namespace == namespace {
			most = max(most, held.RSS)
		}
	}
	return most
}
