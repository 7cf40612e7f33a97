package v1alpha1

import (
	"context"
	"reflect"
	"strings"

	"knative.dev/pkg/apis"
	"knative.dev/pkg/kmeta"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// authorship is what says of a Model who tuned it.
var authorship = []string{sluice.TunedByAnnotationKey, sluice.TunedStateAnnotationKey}

// setAuthor notes who tunes the Model, in the very write that does. In any other write it has
// what was noted before, whatever is written: so nobody can sign with another's name.
func (m *Model) setAuthor(ctx context.Context) {
	switch before, _ := apis.GetBaseline(ctx).(*Model); {
	case apis.GetUpdatedSubresource(ctx) != "":
	case apis.IsInCreate(ctx), before != nil && !reflect.DeepEqual(before.tuned(), m.tuned()):
		m.sign(ctx, before)
	case before != nil:
		m.setAuthorship(before.Annotations)
	}
}

// tuned is all of which a change tunes the Model. What it tries is no part of that: whoever
// tries something isn't who set what is there beside.
func (m *Model) tuned() map[string]any {
	return map[string]any{
		annotationsPath: m.annotationsForAutoscalers(), "spec.autoscaling": fieldsOf(m.Spec.Autoscaling), "spec.limit": fieldsOf(m.Spec.Limit),
	}
}

// sign has the Model say that who writes it tuned it to what it is. No two signatures of a Model
// are the same, also of the same state: each says which version of the Model it was put on.
func (m *Model) sign(ctx context.Context, before *Model) {
	user := apis.GetUserInfo(ctx)
	if user == nil || user.Username == "" {
		m.setAuthorship(nil)
		return
	}
	var version string
	if before != nil {
		version = before.ResourceVersion
	}
	m.setAuthorship(map[string]string{
		sluice.TunedByAnnotationKey: user.Username, sluice.TunedStateAnnotationKey: m.TuningHash() + "@" + version,
	})
}

func (m *Model) setAuthorship(to map[string]string) {
	for _, key := range authorship {
		if value, ok := to[key]; ok {
			m.Annotations = kmeta.UnionMaps(m.Annotations, map[string]string{key: value})
		} else {
			delete(m.Annotations, key)
		}
	}
}

// TunedBy is who tuned the Model to what it is; "" where that isn't known, as it was tuned
// before the webhook noted it, or past the webhook, by its scale subresource. A state that comes
// back past the webhook is still signed: whoever asks knows which signatures are used up.
func (m *Model) TunedBy() string {
	state, _, ok := strings.Cut(m.Annotations[sluice.TunedStateAnnotationKey], "@")
	if !ok || state != m.TuningHash() {
		return ""
	}
	return m.Annotations[sluice.TunedByAnnotationKey]
}
