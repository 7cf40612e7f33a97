package v1alpha1

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
)

const (
	// ModelConditionReady is true when every other condition is.
	ModelConditionReady = apis.ConditionReady
	// ModelConditionRevisionReady is true when the newest revision is ready, is the
	// one that the Model asks for, and is scaled as the Model says.
	ModelConditionRevisionReady apis.ConditionType = "RevisionReady"
	// ModelConditionRolledOut is true when the newest revision has the requests that
	// the rollout is to give it, all of them but those of spec.traffic. It is unknown
	// while it gets there, or is held, and false where it can't or was undone.
	ModelConditionRolledOut apis.ConditionType = "RolledOut"
	// ModelConditionRouted is true when the gateway was seen to serve the routes.
	ModelConditionRouted apis.ConditionType = "Routed"
	// ModelConditionLimited is true when every ready gateway pod was seen to
	// enforce the limit.
	ModelConditionLimited apis.ConditionType = "Limited"
	// ModelConditionScaled is there, and false, while replicas that the autoscaler wants
	// can't be expected to come. What there is serves all the same, so Ready doesn't
	// depend on it.
	ModelConditionScaled apis.ConditionType = "Scaled"
)

var modelConditions = apis.NewLivingConditionSet(
	ModelConditionRevisionReady, ModelConditionWarm, ModelConditionRolledOut, ModelConditionRouted, ModelConditionLimited)

// GetConditionSet returns the conditions that Ready is made of.
func (*Model) GetConditionSet() apis.ConditionSet { return modelConditions }

// GetGroupVersionKind returns the kind, for owner references.
func (*Model) GetGroupVersionKind() schema.GroupVersionKind {
	return SchemeGroupVersion.WithKind("Model")
}

// GetStatus returns the part of the status that all Knative kinds share.
func (m *Model) GetStatus() *duckv1.Status { return &m.Status.Status }

// AskedAt is the URL by which what is in the cluster asks the Model; "" while it has none, and
// once it is being deleted.
func (m *Model) AskedAt() string {
	if m.DeletionTimestamp != nil || m.Status.Address == nil || m.Status.Address.URL == nil {
		return ""
	}
	return m.Status.Address.URL.String()
}

// SaysOfItself is a sentence, behind another, on why it isn't Ready, in its own words; "" where it
// doesn't say.
func (m *Model) SaysOfItself() string {
	if ready := m.Status.GetCondition(ModelConditionReady); ready != nil && ready.Reason != "" {
		return fmt.Sprintf(" It says %s: %s", ready.Reason, ready.Message)
	}
	return ""
}

// IsReady is true when the status speaks of this generation and is Ready.
func (m *Model) IsReady() bool {
	return m.Generation == m.Status.ObservedGeneration && m.Status.GetCondition(ModelConditionReady).IsTrue()
}

// InitializeConditions sets every condition that is not there yet to Unknown.
func (s *ModelStatus) InitializeConditions() { modelConditions.Manage(s).InitializeConditions() }

const (
	reasonNotOwned   = "NotOwned"
	reasonOutOfDate  = "OutOfDate"
	reasonPending    = "Pending"
	reasonDeploying  = "Deploying"
	reasonRefused    = "Refused"
	reasonNotWritten = "NotWritten"
	reasonNoRate     = "RateMissing"
	reasonTenantCap  = "TenantCap"
)

// MarkServiceNotOwned says that somebody else's Knative Service has the Model's
// name, and forgets what the status said of an earlier one.
func (s *ModelStatus) MarkServiceNotOwned(name string) {
	m := modelConditions.Manage(s)
	m.MarkFalse(ModelConditionRevisionReady, reasonNotOwned,
		"There is a Knative Service %q that this Model does not own; delete it or rename the Model.", name)
	s.forgetService(reasonNotOwned)
}

// MarkNotLetIn says why the tenant's caps leave no room for the Model, of which
// there is nothing.
func (s *ModelStatus) MarkNotLetIn(refusal *apis.FieldError) {
	s.MarkHeldBack(refusal)
	s.forgetService(reasonTenantCap)
}

// MarkHeldBack says why the tenant's caps leave no room for what the Model asks for
// beyond what it has, which goes on.
func (s *ModelStatus) MarkHeldBack(refusal *apis.FieldError) {
	modelConditions.Manage(s).MarkFalse(ModelConditionRevisionReady, reasonTenantCap, "%s", refusal.Error())
}

func (s *ModelStatus) forgetService(reason string) {
	m := modelConditions.Manage(s)
	m.MarkUnknown(ModelConditionWarm, reason, "There is no Knative Service of this Model.")
	m.MarkUnknown(ModelConditionRolledOut, reason, "There is no Knative Service of this Model.")
	m.MarkUnknown(ModelConditionRouted, reason, "There is no Knative Service of this Model.")
	m.MarkUnknown(ModelConditionLimited, reason, "There is no Knative Service of this Model.")
	s.URL, s.Address, s.LatestReadyRevision = nil, nil, ""
	s.DesiredReplicas, s.ReadyReplicas, s.Revisions, s.Limit, s.WarmUp, s.Rollout, s.Obstacle = 0, 0, nil, nil, nil, nil, nil
	s.markScaled()
}

// MarkServiceNotWritten says why the Model's Knative Service could not be written.
func (s *ModelStatus) MarkServiceNotWritten(name string, err error) {
	s.markNotWritten(ModelConditionRevisionReady, "Knative Service", name, err)
}

