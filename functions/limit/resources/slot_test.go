package resources

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

var update = flag.Bool("update", false, "write the golden files anew")

func limit(virtualService string) Limit {
	return Limit{VirtualService: virtualService, MaxTokens: 10, Tokens: 5, Fill: 50 * time.Millisecond}
}

func toCluster(virtualService, cluster string) Limit {
	l := limit(virtualService)
	l.Cluster = cluster
	return l
}

func TestEnvoyFilter(t *testing.T) {
	tests := map[string]Slot{
		"tokenless": {Gateway: "shared", Slots: 4, Limits: [][]Limit{{limit("a.one")}, nil, nil}},
		"empty":     {Gateway: "tenant-blue", Slots: 8, Index: 7, ProbeToken: "token"},
		"cluster": {Gateway: "shared", Slots: 4, Index: 1, ProbeToken: "token", Limits: [][]Limit{
			{toCluster("a.one", "outbound|80||x"), limit("a.one"), limit("b.two")}, nil, {limit("a.one")},
		}},
		"two": {Gateway: "shared", Slots: 4, Index: 3, ProbeToken: "token", Limits: [][]Limit{
			nil, {limit("b.two"), limit("a.one")}, {limit("b.two"), limit("a.one")},
		}, Shares: Shares{"a.one": {0, 950, 50}, "b.two": {0, 1, 999}}},
		"marked": {Gateway: "shared", Slots: 4, Index: 2, ProbeToken: "token", Limits: [][]Limit{
			{limit("a.one")}, nil, {
				withMarked(limit("a.one"), 10, 6), withMarked(toCluster("a.one", "outbound|80||x"), 10, 3), toCluster("b.two", "outbound|80||y"), limit("b.two"),
			},
		}},
	}
	for name, slot := range tests {
		t.Run(name, func(t *testing.T) {
			filter, _, err := slot.EnvoyFilter()
			if err != nil {
				t.Fatal("EnvoyFilter() =", err)
			}
			got, err := yaml.Marshal(filter)
			if err != nil {
				t.Fatal("Marshal() =", err)
			}
			path := "testdata/" + name + ".out.yaml"
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error("unlike the golden file (-want, +got):", diff)
			}
		})
	}
}

// What the token exempts is what the gateway itself answers, and nothing that begins alike.
func TestExemptions(t *testing.T) {
	filter, _, err := Slot{Gateway: "shared", Slots: 1, ProbeToken: "token", Limits: [][]Limit{{limit("a.one")}}}.Filter(0)
	if err != nil {
		t.Fatal(err)
	}
	base := gateway.ProbePath("token")
	checked := 0
	for _, rateLimit := range filter.RateLimits {
		for _, action := range rateLimit.Actions {
			for _, h := range action.GetHeaderValueMatch().GetHeaders() {
				checked++
				for path, exempt := range map[string]bool{
					base: false, base + "x/infer": false, base + "?x": false, gateway.KeptPath(base): false, base + "/limits": true,
				} {
					if got := strings.HasPrefix(path, h.GetStringMatch().GetPrefix()); got != exempt {
						t.Errorf("%s: exempt is %t", path, got)
					}
				}
			}
		}
	}
	if checked != 2 {
		t.Errorf("%d conditions on a path, want one for requests and one for probes", checked)
	}
}

func TestFilterRefusesWhatEnvoyWould(t *testing.T) {
	tests := map[string]struct {
		limits []Limit
		want   string
	}{
		"twice":                        {[]Limit{limit("a.one"), limit("a.one")}, "appears twice"},
		"a cluster twice":              {[]Limit{toCluster("a.one", "x"), limit("a.one"), toCluster("a.one", "x")}, "appears twice"},
		"a short fill":                 {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: 49 * time.Millisecond}}, "out of bounds"},
		"a broken fill":                {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: 50*time.Millisecond + 1}}, "out of bounds"},
		"an empty bucket":              {[]Limit{{VirtualService: "a.one", Tokens: 1, Fill: time.Second}}, "out of bounds"},
		"an empty bucket for the mark": {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: time.Second, Marked: Bucket{Tokens: 1, Fill: time.Second}}}, "out of bounds"},
		"a short fill of it":           {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: time.Second, Marked: Bucket{MaxTokens: 1, Tokens: 1, Fill: 49 * time.Millisecond}}}, "out of bounds"},
		"nothing to refill":            {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Fill: time.Second}}, "TokensPerFill"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := Slot{Gateway: "shared", Slots: 1, Limits: [][]Limit{tt.limits}}.Filter(0)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Filter() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// A generation tells contents apart, and only contents: the order in which limits
