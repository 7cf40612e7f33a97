package resources

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden file anew")

// The Trigger is as the golden file has it; Knative's webhook takes it, and adds nothing to it.
func TestTrigger(t *testing.T) {
	t.Parallel()
	broker := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "default", UID: "b-1"}}
	trigger, err := Trigger(broker, "http://triggers.sluice-system.svc.cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(trigger)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "trigger.out.yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
	if err := trigger.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	again := trigger.DeepCopy()
	again.SetDefaults(t.Context())
	if diff := cmp.Diff(trigger, again); diff != "" {
		t.Errorf("(-made +defaulted):\n%s", diff)
	}
}
