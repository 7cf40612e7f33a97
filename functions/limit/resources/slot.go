package resources

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/api/networking/v1alpha3"
	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	modelKey     = "model"
	slotKey      = "slot"
	requestKey   = "request"
	clusterKey   = "destination_cluster" // which Envoy sets
	byClient     = "client"
	byProber     = "prober"
	filterType   = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
	statPrefix   = "sluice_limit"
	proofRefill  = time.Hour
	istioKey     = "istio"
	istioConfKey = "config"
)

// MinFill is the shortest fill interval that Envoy accepts.
const MinFill = 50 * time.Millisecond

// Limit is a token bucket at one entry of each gateway pod. A request that several
// are for takes a token of each, the slowest first, until one has none: so what a slow
// one refuses costs the faster nothing.
type Limit struct {
	// VirtualService is the name of the virtual service, in the gateways' namespace,
	// whose requests it is for.
	VirtualService string
	// Cluster is the one, of those that its routes lead to, that it is for; "" for all.
	Cluster string
	// MaxTokens is the bucket's depth; Tokens are added in each Fill.
	MaxTokens, Tokens uint32
	Fill              time.Duration
	// Queue is how many tokens the bucket holds, if that is more: requests that may wait.
	// Depth is how many it holds while none wait.
	Queue, Depth uint32
	// Marked is the bucket of requests that carry the mark. They take of it alone, and
	// others of the limit's own alone. The zero value is none: then the mark says nothing.
	Marked Bucket
}

// Slot is one of the fixed places that hold limits, at every entry of those pods of a
// gateway that have as many of them.
type Slot struct {
	Gateway string
	// Slots is how many there are, Index which of them this is, from 0.
	Slots, Index int
	// ProbeToken is the installation's: requests whose path begins with
	// gateway.ProbePrefix of it are our prober's. Empty means that none are.
	ProbeToken string
	// Limits are each entry's, by its place in gateway.Entries, in any order; a virtual
	// service appears once, and once with each cluster.
	Limits [][]Limit
	// Shares are those by which the entries have their limits.
	Shares Shares
	// Claimed is what the limits that belong in it take, in bytes, those that it has no
	// room for too.
	Claimed int
}

// Name is that of the slot's object.
func (s Slot) Name() string { return gateway.SlotObjectName(s.Gateway, s.Slots, s.Index) }

// Stands is true if what was written of the slot needs no write for other content: it
// differs in nothing but how many requests wait, and has its whole depth if none do. A
// write would refill the buckets of all its limits.
func (s Slot) Stands(other Slot) bool {
	return s.ProbeToken == other.ProbeToken && s.Claimed == other.Claimed && maps.EqualFunc(s.Shares, other.Shares, slices.Equal) &&
		slices.EqualFunc(s.Limits, other.Limits, func(a, b []Limit) bool {
			return slices.EqualFunc(a, b, func(a, b Limit) bool {
				if b.Queue < b.Depth {
					a.Queue = b.Queue
				}
				return a == b
			})
		})
}

// Filter is the slot's filter at an entry as Envoy gets it, and the generation by which
// it tells what it enforces: a hash of everything in it. Envoy's own validators and the
// rules they lack have passed it.
//
// Three rate limits make descriptors. The first is "which virtual service", from
// the route's metadata, for every request but our prober's. The second is "which
// cluster" beside it, where a limit is for one: that is what Envoy chose for the
// request, by whatever host or header, so no client can call it by another name; our
// prober's requests have none, since the gateway itself answers them. The third is for our prober's alone, on whatever host they come: "which slot", from
// their header. It has a single token an hour, so that a probe is answered 429, with
// the generation, without costing a Model anything. mark.go has what is added for requests
// that carry the mark.
func (s Slot) Filter(entry int) (*localv3.LocalRateLimit, string, error) {
	var limits []Limit
	if entry < len(s.Limits) {
		limits = slices.Clone(s.Limits[entry])
	}
	slices.SortFunc(limits, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(a.VirtualService, b.VirtualService), cmp.Compare(a.Cluster, b.Cluster))
	})

	filter := &localv3.LocalRateLimit{
		StatPrefix:                     statPrefix,
		FilterEnabled:                  always(),
		FilterEnforced:                 always(),
		RateLimits:                     []*routev3.RateLimit{{Actions: s.modelActions()}},
		RateLimitedAsResourceExhausted: true,
	}
	if slices.ContainsFunc(limits, func(l Limit) bool { return l.Cluster != "" }) {
		filter.RateLimits = append(filter.RateLimits, &routev3.RateLimit{Actions: clusterActions()})
	}
	filter.RateLimits = append(filter.RateLimits, s.markRateLimits(limits)...)
	if s.ProbeToken != "" {
		filter.RateLimits = append(filter.RateLimits, &routev3.RateLimit{Actions: s.probeActions()})
		filter.Descriptors = append(filter.Descriptors, &ratelimitv3.LocalRateLimitDescriptor{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{
				{Key: requestKey, Value: byProber}, {Key: slotKey, Value: strconv.Itoa(s.Index)},
			},
			TokenBucket: bucket(1, 1, proofRefill),
		})
	}
	for _, l := range limits {
		filter.Descriptors = append(filter.Descriptors, s.descriptors(l)...)
	}

	generation, err := generationOf(filter)
	if err != nil {
		return nil, "", err
	}
	filter.ResponseHeadersToAdd = []*corev3.HeaderValueOption{
		setHeader(gateway.GenerationHeader, generation),
	}
	if err := validate(filter); err != nil {
		return nil, "", fmt.Errorf("slot %s at entry %s: %w", s.Name(), gateway.Entries()[entry].Name, err)
	}
	return filter, generation, nil
}

