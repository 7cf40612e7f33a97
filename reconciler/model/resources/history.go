package resources

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

const (
	// HistoryKept is how many states of a Model's tuning are kept, the present one among them.
	HistoryKept = 10
	// maxChanges and maxValue bound what is told of a tuning: in settings, and in characters of a
	// value. Annotations that Knative doesn't know may be as many and as long as users like.
	maxChanges, maxValue = 64, 256
	// maxCause bounds why, in characters, and maxDescription the words of an event.
	maxCause, maxDescription = 512, 1000
)

// Change is a setting of a Model that was tuned; Old and New are empty where it was or is
// unset.
type Change struct {
	Setting string `json:"setting"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
}

// History is the states of a Model's tuning that are kept, the newest last. It is of the
// ControllerRevisions that the Model owns.
func History(owned []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	return slices.SortedFunc(slices.Values(owned), func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Name, b.Name))
	})
}

// Recorded is the ControllerRevision that the newest of a Model's history has to be, where
// `now` is when a state is noted: the one that is the newest while the Model is tuned as that
// says; the one that is there of a state that came back, with the next revision number; or else
// a new one.
func Recorded(m *v1alpha1.Model, t *v1alpha1.Tenant, history []*appsv1.ControllerRevision, now time.Time) (*appsv1.ControllerRevision, error) {
	settings := v1alpha1.TuningSettings(m.TuningPatch())
	for i, known := range slices.Backward(history) {
		if !maps.Equal(settingsOf(known), settings) {
			continue
		}
		out := known.DeepCopy()
		out.Labels = relabel(out.Labels, m, t)
		if i < len(history)-1 {
			enter(out, m, history, now)
		}
		return out, nil
	}
	patch, err := json.Marshal(m.TuningPatch())
	if err != nil {
		return nil, fmt.Errorf("writing how the Model is tuned: %w", err)
	}
	out := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			// A Model of the same name from before may still have some, until they are collected.
			Name:            kmeta.ChildName(m.Name, "-"+digest(map[string]any{"model": string(m.UID), "tuning": m.TuningHash()})[:10]),
			Namespace:       m.Namespace,
			Labels:          Labels(m, t),
			OwnerReferences: []metav1.OwnerReference{*kmeta.NewControllerRef(m)},
		},
		Data: runtime.RawExtension{Raw: patch},
	}
	enter(out, m, history, now)
	return out, nil
}

// enter makes a state the newest of the history: who, why, when and what. Why is what the Model
// says as the state comes: what it says later may be about something else, such as a release.
func enter(state *appsv1.ControllerRevision, m *v1alpha1.Model, history []*appsv1.ControllerRevision, now time.Time) {
	noted := map[string]string{sluice.TunedAtAnnotationKey: now.UTC().Format(time.RFC3339)}
	who := tuner(m, history)
	if signature := m.Annotations[sluice.TunedStateAnnotationKey]; signature != "" {
		noted[sluice.TunedStateAnnotationKey] = signature
	}
	state.Revision = 1
	if len(history) == 0 {
		// It was made so, which is no tuning: nobody is told.
		noted[sluice.TunedToldAnnotationKey] = "1"
	} else {
		last := history[len(history)-1]
		state.Revision = last.Revision + 1
		changed := changes(settingsOf(last), settingsOf(state))
		noted[sluice.TunedChangesAnnotationKey] = changesText(changed)
		who = cmp.Or(who, scaler(m, changed))
	}
	if who != "" {
		noted[sluice.TunedByAnnotationKey] = cut(who, maxCause)
	}
	why := cut(m.Annotations[sluice.ChangeCauseAnnotationKey], maxCause)
	if _, said := state.Annotations[sluice.ChangeCauseAnnotationKey]; said || why != "" {
		noted[sluice.ChangeCauseAnnotationKey] = why
	}
	// What was noted when it came the last time is over.
	others := kmeta.FilterMap(state.Annotations, func(key string) bool { return strings.HasPrefix(key, sluice.GroupName+"/") })
	state.Annotations = kmeta.UnionMaps(others, noted)
}

// tuner is who tuned a Model to what it is and isn't in its history yet; "" where nobody knows.
func tuner(m *v1alpha1.Model, history []*appsv1.ControllerRevision) string {
	signature := m.Annotations[sluice.TunedStateAnnotationKey]
	// A signature names somebody once: where its state comes back without another one, it wasn't
	// them who brought it.
	if slices.ContainsFunc(history, func(s *appsv1.ControllerRevision) bool {
		return s.Annotations[sluice.TunedStateAnnotationKey] == signature
	}) {
		return ""
	}
	return m.TunedBy()
}

// scaler is what is known of who scaled a Model, where that is all that was changed: the client
// by which. A client says itself what its name is, so it is told from a user's.
func scaler(m *v1alpha1.Model, changed []Change) string {
	client, ok := m.ScaledBy()
	if !ok || len(changed) != 1 || changed[0].Setting != v1alpha1.PathMinReplicas {
		return ""
	}
	return client + ", through scale"
}

// settingsOf are the settings of a state that is kept; none where they can't be read.
func settingsOf(state *appsv1.ControllerRevision) map[string]string {
	var patch map[string]any
	if err := json.Unmarshal(state.Data.Raw, &patch); err != nil {
		return nil
	}
	return v1alpha1.TuningSettings(patch)
}

func changesText(changed []Change) string {
	text, err := json.Marshal(changed)
	if err != nil {
		panic(fmt.Sprintf("changes are plain text: %v", err))
	}
	return string(text)
}

// changes are the settings that differ, by name.
func changes(before, after map[string]string) []Change {
	var out []Change
	for _, setting := range slices.Sorted(maps.Keys(kmeta.UnionMaps(before, after))) {
		was, had := before[setting]
		is, has := after[setting]
		if (was != is || had != has) && len(out) < maxChanges {
			out = append(out, Change{Setting: setting, Old: cut(was, maxValue), New: cut(is, maxValue)})
		}
	}
	return out
}

// Changes are what was changed when a state came that is kept; none of the first.
func Changes(state *appsv1.ControllerRevision) []Change {
	var out []Change
	if err := json.Unmarshal([]byte(state.Annotations[sluice.TunedChangesAnnotationKey]), &out); err != nil {
		return nil
	}
	return out
}

// NotedAt is when a state came that is kept; the zero time where that can't be read.
func NotedAt(state *appsv1.ControllerRevision) time.Time {
	at, err := time.Parse(time.RFC3339, state.Annotations[sluice.TunedAtAnnotationKey])
	if err != nil {
		return time.Time{}
	}
	return at
}

// Untold is the oldest state of a history that the Broker hasn't been told of; nil for none.
func Untold(history []*appsv1.ControllerRevision) *appsv1.ControllerRevision {
	for _, state := range history {
		if !IsTold(state) {
			return state
		}
	}
	return nil
}

// IsTold tells whether the Broker was told of a state, when it came the last time.
func IsTold(state *appsv1.ControllerRevision) bool {
	return state.Annotations[sluice.TunedToldAnnotationKey] == strconv.FormatInt(state.Revision, 10)
}

// Told is a state of which the Broker was told.
func Told(state *appsv1.ControllerRevision) *appsv1.ControllerRevision {
	out := state.DeepCopy()
	out.Annotations = kmeta.UnionMaps(out.Annotations, map[string]string{sluice.TunedToldAnnotationKey: strconv.FormatInt(state.Revision, 10)})
	return out
}

// Surplus is what of a history isn't kept any more, the oldest.
func Surplus(history []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	return history[:max(0, len(history)-HistoryKept)]
}

// Description is what an event says of a state that came: who, what and why.
func Description(state *appsv1.ControllerRevision) string {
	var what []string
	for _, c := range Changes(state) {
		what = append(what, fmt.Sprintf("%s from %s to %s", c.Setting, cmp.Or(c.Old, "unset"), cmp.Or(c.New, "unset")))
	}
	text := cmp.Or(state.Annotations[sluice.TunedByAnnotationKey], "Somebody") + " changed " + strings.Join(what, ", ")
	if why := state.Annotations[sluice.ChangeCauseAnnotationKey]; why != "" {
		text += ": " + why
	}
	return cut(text, maxDescription)
}

// cut is a text of so many characters at most.
func cut(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}
