package v1alpha1

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
	"knative.dev/pkg/kmeta"
)

func TestRolloutDefaults(t *testing.T) {
	t.Parallel()
	m := validModel()
	m.SetDefaults(context.Background())
	r := m.Spec.Rollout
	if *r.StepPercent != DefaultStepPercent || r.KeepWarm.Duration != DefaultKeepWarm || r.Paused || r.Undo || r.Percent != nil {
		t.Errorf("defaults: %+v", r)
	}
}

func TestRolloutValidation(t *testing.T) {
	t.Parallel()
	rollout := func(change func(*RolloutSpec)) func(*Model) { return func(m *Model) { change(&m.Spec.Rollout) } }
	traffic := func(targets ...TrafficTarget) func(*Model) { return func(m *Model) { m.Spec.Traffic = targets } }
	latest := ptr(true)
	longest := strings.Repeat("m", 63)
	hashed := kmeta.ChildName(longest, "-00002")
	cases := []struct {
		name   string
		change func(*Model)
		path   string // "" for valid
		says   string
	}{
		{name: "held, undone, paused", change: rollout(func(r *RolloutSpec) { r.Percent, r.Undo, r.Paused = ptr(int32(0)), true, true })},
		{name: "no warmth", change: rollout(func(r *RolloutSpec) { r.KeepWarm = duration("0s") })},
		{"percent", rollout(func(r *RolloutSpec) { r.Percent = ptr(int32(101)) }), "spec.rollout.percent", "from 0 to 100, is 101"},
		{"step", rollout(func(r *RolloutSpec) { r.StepPercent = ptr(int32(0)) }), "spec.rollout.stepPercent", "from 1 to 100, is 0"},
		{"warm for a fraction", rollout(func(r *RolloutSpec) { r.KeepWarm = duration("1500ms") }), "spec.rollout.keepWarm", "whole seconds from 0s to 24h0m0s, is 1.5s"},
		{"warm for days", rollout(func(r *RolloutSpec) { r.KeepWarm = duration("25h") }), "spec.rollout.keepWarm", "is 25h"},
		{
			name: "shares and tags",
			change: traffic(
				TrafficTarget{RevisionName: "ranker-00001", Percent: ptr(int32(30)), Tag: "stable"},
				TrafficTarget{RevisionName: "ranker-00002", Percent: ptr(int32(70))},
				TrafficTarget{LatestRevision: latest, Tag: "next"},
			),
		},
		{"nobody", traffic(TrafficTarget{Tag: "next"}), "spec.traffic[0]", "name a revision, or set latestRevision"},
		{"both", traffic(TrafficTarget{RevisionName: "ranker-00001", LatestRevision: latest, Tag: "next"}), "spec.traffic[0]", "expected exactly one"},
		{"another Model's", traffic(TrafficTarget{RevisionName: "judge-00001", Tag: "next"}), "spec.traffic[0].revisionName", `named as "ranker-00001" is`},
		{"another Model's that begins alike", traffic(TrafficTarget{RevisionName: "ranker-two-00001", Tag: "next"}), "spec.traffic[0].revisionName", "not a revision of this Model"},
		{name: "one of a long name", change: both(func(m *Model) { m.Name = longest }, traffic(TrafficTarget{RevisionName: hashed, Percent: ptr(int32(30))}))},
		{"a tag of a long name", both(func(m *Model) { m.Name = longest }, traffic(TrafficTarget{LatestRevision: latest, Tag: "a"})), "spec.traffic[0].tag", "has 65 characters"},
		{"a tag of a generated name", both(func(m *Model) { m.Name, m.GenerateName = "", longest[:57] }, traffic(TrafficTarget{LatestRevision: latest, Tag: "a"})),
			"spec.traffic[0].tag", "has 64 characters"},
		{"to no end", traffic(TrafficTarget{RevisionName: "ranker-00001"}), "spec.traffic[0]", "no request goes there"},
		{"share of the newest", traffic(TrafficTarget{LatestRevision: latest, Percent: ptr(int32(5))}), "spec.traffic[0].percent", "set spec.rollout.percent"},
		{"a percentage", traffic(TrafficTarget{RevisionName: "ranker-00001", Percent: ptr(int32(-1)), Tag: "a"}), "spec.traffic[0].percent", "from 0 to 100"},
		{"too much", traffic(
			TrafficTarget{RevisionName: "ranker-00001", Percent: ptr(int32(60))}, TrafficTarget{RevisionName: "ranker-00002", Percent: ptr(int32(60))},
		), "spec.traffic", "add up to 120"},
		{"a tag twice", traffic(
			TrafficTarget{RevisionName: "ranker-00001", Tag: "a"}, TrafficTarget{RevisionName: "ranker-00002", Tag: "a"},
		), "spec.traffic[1].tag", "is the tag of [0] already"},
		{"no label", traffic(TrafficTarget{RevisionName: "ranker-00001", Tag: "A B"}), "spec.traffic[0].tag", "begins the revision's host"},
		{"a long tag", traffic(TrafficTarget{RevisionName: "ranker-00001", Tag: strings.Repeat("a", 60)}), "spec.traffic[0].tag", "has 67 characters"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := errorsOf(context.Background(), c.change)
			if c.path == "" {
				if err != nil {
					t.Error("unexpected error:", err)
				}
				return
			}
			if !slices.ContainsFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.ContainsFunc(e.Paths, func(path string) bool { return strings.HasPrefix(path, c.path) }) && strings.Contains(e.Error(), c.says)
			}) {
				t.Errorf("got %v\nwant an error at %s that says %q", err, c.path, c.says)
			}
		})
	}
}

