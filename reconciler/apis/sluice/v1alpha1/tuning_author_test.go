package v1alpha1

import (
	"context"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Who tunes a Model is noted in the write that does, and by nobody else.
func TestAuthorOfTuning(t *testing.T) {
	t.Parallel()
	target := func(n int32) func(*Model) { return func(m *Model) { m.Spec.Autoscaling.Target = &n } }
	try := func(n int32) func(*Model) {
		return func(m *Model) {
			m.Spec.Trial = &TrialSpec{For: *duration("10m"), Autoscaling: &AutoscalingSpec{Target: &n}}
		}
	}
	annotate := func(key, value string) func(*Model) {
		return func(m *Model) { metav1.SetMetaDataAnnotation(&m.ObjectMeta, key, value) }
	}
	forge := annotate(sluice.TunedByAnnotationKey, "mallory")
	nothing := func(*Model) {}
	for _, c := range []struct {
		name string
		// had is what the Model was created with, change what bob changes; nil where the Model is
		// created alone.
		had, change func(*Model)
		// past is true where the change comes past the webhook.
		past bool
		// noted is the annotation, known who is known to have tuned it to what it is.
		noted, known string
	}{
		{name: "created", had: nothing, noted: "alice", known: "alice"},
		{name: "created, signed with another's name", had: forge, noted: "alice", known: "alice"},
		{name: "a field of its autoscaling", had: nothing, change: target(5), noted: "bob", known: "bob"},
		{name: "another value", had: target(4), change: target(5), noted: "bob", known: "bob"},
		{name: "a field that goes", had: target(4), change: func(m *Model) { m.Spec.Autoscaling.Target = nil }, noted: "bob", known: "bob"},
		{name: "its limit", had: nothing, change: func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity("49") }, noted: "bob", known: "bob"},
		{name: "an annotation for the autoscaler", had: nothing, change: annotate("autoscaling.knative.dev/window", "30s"), noted: "bob", known: "bob"},
		{
			name: "such an annotation goes", had: annotate("autoscaling.knative.dev/window", "30s"), noted: "bob", known: "bob",
			change: func(m *Model) { delete(m.Annotations, "autoscaling.knative.dev/window") },
		},
		{name: "tuned, signed with another's name", had: nothing, change: func(m *Model) { target(5)(m); forge(m) }, noted: "bob", known: "bob"},
		{name: "nothing", had: target(4), change: nothing, noted: "alice", known: "alice"},
		{name: "the same in other words", had: nothing, change: func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity("50000m") }, noted: "alice", known: "alice"},
		{name: "a default written out", had: nothing, change: func(m *Model) { m.Spec.Limit.Policy = PolicyDemand }, noted: "alice", known: "alice"},
		{name: "a default left to be set again", had: nothing, change: func(m *Model) { m.Spec.Limit.Burst = nil }, noted: "alice", known: "alice"},
		{name: "a label", had: nothing, change: func(m *Model) { m.Labels = map[string]string{"team": "search"} }, noted: "alice", known: "alice"},
		{name: "another annotation", had: nothing, change: annotate(sluice.ChangeCauseAnnotationKey, "a sale"), noted: "alice", known: "alice"},
		{name: "another image", had: nothing, change: func(m *Model) { m.Spec.Container.Image = "registry.example/ranker:2" }, noted: "alice", known: "alice"},
		{name: "signed with another's name, and not tuned", had: nothing, change: forge, noted: "alice", known: "alice"},
		{name: "the name taken away", had: nothing, change: func(m *Model) { m.Annotations = nil }, noted: "alice", known: "alice"},
		{
			name: "the hash forged", had: nothing, change: annotate(sluice.TunedStateAnnotationKey, "x"),
			noted: "alice", known: "alice",
		},
		{name: "a trial, right after", had: target(4), change: try(5), noted: "alice", known: "alice"},
		{name: "a trial that goes", had: try(5), change: func(m *Model) { m.Spec.Trial = nil }, noted: "alice", known: "alice"},
		{name: "what was tried is kept", had: try(5), change: target(5), noted: "bob", known: "bob"},
		{name: "tuned past the webhook", had: nothing, change: target(5), past: true, noted: "alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := validModel()
			c.had(m)
			m.SetDefaults(apis.WithUserInfo(apis.WithinCreate(context.Background()), &authenticationv1.UserInfo{Username: "alice"}))
			if c.change != nil {
				before := m.DeepCopy()
				before.SetDefaults(context.Background()) // as the webhook does
				if diff := cmp.Diff(m.Annotations, before.Annotations); diff != "" {
					t.Error("defaulting what was there changed it:", diff)
				}
				c.change(m)
				if !c.past {
					m.SetDefaults(apis.WithUserInfo(apis.WithinUpdate(context.Background(), before), &authenticationv1.UserInfo{Username: "bob"}))
				}
			}
			if got := m.Annotations[sluice.TunedByAnnotationKey]; got != c.noted {
				t.Errorf("%q is noted, want %q", got, c.noted)
			}
			if got := m.TunedBy(); got != c.known {
				t.Errorf("%q is known, want %q", got, c.known)
			}
		})
	}
}

// A Model that was tuned before anybody noted it has no author, until it is tuned again.
func TestAuthorOfAnOlderModel(t *testing.T) {
	t.Parallel()
	m := validModel()
	m.SetDefaults(context.Background())
	if m.TunedBy() != "" {
		t.Errorf("%q is known", m.TunedBy())
	}
	within := apis.WithUserInfo(apis.WithinUpdate(context.Background(), m.DeepCopy()), &authenticationv1.UserInfo{Username: "bob"})
	metav1.SetMetaDataAnnotation(&m.ObjectMeta, sluice.TunedByAnnotationKey, "mallory")
	m.SetDefaults(within)
	if _, noted := m.Annotations[sluice.TunedByAnnotationKey]; noted {
		t.Error("what was forged stands:", m.Annotations)
	}
}

// The same state is signed otherwise each time, whoever signs it: so it shows which came back
// without anybody signing it.
func TestSignaturesDiffer(t *testing.T) {
	t.Parallel()
	m := validModel()
	seen := map[string]bool{}
	for i, target := range []int32{4, 5, 4, 5} {
		within := apis.WithinCreate(context.Background())
		if i > 0 {
			m.ResourceVersion = strconv.Itoa(i)
			within = apis.WithinUpdate(context.Background(), m.DeepCopy())
		}
		m.Spec.Autoscaling.Target = &target
		m.SetDefaults(apis.WithUserInfo(within, &authenticationv1.UserInfo{Username: "alice"}))
		signature := m.Annotations[sluice.TunedStateAnnotationKey]
		if seen[signature] || m.TunedBy() != "alice" {
			t.Errorf("the %d. signature is %q, of %q", i+1, signature, m.TunedBy())
		}
		seen[signature] = true
	}
}

// A write of the status is the controller's, and changes no author.
func TestAuthorAndStatus(t *testing.T) {
	t.Parallel()
	m := validModel()
	m.SetDefaults(apis.WithUserInfo(apis.WithinCreate(context.Background()), &authenticationv1.UserInfo{Username: "alice"}))
	before := m.DeepCopy()
	within := apis.WithUserInfo(apis.WithinSubResourceUpdate(context.Background(), before, "status"), &authenticationv1.UserInfo{Username: "controller"})
	m.Status.ReadyReplicas = 3
	m.SetDefaults(within)
	if diff := cmp.Diff(before.Annotations, m.Annotations); diff != "" {
		t.Error("annotations (-before, +after):", diff)
	}
}
