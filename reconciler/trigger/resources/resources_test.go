package resources

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const function = "http://triggers.sluice-system.svc.cluster.local"

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"minimal", "full"} {
		of := read(t, name)
		trigger, err := Trigger(of, function)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", name, "trigger.out.yaml"), trigger)
		if of.Spec.Reply.Sink != nil {
			golden(t, filepath.Join("testdata", name, "reply.out.yaml"), ReplyTrigger(of))
		}
	}
}

// Knative's webhook takes what is made, and adds nothing to it: so it is written once.
func TestKnativeTakesThem(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"minimal", "full"} {
		of := read(t, name)
		trigger, err := Trigger(of, function)
		if err != nil {
			t.Fatal(err)
		}
		made := []*eventingv1.Trigger{trigger}
		if of.Spec.Reply.Sink != nil {
			made = append(made, ReplyTrigger(of))
		}
		for _, one := range made {
			if err := one.Validate(t.Context()); err != nil {
				t.Errorf("%s: %s: %v", name, one.Name, err)
			}
			again := one.DeepCopy()
			again.SetDefaults(t.Context())
			if diff := cmp.Diff(one, again); diff != "" {
				t.Errorf("%s: %s (-made +defaulted):\n%s", name, one.Name, diff)
			}
		}
	}
}

// What is made is no part of what it is made from.
func TestNothingIsShared(t *testing.T) {
	t.Parallel()
	of := read(t, "full")
	before := of.DeepCopy()
	trigger, err := Trigger(of, function)
	if err != nil {
		t.Fatal(err)
	}
	trigger.Spec.Filters[1].Any[0].Exact["source"] = "/changed"
	trigger.Spec.Delivery.DeadLetterSink.URI.Host = "changed"
	ReplyTrigger(of).Spec.Subscriber.Ref.Name = "changed"
	if diff := cmp.Diff(before, of); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// read is an InferenceTrigger as it is stored.
func read(t *testing.T, name string) *v1alpha1.InferenceTrigger {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name, "trigger.in.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	of := &v1alpha1.InferenceTrigger{}
	if err := yaml.UnmarshalStrict(content, of); err != nil {
		t.Fatal(err)
	}
	of.SetDefaults(t.Context())
	if err := of.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return of
}

func golden(t *testing.T, file string, object *eventingv1.Trigger) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
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
}
