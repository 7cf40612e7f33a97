package v1alpha1

import (
	"context"
	"go/ast"
	"go/build"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// Every annotation that Knative's package declares is in the table, in each spelling, and no
// other: one that comes with another version of Knative is to be read up on.
func TestLivenessIsKnownOfAllAnnotations(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, l := range autoscalingLiveness {
		for _, key := range l.keys {
			if known[key] {
				t.Errorf("%s is there twice", key)
			}
			known[key] = true
		}
	}
	if diff := cmp.Diff(declaredAnnotations(t), slices.Sorted(maps.Keys(known))); diff != "" {
		t.Error("annotations of Knative's package (-), of the table (+):", diff)
	}
}

// declaredAnnotations are the sums of GroupName and a path in Knative's package, sorted.
func declaredAnnotations(t *testing.T) []string {
	t.Helper()
	found, err := build.Import("knative.dev/serving/pkg/apis/autoscaling", ".", build.FindOnly)
	if err != nil {
		t.Fatal("finding Knative's package:", err)
	}
	files, err := filepath.Glob(found.Dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal("parsing Knative's package:", err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			sum, ok := node.(*ast.BinaryExpr)
			if !ok || sum.Op != gotoken.ADD {
				return true
			}
			group, isName := sum.X.(*ast.Ident)
			path, isText := sum.Y.(*ast.BasicLit)
			if isName && isText && group.Name == "GroupName" {
				text, err := strconv.Unquote(path.Value)
				if err != nil {
					t.Fatal(err)
				}
				declared[autoscaling.GroupName+text] = true
			}
			return true
		})
	}
	if len(declared) == 0 {
		t.Fatal("Knative's package declares no annotation")
	}
	return slices.Sorted(maps.Keys(declared))
}

// The page for operators says of each what the table says.
func TestPageSaysWhatIsLive(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../../docs/tuning.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|.*\\| (yes|next revision) \\|")
	for _, found := range row.FindAllStringSubmatch(string(page), -1) {
		said[AutoscalingPrefix+found[1]] = found[2]
	}
	want := map[string]string{}
	for _, l := range autoscalingLiveness {
		want[l.keys.Key()] = "yes"
		if l.settled != "" {
			want[l.keys.Key()] = "next revision"
		}
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error("what is live by the table (-), by docs/tuning.md (+):", diff)
	}
	if live := LiveAutoscaling(); len(live) != strings.Count(strings.Join(slices.Collect(maps.Values(want)), " "), "yes") {
		t.Errorf("live are %q", live)
	}
}

