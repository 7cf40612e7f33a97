package resources

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
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
	retrySeconds = "1"
	// exhausted is in the form of the IETF's draft of RateLimit headers: nothing is left
	// of the Model's quota, and there is some again after this many seconds. Envoy's own
	// x-ratelimit headers would tell of one bucket of one pod, in answers that aren't
	// refused too, and hold back clients that go by them for no reason.
	exhausted    = `"model";r=0;t=` + retrySeconds
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
}

// Slot is one of the fixed places that hold limits, at every entry of those pods of a
// gateway that have as many of them.
type Slot struct {
	Gateway string
	// Slots is how many there are, Index which of them this is, from 0.
	Slots, Index int
	// ProbeToken is the installation's: requests whose path begins with
	// gateway.ProbePath of it are our prober's. Empty means that none are.
	ProbeToken string
	// Limits are each entry's, by its place in gateway.Entries, in any order; a virtual
	// service appears once, and once with each cluster.
	Limits [][]Limit
}

// Name is that of the slot's object.
func (s Slot) Name() string { return gateway.SlotObjectName(s.Gateway, s.Slots, s.Index) }

// Filter is the slot's filter at an entry as Envoy gets it, and the generation by which
// it tells what it enforces: a hash of everything in it. Envoy's own validators and the
// rules they lack have passed it.
//
// Three rate limits make descriptors. The first is "which virtual service", from
// the route's metadata, for every request but our prober's. The second is "which
// cluster" beside it, where a limit is for one: that is what Envoy chose for the
// request, by whatever host or header, so no client can call it by another name. The
// third is for our prober's alone, on whatever host they come: "which slot", from
// their header. It has a single token an hour, so that a probe is answered 429, with
// the generation, without costing a Model anything.
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
		filter.RateLimits = append(filter.RateLimits, &routev3.RateLimit{Actions: append(s.modelActions(), clusterAction())})
	}
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
		entries := []*ratelimitv3.RateLimitDescriptor_Entry{
			{Key: modelKey, Value: gateway.VirtualServiceMetadata(l.VirtualService)},
		}
		if s.ProbeToken != "" {
			entries = append(entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: requestKey, Value: byClient})
		}
		if l.Cluster != "" {
			entries = append(entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: clusterKey, Value: l.Cluster})
		}
		filter.Descriptors = append(filter.Descriptors, &ratelimitv3.LocalRateLimitDescriptor{
			Entries: entries, TokenBucket: bucket(l.MaxTokens, l.Tokens, l.Fill),
		})
	}

	generation, err := generationOf(filter)
	if err != nil {
		return nil, "", err
	}
	filter.ResponseHeadersToAdd = []*corev3.HeaderValueOption{
		setHeader("retry-after", retrySeconds), setHeader("ratelimit", exhausted), setHeader(gateway.GenerationHeader, generation),
	}
	if err := validate(filter); err != nil {
		return nil, "", fmt.Errorf("slot %s at entry %s: %w", s.Name(), gateway.Entries()[entry].Name, err)
	}
	return filter, generation, nil
}

// EnvoyFilter is the one object that supplies the slot, and the generation of each
// entry's filter. One write changes all entries: between two, their shares of a limit
// could add up to more than it.
func (s Slot) EnvoyFilter() (object *istio.EnvoyFilter, generations []string, err error) {
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
		},
		Spec: v1alpha3.EnvoyFilter{
			WorkloadSelector: &v1alpha3.WorkloadSelector{Labels: gateway.PodSelector(s.Gateway, s.Slots)},
		},
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

// modelActions make a descriptor of the route's own metadata, which istiod sets to
// the virtual service that the route comes from. Our prober's requests make none.
func (s Slot) modelActions() []*routev3.RateLimit_Action {
	actions := []*routev3.RateLimit_Action{{ActionSpecifier: &routev3.RateLimit_Action_Metadata{
		Metadata: &routev3.RateLimit_Action_MetaData{
			DescriptorKey: modelKey,
			Source:        routev3.RateLimit_Action_MetaData_ROUTE_ENTRY,
			MetadataKey: &metadatav3.MetadataKey{
				Key: istioKey,
				Path: []*metadatav3.MetadataKey_PathSegment{{
					Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: istioConfKey},
				}},
			},
		},
	}}}
	if s.ProbeToken == "" {
		return actions
	}
	return append(actions, requestFrom(byClient, &routev3.RateLimit_Action_HeaderValueMatch{
		ExpectMatch: wrapperspb.Bool(false), Headers: probePath(s.ProbeToken),
	}))
}

// clusterAction adds the cluster that the request's route, a split one included, leads
// to. Where the gateway itself answers there is none, and no descriptor.
func clusterAction() *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_DestinationCluster_{
		DestinationCluster: &routev3.RateLimit_Action_DestinationCluster{},
	}}
}

// probeActions make a descriptor of our prober's requests, and of no others.
func (s Slot) probeActions() []*routev3.RateLimit_Action {
	return []*routev3.RateLimit_Action{
		requestFrom(byProber, &routev3.RateLimit_Action_HeaderValueMatch{Headers: probePath(s.ProbeToken)}),
		{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: gateway.SlotHeader, DescriptorKey: slotKey},
		}},
	}
}

// requestFrom makes a descriptor entry for the requests that match, and with it no
// descriptor at all for others.
func requestFrom(whom string, match *routev3.RateLimit_Action_HeaderValueMatch) *routev3.RateLimit_Action {
	match.DescriptorKey, match.DescriptorValue = requestKey, whom
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{HeaderValueMatch: match}}
}

func probePath(token string) []*routev3.HeaderMatcher {
	return []*routev3.HeaderMatcher{{
		Name: ":path",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: gateway.ProbePath(token)},
		}},
	}}
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
