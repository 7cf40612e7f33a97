package resources

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// tunedTo is a Model that somebody gave a headroom.
func tunedTo(headroom int32, who string) *v1alpha1.Model {
	m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "ranker", UID: "uid"}}
	m.Spec.Limit.HeadroomPercent = &headroom
	m.Annotations = map[string]string{sluice.TunedByAnnotationKey: who, sluice.TunedStateAnnotationKey: m.TuningHash() + "@" + who}
	return m
}

// signature is what such a Model is signed with.
func signature(headroom int32, who string) string {
	return tunedTo(headroom, who).Annotations[sluice.TunedStateAnnotationKey]
}

func because(m *v1alpha1.Model, why string) *v1alpha1.Model {
	metav1.SetMetaDataAnnotation(&m.ObjectMeta, sluice.ChangeCauseAnnotationKey, why)
	return m
}

// entered is a history with how a Model is tuned for its newest state.
func entered(t interface{ Fatal(...any) }, m *v1alpha1.Model, history []*appsv1.ControllerRevision, at time.Time) []*appsv1.ControllerRevision {
	state, err := Recorded(m, nil, history, at)
	if err != nil {
		t.Fatal(err)
	}
	others := slices.DeleteFunc(slices.Clone(history), func(s *appsv1.ControllerRevision) bool { return s.Name == state.Name })
	return History(append(others, state))
}

func TestRecorded(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	const change = `[{"setting":"spec.limit.headroomPercent","old":"%d","new":"%d"}]`
	var history []*appsv1.ControllerRevision
	for i, c := range []struct {
		name string
		m    *v1alpha1.Model
		// revision and annotations are the newest state's.
		revision    int64
		annotations map[string]string
		kept        int
	}{
		{"the first", tunedTo(100, "alice"), 1, map[string]string{
			"sluice.dev/tuned-by": "alice", "sluice.dev/tuned-at": "2026-03-01T12:00:00Z", "sluice.dev/tuned-told": "1", "sluice.dev/tuned-state": signature(100, "alice"),
		}, 1},
		{"another", because(tunedTo(50, "bob"), "a sale"), 2, map[string]string{
			"sluice.dev/tuned-by": "bob", "sluice.dev/tuned-at": "2026-03-01T12:01:00Z", "kubernetes.io/change-cause": "a sale", "sluice.dev/tuned-state": signature(50, "bob"),
			"sluice.dev/tuned-changes": fmt.Sprintf(change, 100, 50),
		}, 2},
		{"the same, while something else changes and says why", because(tunedTo(50, "bob"), "a release"), 2, map[string]string{
			"sluice.dev/tuned-by": "bob", "sluice.dev/tuned-at": "2026-03-01T12:01:00Z", "kubernetes.io/change-cause": "a sale", "sluice.dev/tuned-state": signature(50, "bob"),
			"sluice.dev/tuned-changes": fmt.Sprintf(change, 100, 50),
		}, 2},
		{"the same, of which nobody says why any more", tunedTo(50, "bob"), 2, map[string]string{
			"sluice.dev/tuned-by": "bob", "sluice.dev/tuned-at": "2026-03-01T12:01:00Z", "kubernetes.io/change-cause": "a sale", "sluice.dev/tuned-state": signature(50, "bob"),
			"sluice.dev/tuned-changes": fmt.Sprintf(change, 100, 50),
		}, 2},
		{"the first again", because(tunedTo(100, "carol"), "it is over"), 3, map[string]string{
			"sluice.dev/tuned-by": "carol", "sluice.dev/tuned-at": "2026-03-01T12:04:00Z", "kubernetes.io/change-cause": "it is over", "sluice.dev/tuned-state": signature(100, "carol"),
			"sluice.dev/tuned-changes": fmt.Sprintf(change, 50, 100),
		}, 2},
		{"what came back goes by another's hand, who says nothing", tunedTo(50, "dave"), 4, map[string]string{
			"sluice.dev/tuned-by": "dave", "sluice.dev/tuned-at": "2026-03-01T12:05:00Z", "kubernetes.io/change-cause": "", "sluice.dev/tuned-state": signature(50, "dave"),
			"sluice.dev/tuned-changes": fmt.Sprintf(change, 100, 50),
		}, 2},
	} {
		history = entered(t, c.m, history, noon.Add(time.Duration(i)*time.Minute))
		newest := history[len(history)-1]
		if newest.Revision != c.revision || len(history) != c.kept {
			t.Errorf("%s: revision %d of %d, want %d of %d", c.name, newest.Revision, len(history), c.revision, c.kept)
		}
		if diff := cmp.Diff(c.annotations, newest.Annotations); diff != "" {
			t.Errorf("%s: annotations (-want, +got): %s", c.name, diff)
		}
		if !metav1.IsControlledBy(newest, c.m) || newest.Labels[sluice.ModelLabelKey] != "ranker" || newest.Namespace != "search" {
			t.Errorf("%s: %+v", c.name, newest.ObjectMeta)
		}
	}
	if text := Description(history[1]); text != "dave changed spec.limit.headroomPercent from 100 to 50" {
		t.Errorf("it is described as %q", text)
	}
	unset := tunedTo(50, "dave")
	unset.Spec.Limit.HeadroomPercent = nil
	history = entered(t, because(unset, "by the plan"), history, noon)
	if text := Description(history[2]); text != "Somebody changed spec.limit.headroomPercent from 50 to unset: by the plan" {
		t.Errorf("it is described as %q", text)
	}
}