// descriptors are those of a limit.
func (s Slot) descriptors(l Limit) []*ratelimitv3.LocalRateLimitDescriptor {
	entries := []*ratelimitv3.RateLimitDescriptor_Entry{
		{Key: modelKey, Value: gateway.VirtualServiceMetadata(l.VirtualService)},
	}
	switch {
	case l.Cluster != "":
		entries = append(entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: clusterKey, Value: l.Cluster})
	case s.ProbeToken != "":
		entries = append(entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: requestKey, Value: byClient})
	}
	own := &ratelimitv3.LocalRateLimitDescriptor{Entries: entries, TokenBucket: bucket(max(l.MaxTokens, l.Queue), l.Tokens, l.Fill)}
	if !l.marked() {
		return []*ratelimitv3.LocalRateLimitDescriptor{own}
	}
	return withMark(own, l.Marked)
}

// EnvoyFilter is the one object that supplies the slot, and the generation of each
// entry's filter. One write changes all entries: between two, their shares of a limit
// could add up to more than it.
func (s Slot) EnvoyFilter() (object *istio.EnvoyFilter, generations []string, err error) {
	shares, err := s.Shares.encode()
	if err != nil {
		return nil, nil, fmt.Errorf("slot %s: %w", s.Name(), err)
	}
	marks, err := s.marks()
	if err != nil {
		return nil, nil, fmt.Errorf("slot %s: %w", s.Name(), err)
	}
	object = &istio.EnvoyFilter{
		TypeMeta: metav1.TypeMeta{APIVersion: istio.SchemeGroupVersion.String(), Kind: "EnvoyFilter"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: gateway.Namespace,
			Name:      s.Name(),
			Labels: map[string]string{
				sluice.ManagedByLabelKey: sluice.ManagedBy,
				gateway.LabelKey:         s.Gateway,
				gateway.SlotsLabelKey:    strconv.Itoa(s.Slots),
				gateway.SlotLabelKey:     strconv.Itoa(s.Index),
			},
			Annotations: map[string]string{
				SharesAnnotationKey:          shares,
				gateway.ClaimedAnnotationKey: strconv.Itoa(s.Claimed),
			},
		},
		Spec: v1alpha3.EnvoyFilter{
			WorkloadSelector: &v1alpha3.WorkloadSelector{Labels: gateway.PodSelector(s.Gateway, s.Slots)},
		},
	}
	if marks != "" {
		object.Annotations[MarksAnnotationKey] = marks
	}
	for i, entry := range gateway.Entries() {
		filter, generation, err := s.Filter(i)
		if err != nil {
			return nil, nil, err
		}
		patch, err := supply(gateway.ExtensionName(entry, s.Index), filter)
		if err != nil {
			return nil, nil, fmt.Errorf("slot %s at entry %s: %w", s.Name(), entry.Name, err)
		}
		object.Spec.ConfigPatches = append(object.Spec.ConfigPatches, patch)
		generations = append(generations, generation)
	}
	return object, generations, nil
}

// supply is the patch by which a filter reaches the pods under that name.
func supply(name string, filter *localv3.LocalRateLimit) (*v1alpha3.EnvoyFilter_EnvoyConfigObjectPatch, error) {
	config, err := toStruct(filter)
	if err != nil {
		return nil, err
	}
	config.Fields["@type"] = structpb.NewStringValue(filterType)
	return &v1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: v1alpha3.EnvoyFilter_EXTENSION_CONFIG,
		Match:   &v1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{Context: v1alpha3.EnvoyFilter_GATEWAY},
		Patch: &v1alpha3.EnvoyFilter_Patch{
			Operation: v1alpha3.EnvoyFilter_Patch_ADD,
			Value: &structpb.Struct{Fields: map[string]*structpb.Value{
				"name":         structpb.NewStringValue(name),
				"typed_config": structpb.NewStructValue(config),
			}},
		},
	}, nil
}

func always() *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{
		DefaultValue: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED},
	}
}

func bucket(maxTokens, tokens uint32, fill time.Duration) *typev3.TokenBucket {
	return &typev3.TokenBucket{
		MaxTokens: maxTokens, TokensPerFill: wrapperspb.UInt32(tokens), FillInterval: durationpb.New(fill),
	}
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func generationOf(filter *localv3.LocalRateLimit) (string, error) {
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(filter)
	if err != nil {
		return "", fmt.Errorf("marshalling the filter: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8]), nil
}

func toStruct(filter *localv3.LocalRateLimit) (*structpb.Struct, error) {
	content, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(filter)
	if err != nil {
		return nil, fmt.Errorf("marshalling the filter: %w", err)
	}
	config := &structpb.Struct{}
	if err := protojson.Unmarshal(content, config); err != nil {
		return nil, fmt.Errorf("converting the filter: %w", err)
	}
	return config, nil
}
