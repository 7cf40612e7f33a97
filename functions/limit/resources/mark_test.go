package resources

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// withMarked is a limit of so many tokens with a bucket for the mark of so many.
func withMarked(l Limit, tokens, marked uint32) Limit {
	l.MaxTokens = tokens
	if marked > 0 {
		l.Marked = Bucket{MaxTokens: marked, Tokens: 1, Fill: MinFill}
	}
	return l
}

// request is one as a filter sees it.
type request struct {
	virtualService, cluster string
	headers                 map[string]string
}

func marked(path, value string) map[string]string {
	return map[string]string{":path": path, gateway.MarkHeader: value}
}

func plain(path string) map[string]string { return map[string]string{":path": path} }

// takes are the depths of the buckets that a request takes a token of, as Envoy finds them:
// of each rate limit the descriptor that its actions make, if all make an entry, and of these
// those that the filter has.
func (r request) takes(t interface{ Fatalf(string, ...any) }, filter *localv3.LocalRateLimit) (depths []uint32) {
	for _, limit := range filter.RateLimits {
		made, ok := []string{}, true
		for _, a := range limit.Actions {
			entry, makes := r.entry(t, a)
			ok = ok && makes
			made = append(made, entry)
		}
		for _, d := range filter.Descriptors {
			var has []string
			for _, e := range d.Entries {
				has = append(has, e.Key+"="+e.Value)
			}
			if ok && slices.Equal(made, has) {
				depths = append(depths, d.TokenBucket.MaxTokens)
			}
		}
	}
	slices.Sort(depths)
	return depths
}

// entry is what an action makes of the request; false if nothing, and so no descriptor.
func (r request) entry(t interface{ Fatalf(string, ...any) }, action *routev3.RateLimit_Action) (string, bool) {
	switch a := action.ActionSpecifier.(type) {
	case *routev3.RateLimit_Action_Metadata:
		return a.Metadata.DescriptorKey + "=" + gateway.VirtualServiceMetadata(r.virtualService), true
	case *routev3.RateLimit_Action_DestinationCluster_:
		return "destination_cluster=" + r.cluster, r.cluster != ""
	case *routev3.RateLimit_Action_RequestHeaders_:
		value, ok := r.headers[a.RequestHeaders.HeaderName]
		return a.RequestHeaders.DescriptorKey + "=" + value, ok
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		matches := true
		for _, h := range a.HeaderValueMatch.Headers {
			value, ok := r.headers[h.Name]
			if !h.GetPresentMatch() {
				ok = ok && strings.HasPrefix(value, h.GetStringMatch().GetPrefix())
			}
			matches = matches && ok
		}
		expect := a.HeaderValueMatch.ExpectMatch == nil || a.HeaderValueMatch.ExpectMatch.Value
		return a.HeaderValueMatch.DescriptorKey + "=" + a.HeaderValueMatch.DescriptorValue, matches == expect
	}
	t.Fatalf("what %T does isn't known", action.ActionSpecifier)
	return "", false
}

func TestWhatRequestsTake(t *testing.T) {
	slot := Slot{Gateway: "shared", Slots: 1, ProbeToken: "token", Limits: [][]Limit{{
		withMarked(limit("a.one"), 10, 11), withMarked(toCluster("a.one", "x"), 12, 13),
		withMarked(limit("b.two"), 20, 0), withMarked(toCluster("b.two", "y"), 21, 0),
		withMarked(limit("c.three"), 30, 31),
	}}}
	filter, _, err := slot.Filter(0)
	if err != nil {
		t.Fatal(err)
	}
	probe := gateway.ProbePath("token") + "/limits"
	asks := marked(probe, "score")
	asks[gateway.SlotHeader] = "0"
	for name, tt := range map[string]struct {
		request
		want []uint32
	}{
		"without the mark":               {request{"a.one", "x", plain("/infer")}, []uint32{10, 12}},
		"with the mark":                  {request{"a.one", "x", marked("/infer", "score")}, []uint32{11, 13}},
		"with one that says nothing":     {request{"c.three", "z", marked("/infer", "")}, []uint32{31}},
		"to a revision without a bucket": {request{"a.one", "z", marked("/infer", "score")}, []uint32{11}},
		"no bucket for the mark":         {request{"b.two", "y", marked("/infer", "score")}, []uint32{20, 21}},
		"no bucket, no mark":             {request{"b.two", "y", plain("/infer")}, []uint32{20, 21}},
		"no limit here":                  {request{"d.four", "y", marked("/infer", "score")}, nil},
		"the gateway answers itself":     {request{"a.one", "", marked("/infer", "score")}, []uint32{11}},
		"a route probe":                  {request{"a.one", "", marked(probe, "score")}, nil},
		"a limit probe":                  {request{"a.one", "", asks}, []uint32{1}},
	} {
		if got := tt.takes(t, filter); !slices.Equal(got, tt.want) {
			t.Errorf("%s: takes of %v, want %v", name, got, tt.want)
		}
	}
}