func TestWarningOfUndoneChange(t *testing.T) {
	t.Parallel()
	before := validModel()
	before.Spec.Rollout.Undo = true
	before.SetDefaults(context.Background())
	ctx := apis.WithinUpdate(context.Background(), before)
	for _, c := range []struct {
		name   string
		change func(*Model)
		warns  bool
	}{
		{"tuned", func(m *Model) { m.Spec.Autoscaling.MaxReplicas = ptr(int32(3)) }, false},
		{"another image", func(m *Model) { m.Spec.Container.Image = "registry.example/ranker:2" }, true},
		{"another image, no longer undone", func(m *Model) {
			m.Spec.Container = corev1.Container{Image: "registry.example/ranker:2"}
			m.Spec.Rollout.Undo = false
		}, false},
	} {
		after := before.DeepCopy()
		c.change(after)
		warns := strings.Contains(warningsBySluice(after.Validate(ctx).Filter(apis.WarningLevel)), "gets no requests")
		if warns != c.warns {
			t.Errorf("%s: warns = %t, want %t", c.name, warns, c.warns)
		}
	}
}

func TestPropagateRollout(t *testing.T) {
	t.Parallel()
	for phase, want := range map[RolloutPhase]corev1.ConditionStatus{
		RolloutProgressing: corev1.ConditionUnknown, RolloutPaused: corev1.ConditionUnknown, RolloutUndoing: corev1.ConditionUnknown,
		RolloutKeepingWarm: corev1.ConditionTrue, RolloutComplete: corev1.ConditionTrue,
		RolloutUndone: corev1.ConditionFalse, RolloutFailed: corev1.ConditionFalse,
	} {
		m := &Model{}
		m.Status.InitializeConditions()
		m.Status.PropagateRollout(&RolloutStatus{Phase: phase})
		if got := m.Status.GetCondition(ModelConditionRolledOut).Status; got != want {
			t.Errorf("%s: RolledOut is %s, want %s", phase, got, want)
		}
	}
	m := &Model{}
	m.Status.PropagateRollout(&RolloutStatus{Phase: RolloutComplete, Reason: "TargetNotReady"})
	if c := m.Status.GetCondition(ModelConditionRolledOut); !c.IsFalse() || c.Reason != "TargetNotReady" {
		t.Errorf("RolledOut = %+v", c)
	}
}
