package resources

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
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

func TestFilterRefusesWhatEnvoyWould(t *testing.T) {
	tests := map[string]struct {
		limits []Limit
		want   string
	}{
		"twice":             {[]Limit{limit("a.one"), limit("a.one")}, "appears twice"},
		"a cluster twice":   {[]Limit{toCluster("a.one", "x"), limit("a.one"), toCluster("a.one", "x")}, "appears twice"},
		"a short fill":      {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: 49 * time.Millisecond}}, "out of bounds"},
		"a broken fill":     {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Tokens: 1, Fill: 50*time.Millisecond + 1}}, "out of bounds"},
		"an empty bucket":   {[]Limit{{VirtualService: "a.one", Tokens: 1, Fill: time.Second}}, "out of bounds"},
		"nothing to refill": {[]Limit{{VirtualService: "a.one", MaxTokens: 1, Fill: time.Second}}, "TokensPerFill"},
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
