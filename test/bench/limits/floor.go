package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	istioapi "istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/functions/limit/resources"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/test/platform"
)

const (
	// handMade is the extension's name, and the objects' that insert and supply it.
	handMade = "bench-limits-by-hand"
	// handMadeSlot is the number by which the extension is asked: no slot has it.
	handMadeSlot = 99
)

// byHand is a limit like a slot's, on the benchmark's gateway, that is changed by
// writing its EnvoyFilter: what a change of a limit costs at least.
type byHand struct {
	object *istio.EnvoyFilter
	// changes so far, each to another limit than ever before.
	changes int
}

// addByHand adds the extension to the gateway's entry for callers outside, and waits
// until its pods tell of it.
func (b *bench) addByHand(ctx context.Context) (*byHand, error) {
	floor := &byHand{}
	want, _, err := floor.next(b.token)
	if err != nil {
		return nil, err
	}
	filters := b.clients.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	// First what it is, then where: a listener waits for what it doesn't know.
	if floor.object, err = filters.Create(ctx, want, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("supplying a filter by hand: %w", err)
	}
	insertion, err := insertion()
	if err != nil {
		return nil, err
	}
	if _, err := filters.Create(ctx, insertion, metav1.CreateOptions{}); err != nil {
		return nil, fmt.Errorf("inserting a filter by hand: %w", err)
	}
	return floor, platform.Until(ctx, 30*time.Second, "the filter made by hand", func(ctx context.Context) (string, error) {
		for _, l := range b.externals() {
			if generation, err := b.generation(ctx, l, handMadeSlot); err != nil || generation == "" {
				return fmt.Sprintf("%s doesn't tell of it, error %v", l.pod, err), nil
			}
		}
		return "", nil
	})
}

// next is the object with a limit that it never had, and the generation by which
// pods tell it.
func (f *byHand) next(token string) (*istio.EnvoyFilter, string, error) {
	f.changes++
	at := slices.Index(gateway.Entries(), gateway.External)
	slot := resources.Slot{
		Gateway: ownGateway, Slots: gateway.DefaultSlots, Index: handMadeSlot, ProbeToken: token,
		Limits: make([][]resources.Limit, at+1),
	}
	slot.Limits[at] = []resources.Limit{{VirtualService: handMade, MaxTokens: 10, Tokens: uint32(f.changes), Fill: time.Second}}
	object, generations, err := slot.EnvoyFilter()
	if err != nil {
		return nil, "", fmt.Errorf("building a filter by hand: %w", err)
	}
	object.ObjectMeta = meta(gateway.Namespace, handMade)
	object.Spec.ConfigPatches = object.Spec.ConfigPatches[at : at+1]
	object.Spec.ConfigPatches[0].Patch.Value.Fields["name"] = structpb.NewStringValue(handMade)
	if f.object != nil {
		object.ResourceVersion = f.object.ResourceVersion
	}
	return object, generations[at], nil
}

// change writes another limit and returns the generation that pods tell of it.
func (b *bench) changeByHand(ctx context.Context, f *byHand) (string, error) {
	want, generation, err := f.next(b.token)
	if err != nil {
		return "", err
	}
	f.object, err = b.clients.Istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Update(ctx, want, metav1.UpdateOptions{})
	if err != nil {
		return "", fmt.Errorf("changing a filter by hand: %w", err)
	}
	return generation, nil
}

// insertion puts the extension before the router, as the gateway's own slots are.
func insertion() (*istio.EnvoyFilter, error) {
	filter, err := structpb.NewStruct(map[string]any{
		"name": handMade,
		"config_discovery": map[string]any{
			"config_source": map[string]any{"ads": map[string]any{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
			"type_urls":     []any{"type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("building a filter by hand: %w", err)
	}
	return &istio.EnvoyFilter{
		ObjectMeta: meta(gateway.Namespace, handMade+"-insertion"),
		Spec: istioapi.EnvoyFilter{
			WorkloadSelector: &istioapi.WorkloadSelector{Labels: map[string]string{gateway.LabelKey: ownGateway}},
			ConfigPatches: []*istioapi.EnvoyFilter_EnvoyConfigObjectPatch{{
				ApplyTo: istioapi.EnvoyFilter_HTTP_FILTER,
				Match: &istioapi.EnvoyFilter_EnvoyConfigObjectMatch{
					Context: istioapi.EnvoyFilter_GATEWAY,
					ObjectTypes: &istioapi.EnvoyFilter_EnvoyConfigObjectMatch_Listener{Listener: &istioapi.EnvoyFilter_ListenerMatch{
						PortNumber: gateway.External.Port,
						FilterChain: &istioapi.EnvoyFilter_ListenerMatch_FilterChainMatch{
							Filter: &istioapi.EnvoyFilter_ListenerMatch_FilterMatch{
								Name:      "envoy.filters.network.http_connection_manager",
								SubFilter: &istioapi.EnvoyFilter_ListenerMatch_SubFilterMatch{Name: "envoy.filters.http.router"},
							},
						},
					}},
				},
				Patch: &istioapi.EnvoyFilter_Patch{Operation: istioapi.EnvoyFilter_Patch_INSERT_BEFORE, Value: filter},
			}},
		},
	}, nil
}
