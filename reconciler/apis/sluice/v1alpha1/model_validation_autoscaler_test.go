package v1alpha1

import (
	"context"
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// Every key that Knative's package names is known: one that comes with another version is
// not to be taken for a mistake.
func TestAllOfKnativesAutoscalingKeysAreKnown(t *testing.T) {
	t.Parallel()
	found, err := build.Import("knative.dev/serving/pkg/apis/autoscaling", ".", build.FindOnly)
	if err != nil {
		t.Fatal("finding Knative's package:", err)
	}
	source, err := os.ReadFile(filepath.Join(found.Dir, "register.go"))
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`GroupName \+ "/([A-Za-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(keys) < 20 {
		t.Fatalf("%d keys found in Knative's package", len(keys))
	}
	for _, key := range keys {
		if canonicalAutoscalingKey(AutoscalingPrefix+key[1]) == "" {
			t.Errorf("%s isn't known", key[1])
		}
		if says := autoscalingValues[canonicalAutoscalingKey(AutoscalingPrefix+key[1])]; says == "" {
			t.Errorf("nothing is said of what %s may be", key[1])
		}
	}
}

// To name the class that runs changes nothing, and there is nothing to warn of.
func TestClassThatRuns(t *testing.T) {
	t.Parallel()
	before := validModel()
	before.SetDefaults(context.Background())
	ctx := apis.WithinUpdate(context.Background(), before)
	after := before.DeepCopy()
	annotated("class", autoscaling.KPA)(after)
	if got := after.Validate(ctx); got != nil {
		t.Errorf("says %v", got)
	}
}

func TestClassThatNobodyServes(t *testing.T) {
	t.Parallel()
	for name, served := range map[string]bool{"served": true, "not served": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := WithAutoscalerServed(context.Background(), func(context.Context, string) (bool, error) { return served, nil })
			warnings := warningsBySluice(validate(ctx, annotated("class", autoscaling.HPA)).Filter(apis.WarningLevel))
			if warned := strings.Contains(warnings, "autoscaler-hpa"); warned == served {
				t.Errorf("warnings are %q", warnings)
			}
		})
	}
}

// What autoscalers of others know is theirs.
func TestKeysOfOtherClassesAreTheirs(t *testing.T) {
	t.Parallel()
	err := errorsOf(context.Background(), func(m *Model) {
		m.Annotations = map[string]string{autoscaling.ClassAnnotationKey: "keda.example.com", AutoscalingPrefix + "minscale": "1"}
	})
	if err != nil {
		t.Error("refused:", err)
	}
}