// MarkRateLimitNotOwned says that somebody else's RateLimit has the Model's name.
func (s *ModelStatus) MarkRateLimitNotOwned(name string) {
	modelConditions.Manage(s).MarkFalse(ModelConditionLimited, reasonNotOwned,
		"There is a RateLimit %q that this Model does not own; delete it or rename the Model.", name)
}

// MarkRateLimitNotWritten says why the Model's RateLimit could not be written.
func (s *ModelStatus) MarkRateLimitNotWritten(name string, err error) {
	s.markNotWritten(ModelConditionLimited, "RateLimit", name, err)
}

// MarkRateMissing says that there is nothing to limit by. The webhook refuses such
// a Model; one can still be there that was written while the webhook wasn't.
func (s *ModelStatus) MarkRateMissing() {
	modelConditions.Manage(s).MarkFalse(ModelConditionLimited, reasonNoRate,
		"Set spec.limit.requestsPerSecondPerReplica: what one warm replica serves.")
}

// markNotWritten tells an object that was refused, which a person has to mend,
// from one that only has to be tried again. A write that lost a race with our own
// cache is tried again at once and says nothing of the Model.
func (s *ModelStatus) markNotWritten(condition apis.ConditionType, kind, name string, err error) {
	m := modelConditions.Manage(s)
	if apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) {
		return
	}
	if refused(err) {
		m.MarkFalse(condition, reasonRefused, "%s %q was refused: %v", kind, name, err)
		return
	}
	m.MarkUnknown(condition, reasonNotWritten, "%s %q could not be written and is tried again: %v", kind, name, err)
}

// PropagateService takes over what the Model's Knative Service says of its newest
// revision and of its routes. What it said of an earlier generation is no answer.
func (s *ModelStatus) PropagateService(service *servingv1.Service) {
	s.URL = service.Status.URL.DeepCopy()
	s.Address = service.Status.Address.DeepCopy()
	s.LatestReadyRevision = service.Status.LatestReadyRevisionName

	if service.Status.ObservedGeneration != service.Generation {
		m := modelConditions.Manage(s)
		for _, condition := range []apis.ConditionType{ModelConditionRevisionReady, ModelConditionRouted} {
			m.MarkUnknown(condition, reasonOutOfDate, "Knative has not taken up the Model's latest change yet.")
		}
		return
	}
	s.propagateRevision(service)
	s.propagate(ModelConditionRouted, service.Status.GetCondition(servingv1.ServiceConditionRoutesReady),
		"Knative has not said yet whether the routes are served.")
}

// PropagateTenant puts right the scheme of the URL where the tenant serves HTTPS
// for its host, of which Knative knows nothing.
func (s *ModelStatus) PropagateTenant(t *Tenant) {
	if s.URL != nil && t.servesHTTPS(s.URL.Host) {
		s.URL.Scheme = "https"
	}
}

func (t *Tenant) servesHTTPS(host string) bool {
	domain := t.DomainInForce()
	return domain != "" && t.Spec.TLS != nil && strings.HasSuffix(host, "."+domain) &&
		t.Status.GetCondition(TenantConditionCertificateReady).IsTrue()
}

// PropagateRateLimit takes over the limit in force, the replicas it was computed
// from, and whether it is the one that was asked for last.
func (s *ModelStatus) PropagateRateLimit(limit *RateLimit) {
	observed := limit.Status.DeepCopy()
	s.Revisions, s.Limit = observed.Revisions, observed.Limit
	s.DesiredReplicas, s.ReadyReplicas = 0, 0
	for _, revision := range s.Revisions {
		s.DesiredReplicas += revision.Desired
		s.ReadyReplicas += revision.Ready
	}
	s.markScaled()
	if observed.ObservedGeneration != limit.Generation {
		modelConditions.Manage(s).MarkUnknown(ModelConditionLimited, reasonPending,
			"The limiter has not taken up the Model's latest limit yet.")
		return
	}
	s.propagate(ModelConditionLimited, observed.GetCondition(RateLimitConditionReady),
		"The limiter has not said yet whether the limit is enforced.")
}

// markScaled says of the first revision that lacks replicas how many, and why.
func (s *ModelStatus) markScaled() {
	m := modelConditions.Manage(s)
	for _, r := range s.Revisions {
		if r.Missing > 0 {
			m.MarkFalse(ModelConditionScaled, r.Reason, "%d of %d replicas of revision %s aren't coming: %s", r.Missing, r.Desired, r.Name, r.Message)
			return
		}
	}
	_ = m.ClearCondition(ModelConditionScaled) // fails for those of Ready only
}

// propagate sets a condition to what another object's condition says; unsaid is
// the message where that one isn't there.
func (s *ModelStatus) propagate(condition apis.ConditionType, from *apis.Condition, unsaid string) {
	m := modelConditions.Manage(s)
	switch {
	case from == nil:
		m.MarkUnknown(condition, reasonPending, "%s", unsaid)
	case from.Status == corev1.ConditionTrue:
		m.MarkTrue(condition)
	case from.Status == corev1.ConditionFalse:
		m.MarkFalse(condition, from.Reason, "%s", from.Message)
	default:
		m.MarkUnknown(condition, from.Reason, "%s", from.Message)
	}
}
