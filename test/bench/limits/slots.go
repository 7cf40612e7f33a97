package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istioinformers "istio.io/client-go/pkg/informers/externalversions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// slotWatch sees every write of a slot, of any gateway.
type slotWatch struct {
	mu sync.Mutex
	// counts of writes, by the slot's object.
	counts map[string]int
	// see, if given, is called with each write, one call at a time.
	see func(f *istio.EnvoyFilter, at time.Time)
}

// watchSlots watches until ctx ends. It returns once it knows all that is there.
func (b *bench) watchSlots(ctx context.Context, see func(*istio.EnvoyFilter, time.Time)) (*slotWatch, error) {
	w := &slotWatch{counts: map[string]int{}, see: see}
	factory := istioinformers.NewSharedInformerFactoryWithOptions(b.clients.Istio, 0, istioinformers.WithNamespace(gateway.Namespace),
		istioinformers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = gateway.SlotLabelKey }))
	registration, err := factory.Networking().V1alpha3().EnvoyFilters().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { w.note(object, nil) },
		UpdateFunc: func(before, object any) {
			w.note(object, before)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watching the slots: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return nil, fmt.Errorf("watching the slots: %w", ctx.Err())
	}
	return w, nil
}

func (w *slotWatch) note(object, before any) {
	now := time.Now()
	f, ok := object.(*istio.EnvoyFilter)
	if old, was := before.(*istio.EnvoyFilter); !ok || (was && old.Generation == f.Generation) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[f.Name]++
	if w.see != nil {
		w.see(f, now)
	}
}

// count is how often a slot was written since the watch began; its content at that
// time counts as once.
func (w *slotWatch) count(object string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[object]
}

// content is what a slot's object says of the entry for callers outside, as far as it is
// looked at.
type content struct {
	// generation that pods tell once they enforce it.
	generation string
	// rates of its buckets in requests per second, by virtual service.
	rates map[string]float64
}

// read reads a slot as the API server has it. Buckets for single revisions are left
// out.
func read(f *istio.EnvoyFilter) (content, error) {
	var c content
	patches, entries := f.Spec.GetConfigPatches(), gateway.Entries()
	if len(patches) != len(entries) {
		return c, fmt.Errorf("slot %s has %d patches", f.Name, len(patches))
	}
	config := field(patches[slices.Index(entries, gateway.External)].GetPatch().GetValue(), "typed_config").GetStructValue()
	for _, option := range field(config, "response_headers_to_add").GetListValue().GetValues() {
		header := field(option.GetStructValue(), "header").GetStructValue()
		if field(header, "key").GetStringValue() == gateway.GenerationHeader {
			c.generation = field(header, "value").GetStringValue()
		}
	}
	if c.generation == "" {
		return c, fmt.Errorf("slot %s tells no generation", f.Name)
	}
	c.rates = map[string]float64{}
	for _, d := range field(config, "descriptors").GetListValue().GetValues() {
		name, ok := modelOf(d.GetStructValue())
		if !ok {
			continue
		}
		bucket := field(d.GetStructValue(), "token_bucket").GetStructValue()
		fill, err := time.ParseDuration(field(bucket, "fill_interval").GetStringValue())
		if err != nil || fill <= 0 {
			return c, fmt.Errorf("slot %s: the bucket of %s: %v, error %w", f.Name, name, bucket, err)
		}
		c.rates[name] = field(bucket, "tokens_per_fill").GetNumberValue() / fill.Seconds()
	}
	return c, nil
}

// modelOf is the virtual service that a descriptor is for, as a whole.
func modelOf(descriptor *structpb.Struct) (string, bool) {
	name, whole := "", true
	for _, entry := range field(descriptor, "entries").GetListValue().GetValues() {
		value := field(entry.GetStructValue(), "value").GetStringValue()
		switch field(entry.GetStructValue(), "key").GetStringValue() {
		case "model":
			name, _ = strings.CutPrefix(value, gateway.VirtualServiceMetadata(""))
		case "request":
		default:
			whole = false
		}
	}
	return name, whole && name != ""
}

func field(of *structpb.Struct, name string) *structpb.Value { return of.GetFields()[name] }
