package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/kmap"
	"knative.dev/serving/pkg/apis/autoscaling"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Place is where a label or an annotation of a Model goes.
type Place int

const (
	// Replicas is the template, and so the revision and its pods: another value makes a
	// revision. A label of other people's goes on the Knative Service as well.
	Replicas Place = iota
	// Service is the Knative Service, which hands it on to its Route: no revision.
	Service
	// Apart goes by a way of its own: the autoscaler's, and the progress deadline.
	Apart
	// Model is where it stays.
	Model
	// Refused is for what can't be honoured.
	Refused
)

// Kind is what a key is the key of.
type Kind int

// The two kinds of metadata.
const (
	Annotation Kind = iota
	Label
)

func (k Kind) String() string { return [...]string{"annotation", "label"}[k] }

func (k Kind) path(key string) string {
	return [...]string{"metadata.annotations", "metadata.labels"}[k] + "[" + key + "]"
}

// verdict is where a key goes and, unless it means something there, why it doesn't.
type verdict struct {
	place Place
	why   string
}

// judge is the rule. Knative's own keys go by the table; what tools keep their books in
// stays on the Model; all else is other people's, and is the replicas'.
func judge(kind Kind, key, value string) verdict {
	if known, ok := knative[key]; ok {
		return known.judge(kind, value)
	}
	domain, name, qualified := strings.Cut(key, "/")
	switch {
	case !qualified:
		return verdict{place: Replicas}
	case within(domain, autoscaling.GroupName):
		return known{kind: Annotation, place: Apart}.judge(kind, value)
	case domain == publicNetworking:
		// A misspelt visibility would have a private Model served to the world.
		return verdict{Refused, fmt.Sprintf("Knative knows no %s %s of %s; mend its name or take it away", kind, name, domain)}
	case slices.Contains(knativeDomains, domain):
		return verdict{Replicas, fmt.Sprintf("Knative, as Sluice knows it, has no %s %s of %s; it is handed on to the replicas, where it may mean nothing", kind, name, domain)}
	case kind == Annotation && slices.Contains(authorship, key):
		return verdict{place: Model}
	case within(domain, sluice.GroupName):
		return verdict{Model, "keys of " + sluice.GroupName + " are Sluice's own, and this one does nothing on a Model: it is not handed on"}
	case bookkeeping(domain, key):
		return verdict{place: Model}
	}
	return verdict{place: Replicas}
}

// authorship is what Sluice itself writes on a Model: who tuned it.
var authorship = []string{sluice.TunedByAnnotationKey, sluice.TunedStateAnnotationKey}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// Set is labels and annotations.
type Set struct {
	Labels, Annotations map[string]string
}

// Empty is true without any.
func (s Set) Empty() bool { return len(s.Labels)+len(s.Annotations) == 0 }

// ForReplicas are those of a Model that go on its template.
func ForReplicas(m metav1.Object) Set {
	return Set{
		Labels:      sift(Label, m.GetLabels(), func(_ string, at Place) bool { return at == Replicas }),
		Annotations: sift(Annotation, m.GetAnnotations(), func(_ string, at Place) bool { return at == Replicas }),
	}
}

// ForService are those that go on its Knative Service. Other people's labels are among
// them, since an operator's config-domain selects by these.
func ForService(m metav1.Object) Set {
	return Set{
		Labels:      sift(Label, m.GetLabels(), func(_ string, at Place) bool { return at == Service || at == Replicas }),
		Annotations: sift(Annotation, m.GetAnnotations(), func(_ string, at Place) bool { return at == Service }),
	}
}

func sift(kind Kind, all map[string]string, goes func(key string, at Place) bool) map[string]string {
	return kmap.Filter(all, func(key string) bool { return !goes(key, judge(kind, key, all[key]).place) })
}

// Remark is why a label or an annotation does not do what it seems to.
type Remark struct {
	Kind     Kind
	Key, Why string
	// Refused is true for what can't be honoured, false where it is only worth a word.
	Refused bool
}

// Path is where the Model has it.
func (r Remark) Path() string { return r.Kind.path(r.Key) }

// Remarks are those on the labels and annotations of a Model, sorted.
func Remarks(m metav1.Object) []Remark {
	var remarks []Remark
	for kind, all := range map[Kind]map[string]string{Label: m.GetLabels(), Annotation: m.GetAnnotations()} {
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if v := judge(kind, key, all[key]); v.why != "" {
				remarks = append(remarks, Remark{Kind: kind, Key: key, Why: v.why, Refused: v.place == Refused})
			}
		}
	}
	slices.SortFunc(remarks, func(a, b Remark) int { return strings.Compare(a.Path(), b.Path()) })
	return remarks
}