// With the mark or without, whatever it says and whichever Models have buckets for it: a
// request takes one token of its Model's limit, and one of its revision's.
func TestNobodyGetsPastALimitByTheMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := Slot{Gateway: "shared", Slots: 1, Limits: [][]Limit{nil}}
		if rapid.Bool().Draw(t, "token") {
			slot.ProbeToken = "token"
		}
		own, of := map[uint32]string{}, uint32(100)
		for m := range rapid.IntRange(1, 5).Draw(t, "models") {
			name := fmt.Sprint("team.m", m)
			limits := []Limit{limit(name), toCluster(name, name+"-1"), toCluster(name, name+"-2")}
			for _, l := range limits[:rapid.IntRange(1, 3).Draw(t, "buckets")] {
				l = withMarked(l, of, 0)
				if rapid.Bool().Draw(t, "marked") {
					l = withMarked(l, of, of+1)
				}
				own[of], own[of+1] = l.VirtualService+l.Cluster, l.VirtualService+l.Cluster
				slot.Limits[0], of = append(slot.Limits[0], l), of+2
			}
		}
		filter, _, err := slot.Filter(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range slot.Limits[0] {
			for _, headers := range []map[string]string{plain("/"), marked("/", ""), marked("/", "x")} {
				took := map[string]int{}
				for _, depth := range (request{l.VirtualService, l.Cluster, headers}).takes(t, filter) {
					took[own[depth]]++
					if _, carries := headers[gateway.MarkHeader]; depth%2 == 1 && !carries {
						t.Fatalf("a request without the mark takes of a bucket for it")
					}
				}
				if took[l.VirtualService] != 1 || took[l.VirtualService+l.Cluster] != 1 || len(took) > 2 {
					t.Fatalf("%v to %s, %s takes of %v", headers, l.VirtualService, l.Cluster, took)
				}
			}
		}
	})
}

// What a Model's bucket for the mark adds to its slot is for that Model alone.
func TestMarkLeavesOthersAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := Slot{Gateway: "shared", Slots: 1, ProbeToken: "token", Limits: [][]Limit{nil}}
		for m := range rapid.IntRange(2, 6).Draw(t, "models") {
			slot.Limits[0] = append(slot.Limits[0], limit(fmt.Sprint("team.m", m)))
		}
		filterOf := func() *localv3.LocalRateLimit {
			filter, _, err := slot.Filter(0)
			if err != nil {
				t.Fatal(err)
			}
			return filter
		}
		before := filterOf()
		of := rapid.IntRange(0, len(slot.Limits[0])-1).Draw(t, "with a batch")
		slot.Limits[0][of] = withMarked(slot.Limits[0][of], 10, 5)
		after := filterOf()
		if len(after.RateLimits) != len(before.RateLimits)+2 || len(after.Descriptors) != len(before.Descriptors)+1 {
			t.Fatalf("%d rate limits and %d descriptors became %d and %d", len(before.RateLimits), len(before.Descriptors), len(after.RateLimits), len(after.Descriptors))
		}
		for _, d := range before.Descriptors {
			same := slices.ContainsFunc(after.Descriptors, func(a *ratelimitv3.LocalRateLimitDescriptor) bool { return proto.Equal(a, d) })
			if its := strings.HasSuffix(d.Entries[0].Value, "/"+slot.Limits[0][of].VirtualService); same == its {
				t.Fatalf("%v is the same: %t", d, same)
			}
		}
		slot.Limits[0][of].Marked = Bucket{}
		if !proto.Equal(before, filterOf()) {
			t.Fatal("something is left of a bucket for the mark")
		}
	})
}

// What the bucket costs at one entry, where 5,000 Models are on one gateway with all the
// slots that there can be: with a batch on one in a hundred next to nothing, and even with
// one on each less than a tenth of a slot.
func TestMarkTakesLittleRoom(t *testing.T) {
	const models = 5000
	l := limit(strings.Repeat("n", 30) + "." + strings.Repeat("m", 30))
	more := withMarked(l, 10, 5).Bytes() - l.Bytes()
	all := float64(models*more) / gateway.MaxSlots / gateway.SlotBytes
	t.Logf("a bucket for the mark takes %d bytes; %d of them %.1f %% of each of %d slots, %d of them %.2f %%",
		more, models, 100*all, gateway.MaxSlots, models/100, all)
	if more > 400 || all > .1 {
		t.Errorf("a bucket for the mark takes %d bytes, and %g of a slot for each of %d Models", more, all, models)
	}
}