// A signature names who put it once: by its own, what comes back past the webhook is nobody's,
// however often and whoever signed it before.
func TestSignatureIsUsedOnce(t *testing.T) {
	t.Parallel()
	past := func(headroom int32, signed *v1alpha1.Model) *v1alpha1.Model {
		m := signed.DeepCopy()
		m.Spec.Limit.HeadroomPercent = &headroom
		return m
	}
	alices := tunedTo(50, "alice")
	again := past(50, alices)
	again.Annotations[sluice.TunedStateAnnotationKey] += "-again"
	seen := tunedTo(70, "bob")
	var history []*appsv1.ControllerRevision
	for i, c := range []struct {
		m   *v1alpha1.Model
		who string
	}{
		{tunedTo(100, "alice"), "alice"},
		{alices, "alice"},
		{past(150, alices), ""},
		{alices, ""},
		{past(150, alices), ""},
		{alices, ""},
		{past(60, again), ""},
		{again, ""}, // it was seen on the one before
		{tunedTo(100, "alice"), ""},
		{past(50, seen), ""},
		{past(150, seen), ""},
		{seen, ""},
		{tunedTo(50, "carol"), "carol"},
	} {
		history = entered(t, c.m, history, time.Unix(0, 0))
		if who := history[len(history)-1].Annotations[sluice.TunedByAnnotationKey]; who != c.who {
			t.Errorf("the %d. state is by %q, want %q", i+1, who, c.who)
		}
	}
	if history[len(history)-1].Revision != 13 {
		t.Errorf("revision %d", history[len(history)-1].Revision)
	}
}

