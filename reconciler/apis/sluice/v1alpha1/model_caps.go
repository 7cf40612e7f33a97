package v1alpha1

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
)

// UnboundedReplicas is the maxReplicas of what sets none.
const UnboundedReplicas int64 = math.MaxInt64

// MaxReplicas is the most replicas that each revision of the Model may have, by its
// annotation or its spec.
func (m *Model) MaxReplicas() int64 { return MaxReplicasOf(m.AutoscalingAnnotations()) }

// ClaimedReplicas are the most replicas that each revision of the Model may come to have by
// what it says: those of a trial count until that is over. Its own count all the while, as
// they come back by themselves.
func (m *Model) ClaimedReplicas() int64 {
	claimed := m.MaxReplicas()
	if m.Spec.Trial != nil && (!m.Status.Trial.IsOf(m.Spec.Trial) || m.Status.Trial.Runs(m.Spec.Trial)) {
		claimed = max(claimed, m.Tried().MaxReplicas())
	}
	return claimed
}

// MaxReplicasOf reads the most replicas from the annotations of a revision.
func MaxReplicasOf(annotations map[string]string) int64 {
	_, text, _ := autoscaling.MaxScaleAnnotation.Get(annotations)
	replicas, err := strconv.ParseInt(text, 10, 32)
	if err != nil || replicas <= 0 {
		return UnboundedReplicas
	}
	return replicas
}

// Allowed is the most replicas that the tenant's caps have let each of the Model's
// revisions have; false where none was told.
func (s *ModelStatus) Allowed() (int64, bool) {
	switch {
	case s.MaxReplicas == nil:
		return 0, false
	case *s.MaxReplicas == 0:
		return UnboundedReplicas, true
	}
	return int64(*s.MaxReplicas), true
}

// Allow notes the most replicas that each revision may have.
func (s *ModelStatus) Allow(most int64) {
	if most == UnboundedReplicas {
		most = 0
	}
	replicas := int32(most)
	s.MaxReplicas = &replicas
}

// CapClaim is a Model that shares the caps of its tenant with others.
// +k8s:deepcopy-gen=false
type CapClaim struct {
	*Model
	// InForce is the most replicas that it has been let have; nil where it has not
	// been let in.
	InForce *int64
}

// Grows tells whether the Model asks for more than it has. That is all a cap can
// refuse: one that is lowered below what is there takes nothing away.
func (c CapClaim) Grows() bool { return c.InForce == nil || c.ClaimedReplicas() > *c.InForce }

func (c CapClaim) key() types.NamespacedName {
	return types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
}

// compare orders claims by age, then by namespace and name.
func (c CapClaim) compare(other CapClaim) int {
	return cmp.Or(
		c.CreationTimestamp.Compare(other.CreationTimestamp.Time),
		cmp.Compare(c.Namespace, other.Namespace),
		cmp.Compare(c.Name, other.Name),
	)
}

// CapsModels tells whether the tenant, which may be nil, caps its Models by their
// number or their replicas.
func (t *Tenant) CapsModels() bool {
	return t != nil && (t.Spec.Limits.Models != nil || t.Spec.Limits.MaxReplicas != nil)
}

// Models collects those of each namespace that the tenant holds.
func (t *Tenant) Models(in func(namespace string) ([]*Model, error)) ([]*Model, error) {
	var models []*Model
	for _, held := range t.Status.Namespaces {
		found, err := in(held.Name)
		if err != nil {
			return nil, fmt.Errorf("listing the Models of namespace %s: %w", held.Name, err)
		}
		models = append(models, found...)
	}
	return models, nil
}

// RefuseGrowth says why the tenant's caps keep a Model from growing, or nil. All are
// the claims of the tenant's Models, its own or not. What others have is theirs,
// whoever came first; what is left goes to the older of those that ask for more. So
// the answers to all of them fit together, in whatever order they are asked.
func (t *Tenant) RefuseGrowth(claim CapClaim, all []CapClaim) *apis.FieldError {
	if !t.CapsModels() || !claim.Grows() {
		return nil
	}
	taken := capUse{}
	var older []CapClaim
	for _, other := range all {
		if other.InForce != nil {
			taken[other.key()] = *other.InForce
		}
		if other.Grows() && other.compare(claim) < 0 {
			older = append(older, other)
		}
	}
	slices.SortFunc(older, CapClaim.compare)
	for _, other := range older {
		if t.refuse(other, taken) == nil {
			taken[other.key()] = other.ClaimedReplicas()
		}
	}
	return t.refuse(claim, taken)
}

func (t *Tenant) refuse(claim CapClaim, taken capUse) *apis.FieldError {
	others := maps.Clone(taken)
	delete(others, claim.key())
	return t.refuseModel(claim, others).Also(t.refuseReplicas(claim, others))
}

func (t *Tenant) refuseModel(claim CapClaim, others capUse) *apis.FieldError {
	limit := t.Spec.Limits.Models
	if limit == nil || claim.InForce != nil || len(others) < int(*limit) {
		return nil
	}
	err := invalid("metadata.namespace", "its tenant %q may have %d Models (spec.limits.models of the Tenant) and has %d",
		t.Name, *limit, len(others))
	err.Details = "delete one of them, or have the operator raise the cap"
	return err
}

func (t *Tenant) refuseReplicas(claim CapClaim, others capUse) *apis.FieldError {
	if t.Spec.Limits.MaxReplicas == nil {
		return nil
	}
	limit, asked := int64(*t.Spec.Limits.MaxReplicas), claim.ClaimedReplicas()
	sum, unbounded := others.replicas()
	left := max(0, limit-sum)
	if asked <= left && len(unbounded) == 0 {
		return nil
	}
	is := fmt.Sprint("is ", asked)
	if asked == UnboundedReplicas {
		is = "is not set"
	}
	must, use := fmt.Sprintf("must be from 1 to %d, ", left), fmt.Sprintf("claim %d", sum)
	remedy := "lower that of another Model of the tenant, or have the operator raise the cap"
	switch {
	case len(unbounded) > 0:
		must, use = "", fmt.Sprintf("claim more, %d of them having no bound", len(unbounded))
		remedy = "set maxReplicas on these Models first: " + strings.Join(unbounded[:min(len(unbounded), maxNamed)], ", ")
	case left == 0:
		must = "nothing is left, "
	}
	path := claim.autoscalingPath(autoscaling.MaxScaleAnnotationKey)
	if asked > claim.MaxReplicas() {
		path = "spec.trial.autoscaling.maxReplicas"
	}
	err := invalid(path,
		"%s%s: tenant %q may have %d replicas (spec.limits.maxReplicas of the Tenant), of which its other Models %s", must, is, t.Name, limit, use)
	err.Details = remedy
	return err
}

// maxNamed is how many Models a message names.
const maxNamed = 10

// capUse is the most replicas of each Model that there is.
type capUse map[types.NamespacedName]int64

// replicas adds up those that are bounded, and names the Models, in order, whose
// replicas are not.
func (u capUse) replicas() (sum int64, unbounded []string) {
	for model, replicas := range u {
		if replicas == UnboundedReplicas {
			unbounded = append(unbounded, model.String())
			continue
		}
		sum += replicas
	}
	slices.Sort(unbounded)
	return sum, unbounded
}