// are named makes no other.
func TestGeneration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,8}\.[a-z]{1,8}`), 1, 8, rapid.ID[string]).Draw(t, "names")
		slot := Slot{Gateway: "shared", Slots: 1, Limits: make([][]Limit, 1)}
		for _, n := range names {
			slot.Limits[0] = append(slot.Limits[0], limit(n))
		}
		_, first, err := slot.Filter(0)
		if err != nil {
			t.Fatal(err)
		}
		slot.Limits[0] = rapid.Permutation(slot.Limits[0]).Draw(t, "order")
		if _, again, _ := slot.Filter(0); again != first {
			t.Fatalf("generation %s became %s by another order", first, again)
		}
		slot.Limits[0][0].Tokens++
		if _, other, _ := slot.Filter(0); other == first {
			t.Fatalf("generation %s is that of two contents", first)
		}
	})
}

// What a limit is said to take is enough, whatever its numbers, and not far off.
func TestBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := func(limits ...Limit) int {
			filter, _, err := Slot{Gateway: "shared", Slots: 1, ProbeToken: "t", Limits: [][]Limit{limits}}.EnvoyFilter()
			if err != nil {
				t.Fatal(err)
			}
			content, err := json.Marshal(filter)
			if err != nil {
				t.Fatal(err)
			}
			return len(content)
		}
		l := Limit{
			VirtualService: rapid.StringMatching(`[a-z<&"]{1,60}`).Draw(t, "name"),
			MaxTokens:      rapid.Uint32Range(1, 1<<32-1).Draw(t, "max"), Tokens: rapid.Uint32Range(1, 1<<32-1).Draw(t, "tokens"),
			Fill: time.Duration(rapid.Int64Range(50, 100_000_000_000).Draw(t, "fill")) * time.Millisecond,
		}
		of := l
		of.VirtualService = "other"
		if rapid.Bool().Draw(t, "of a cluster") {
			of.Cluster, l.Cluster = "outbound|80||a.b.svc.cluster.local", "outbound|80||a.b.svc.cluster.local"
		}
		slack := 40
		if rapid.Bool().Draw(t, "with a bucket for the mark") {
			of.Marked, slack = Bucket{MaxTokens: 1, Tokens: 1, Fill: MinFill}, 2*slack
			l.Marked = Bucket{MaxTokens: l.Tokens, Tokens: l.MaxTokens, Fill: l.Fill}
		}
		if took := size(of, l) - size(of); took > l.Bytes() || took < l.Bytes()-slack {
			t.Fatalf("%+v takes %d bytes, is said to take %d", l, took, l.Bytes())
		}
	})
}

// A slot is written anew for other content, and not for requests that wait.
func TestStands(t *testing.T) {
	slot := func(queue, tokens uint32) Slot {
		return Slot{Gateway: "shared", Slots: 1, Limits: [][]Limit{nil, nil, {{VirtualService: "a.one", Tokens: tokens, Queue: queue, Depth: 300}}}}
	}
	withBatch := func(s Slot) Slot {
		s.Limits[2][0].Marked = Bucket{MaxTokens: 1, Tokens: 1, Fill: time.Second}
		return s
	}
	for name, tt := range map[string]struct {
		was, is Slot
		want    bool
	}{
		"nothing changed":        {slot(300, 5), slot(300, 5), true},
		"requests wait":          {slot(300, 5), slot(100, 5), true},
		"and fewer of them":      {slot(100, 5), slot(200, 5), true},
		"none wait any more":     {slot(100, 5), slot(300, 5), false},
		"other rates":            {slot(300, 5), slot(300, 10), false},
		"other rates, some wait": {slot(300, 5), slot(100, 10), false},
		"a batch begins":         {slot(300, 5), withBatch(slot(300, 5)), false},
	} {
		if got := tt.was.Stands(tt.is); got != tt.want {
			t.Errorf("%s: Stands() = %v, want %v", name, got, tt.want)
		}
	}
}