func TestAwaitsRevision(t *testing.T) {
	t.Parallel()
	const delay, algorithm, class = autoscaling.ScaleDownDelayAnnotationKey, autoscaling.MetricAggregationAlgorithmKey, autoscaling.ClassAnnotationKey
	delayed := func(d string) func(*Model) {
		return scaling(func(a *AutoscalingSpec) { a.ScaleDownDelay = duration(d) })
	}
	for name, c := range map[string]struct {
		model   func(*Model)
		made    map[string]string
		unnamed string
		want    []string
	}{
		"nothing of it":                         {model: func(*Model) {}},
		"what is live":                          {model: annotated("panic-window-percentage", "20"), made: map[string]string{autoscaling.WindowAnnotationKey: "8s"}},
		"a delay":                               {model: delayed("30s"), want: []string{"spec.autoscaling.scaleDownDelay"}},
		"a delay that it was made with":         {model: delayed("60s"), made: map[string]string{delay: "1m"}},
		"another delay":                         {model: delayed("60s"), made: map[string]string{delay: "1m1s"}, want: []string{"spec.autoscaling.scaleDownDelay"}},
		"in an older spelling":                  {model: delayed("60s"), made: map[string]string{autoscaling.GroupName + "/scaleDownDelay": "60s"}},
		"a delay that is taken away":            {model: func(*Model) {}, made: map[string]string{delay: "30s"}, want: []string{"spec.autoscaling.scaleDownDelay"}},
		"none, where the cluster's isn't known": {model: delayed("0s"), want: []string{"spec.autoscaling.scaleDownDelay"}},
		"by annotation":                         {model: annotated("scale-down-delay", "30s"), want: []string{"metadata.annotations[" + delay + "]"}},
		"an algorithm":                          {model: annotated("metric-aggregation-algorithm", "weighted-exponential"), want: []string{"metadata.annotations[" + algorithm + "]"}},
		"an algorithm in another spelling":      {model: annotated("metric-aggregation-algorithm", "weightedExponential"), made: map[string]string{algorithm: "weighted-exponential"}},
		"the algorithm that there is anyway":    {model: annotated("metric-aggregation-algorithm", "linear")},
		"both": {
			model: both(annotated("metric-aggregation-algorithm", "weighted-exponential"), delayed("30s")),
			want:  []string{"metadata.annotations[" + algorithm + "]", "spec.autoscaling.scaleDownDelay"},
		},
		"how it started":               {model: scaling(func(a *AutoscalingSpec) { a.InitialReplicas = ptr(int32(3)) }), made: map[string]string{autoscaling.InitialScaleAnnotationKey: "7"}},
		"another class":                {model: annotated("class", autoscaling.HPA), made: map[string]string{delay: "30s"}, want: []string{"metadata.annotations[" + class + "]"}},
		"the cluster's class, named":   {model: annotated("class", autoscaling.HPA), unnamed: autoscaling.HPA},
		"a class that knows no delay":  {model: delayed("30s"), unnamed: autoscaling.HPA},
		"Knative's, where it is named": {model: annotated("class", autoscaling.KPA), made: map[string]string{class: autoscaling.KPA}, unnamed: autoscaling.HPA},
	} {
		m := validModel()
		m.SetDefaults(t.Context())
		c.model(m)
		if got := m.AwaitsRevision(c.made, c.unnamed); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Who changes what the revision that runs doesn't take up is told so, with the remedy, unless
// the same write makes another.
func TestWarningsOfWhatIsSettled(t *testing.T) {
	t.Parallel()
	const delay = "spec.autoscaling.scaleDownDelay"
	delayed := func(d string) func(*Model) {
		return scaling(func(a *AutoscalingSpec) { a.ScaleDownDelay = duration(d) })
	}
	nothing := func(*Model) {}
	for name, c := range map[string]struct {
		before, after func(*Model)
		says          string // "" for no warning
	}{
		"a delay":                          {nothing, delayed("30s"), `it was unset, is "30s"`},
		"its path":                         {nothing, delayed("30s"), ": " + delay},
		"the remedy":                       {nothing, delayed("30s"), "kubectl annotate model ranker --overwrite example.com/release=2"},
		"the same in other words":          {delayed("60s"), delayed("1m"), ""},
		"taken away":                       {delayed("60s"), nothing, `it was "1m0s", is unset`},
		"taken away, as it was named":      {annotated("scale-down-delay", "30s"), nothing, "metadata.annotations[" + autoscaling.ScaleDownDelayAnnotationKey + "]"},
		"how the next one starts":          {nothing, scaling(func(a *AutoscalingSpec) { a.InitialReplicas = ptr(int32(3)) }), "how many replicas a revision starts with"},
		"an algorithm":                     {nothing, annotated("metric-aggregation-algorithm", "weighted-exponential"), "gathers a revision's demand"},
		"the algorithm that there was":     {nothing, annotated("metric-aggregation-algorithm", "linear"), ""},
		"what is live":                     {nothing, scaling(func(a *AutoscalingSpec) { a.Window = duration("30s") }), ""},
		"with another image":               {nothing, both(delayed("30s"), func(m *Model) { m.Spec.Container.Image = "registry.example/ranker:2" }), ""},
		"with an annotation of one's own":  {nothing, both(delayed("30s"), func(m *Model) { m.Annotations = map[string]string{"example.com/release": "2"} }), ""},
		"with another progress deadline":   {nothing, both(delayed("30s"), startingWithin("20m")), ""},
		"with bookkeeping":                 {nothing, both(delayed("30s"), func(m *Model) { m.Labels = map[string]string{"helm.sh/chart": "x"} }), delay},
		"before there is any":              {func(m *Model) { m.Status.ServiceGeneration = 0 }, delayed("30s"), ""},
		"of a class that knows no delays":  {annotated("class", autoscaling.HPA), both(annotated("class", autoscaling.HPA), delayed("30s")), ""},
		"of what there was, nothing again": {delayed("60s"), delayed("60s"), ""},
	} {
		changed := func(change func(*Model)) *Model {
			m := validModel()
			m.Status.ServiceGeneration = 1
			m.SetDefaults(context.Background())
			change(m)
			return m
		}
		before, after := changed(c.before), changed(c.after)
		got := warningsBySluice(after.Validate(apis.WithinUpdate(context.Background(), before)).Filter(apis.WarningLevel))
		if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: warnings = %q, want %q", name, got, c.says)
		}
	}
}