// Who scales a Model signs nothing: what is known is the client, if nothing else was changed.
func TestScaledThroughTheSubresource(t *testing.T) {
	t.Parallel()
	scaled := func(m *v1alpha1.Model, least int32) *v1alpha1.Model {
		m.Spec.Autoscaling.MinReplicas = &least
		m.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: "kubectl", Subresource: v1alpha1.ScaleSubresource,
			FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{"f:autoscaling":{"f:minReplicas":{}}}}`)},
		}}
		return m
	}
	before := entered(t, tunedTo(100, "alice"), nil, time.Unix(0, 0))
	signed := scaled(tunedTo(100, "bob"), 2)
	signed.Annotations[sluice.TunedStateAnnotationKey] = signed.TuningHash() + "@bob"
	for name, c := range map[string]struct {
		m    *v1alpha1.Model
		past []*appsv1.ControllerRevision
		want string
	}{
		"scaled":             {scaled(tunedTo(100, "alice"), 2), before, "kubectl, through scale"},
		"scaled back":        {scaled(tunedTo(100, "alice"), 2), entered(t, scaled(tunedTo(100, "alice"), 3), before, time.Unix(0, 0)), "kubectl, through scale"},
		"and something else": {scaled(tunedTo(50, "nobody"), 2), before, ""},
		"something else":     {scaled(tunedTo(50, ""), 2), entered(t, scaled(tunedTo(100, "alice"), 2), nil, time.Unix(0, 0)), ""},
		"signed since":       {signed, before, "bob"},
		"the first":          {scaled(tunedTo(100, "alice"), 2), nil, ""},
	} {
		history := entered(t, c.m, c.past, time.Unix(0, 0))
		if who := history[len(history)-1].Annotations[sluice.TunedByAnnotationKey]; who != c.want {
			t.Errorf("%s: by %q, want %q", name, who, c.want)
		}
	}
}

// A Model of the same name has a history of its own, whatever is left of the other's.
func TestNamesOfStates(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("r", 63)
	names := map[string]bool{}
	for _, of := range []struct{ name, uid string }{{"ranker", "a"}, {"ranker", "b"}, {long, "a"}} {
		for headroom := range int32(3) {
			m := tunedTo(headroom, "alice")
			m.Name, m.UID = of.name, types.UID(of.uid)
			state := entered(t, m, nil, time.Time{})[0]
			if names[state.Name] || len(state.Name) > 63 {
				t.Errorf("%q is another's, or too long", state.Name)
			}
			names[state.Name] = true
		}
	}
}

// A new version of Sluice that knows more settings finds the newest state the same.
func TestStatesFromBefore(t *testing.T) {
	t.Parallel()
	m := tunedTo(50, "alice")
	history := entered(t, m, nil, time.Time{})
	var patch map[string]any
	if err := json.Unmarshal(history[0].Data.Raw, &patch); err != nil {
		t.Fatal(err)
	}
	delete(patch["spec"].(map[string]any)["limit"].(map[string]any), "queue")
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	history[0].Data.Raw, history[0].Name = text, "ranker-before"
	again, err := Recorded(m, nil, history, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(history[0], again); diff != "" {
		t.Error("(-before, +now):", diff)
	}
}

// Whatever is tuned and however often, the newest state is the present one, numbers rise, no
// state is there twice, and the data of each gives its state back.
func TestHistoryHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var history []*appsv1.ControllerRevision
		last := int64(0)
		for _, headroom := range rapid.SliceOfN(rapid.Int32Range(0, 14), 1, 40).Draw(t, "headrooms") {
			m := tunedTo(headroom, "alice")
			before := history
			history = entered(t, m, history, time.Unix(0, 0))
			if surplus := Surplus(history); len(surplus) > 0 {
				history = history[len(surplus):]
			}
			newest := history[len(history)-1]
			if len(history) > HistoryKept {
				t.Fatalf("%d are kept", len(history))
			}
			same := len(before) > 0 && before[len(before)-1].Name == newest.Name
			if newest.Revision != last && same || newest.Revision != last+1 && !same {
				t.Fatalf("revision %d came after %d", newest.Revision, last)
			}
			last = newest.Revision
			text, err := json.Marshal(tunedTo(99, "bob"))
			if err != nil {
				t.Fatal(err)
			}
			patched, err := jsonpatch.MergePatch(text, newest.Data.Raw)
			if err != nil {
				t.Fatal(err)
			}
			back := &v1alpha1.Model{}
			if err := json.Unmarshal(patched, back); err != nil {
				t.Fatal(err)
			}
			if back.TuningHash() != m.TuningHash() {
				t.Fatalf("%s doesn't give the state back", newest.Data.Raw)
			}
			seen := map[string]bool{}
			for i, state := range history {
				if seen[string(state.Data.Raw)] || i > 0 && state.Revision <= history[i-1].Revision {
					t.Fatalf("state %d of %d is there twice, or out of order", i, len(history))
				}
				seen[string(state.Data.Raw)] = true
			}
		}
	})
}

// What users make long is cut: no annotation outgrows its object, and no event its schema.
func TestStatesAreBounded(t *testing.T) {
	t.Parallel()
	m := tunedTo(50, "alice")
	history := entered(t, m, nil, time.Time{})
	for i := range 500 {
		m.Annotations[fmt.Sprintf("%sof-later-%d", v1alpha1.AutoscalingPrefix, i)] = strings.Repeat("ä", 400)
	}
	history = entered(t, because(m, strings.Repeat("ö", 100000)), history, time.Time{})
	changes := Changes(history[1])
	if len(changes) != maxChanges || len([]rune(changes[0].New)) != maxValue || !strings.HasSuffix(changes[0].New, "…") {
		t.Errorf("%d changes, the first to %q", len(changes), changes[0].New)
	}
	if why := history[1].Annotations[sluice.ChangeCauseAnnotationKey]; len([]rune(why)) != maxCause {
		t.Errorf("why has %d characters", len([]rune(why)))
	}
	if text := Description(history[1]); len([]rune(text)) != maxDescription {
		t.Errorf("it is described in %d characters", len([]rune(text)))
	}
}

func TestTold(t *testing.T) {
	t.Parallel()
	var history []*appsv1.ControllerRevision
	for headroom := range int32(3) {
		history = entered(t, tunedTo(headroom, "alice"), history, time.Unix(7, 0))
	}
	for want := range 2 {
		state := Untold(history)
		if state == nil || state.Revision != int64(want)+2 || !NotedAt(state).Equal(time.Unix(7, 0)) {
			t.Fatalf("%+v is to be told, want revision %d", state, want+2)
		}
		history[want+1] = Told(state)
	}
	if state := Untold(history); state != nil {
		t.Errorf("%s is to be told", state.Name)
	}
	history = entered(t, tunedTo(0, "alice"), history, time.Unix(7, 0))
	if state := Untold(history); state == nil || state.Revision != 4 {
		t.Errorf("%+v is to be told, want what came back", state)
	}
}
