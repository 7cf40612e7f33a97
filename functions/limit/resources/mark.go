package resources

import (
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

const (
	markKey  = "mark"
	byBatch  = "batch"
	unmarked = "none"
)

// Bucket is a token bucket as Envoy has it.
type Bucket struct {
	MaxTokens, Tokens uint32
	Fill              time.Duration
}

func (l Limit) marked() bool { return l.Marked != Bucket{} }

// markRateLimits make descriptors that tell requests with the mark from others. A limit with
// a bucket for the mark has two, one for each kind, and none of those that every request has:
// so a request takes of just one of its buckets. Those of a limit without are as ever, and
// for these the mark says nothing: nobody gets past a limit by it.
func (s Slot) markRateLimits(limits []Limit) (out []*routev3.RateLimit) {
	with := func(actions func() []*routev3.RateLimit_Action, which func(Limit) bool) {
		if !slices.ContainsFunc(limits, func(l Limit) bool { return l.marked() && which(l) }) {
			return
		}
		out = append(out,
			&routev3.RateLimit{Actions: append(actions(), markAction(unmarked, wrapperspb.Bool(false)))},
			&routev3.RateLimit{Actions: append(actions(), markAction(byBatch, nil))})
	}
	with(s.modelActions, func(l Limit) bool { return l.Cluster == "" })
	with(clusterActions, func(l Limit) bool { return l.Cluster != "" })
	return out
}

// markAction makes a descriptor entry for requests that carry the mark, whatever it says, or
// where that is not expected for those that don't.
func markAction(which string, expect *wrapperspb.BoolValue) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{
			DescriptorKey: markKey, DescriptorValue: which, ExpectMatch: expect,
			Headers: []*routev3.HeaderMatcher{{
				Name: gateway.MarkHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			}},
		},
	}}
}

// withMark are the descriptors of a limit that has a bucket for the mark: its own, which is
// for the others then, and that.
func withMark(own *ratelimitv3.LocalRateLimitDescriptor, marked Bucket) []*ratelimitv3.LocalRateLimitDescriptor {
	of := func(which string) []*ratelimitv3.RateLimitDescriptor_Entry {
		return append(slices.Clone(own.Entries), &ratelimitv3.RateLimitDescriptor_Entry{Key: markKey, Value: which})
	}
	return []*ratelimitv3.LocalRateLimitDescriptor{
		{Entries: of(unmarked), TokenBucket: own.TokenBucket},
		{Entries: of(byBatch), TokenBucket: bucket(marked.MaxTokens, marked.Tokens, marked.Fill)},
	}
}
