package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// reconcileCopies copies the Secrets that the Ingress names to where the gateways
// read them. One that is missing or broken leaves its last good copy in place.
func (r *Reconciler) reconcileCopies(ctx context.Context, a *admitted) (*copied, error) {
	certificates, problem := resources.Certificates(a.Ingress)
	s := &copied{
		admitted: *a, certificates: certificates, copies: map[string]*corev1.Secret{}, problem: cmp.Or(problem, a.unsplit),
	}
	for _, certificate := range s.certificates {
		problem, err := r.reconcileCopy(ctx, s, certificate)
		if err != nil {
			return nil, err
		}
		s.problem = cmp.Or(s.problem, problem)
	}
	s.secure = s.secureGateways()
	return s, r.holdHosts(s)
}

// holdHosts has the Ingress' Istio Gateways serve the hosts that they have served,
// until the routes have arrived where another certificate is shown for them: clients
// choose a server by its hosts before they get to its routes.
func (r *Reconciler) holdHosts(s *copied) error {
	for i, desired := range s.secure {
		shown, err := r.gateways.Gateways(gateway.Namespace).Get(desired.Name)
		if apierrs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("getting istio gateway %s: %w", desired.Name, err)
		}
		s.secure[i] = resources.Holding(desired, shown, resources.ExternalHosts(s.Ingress))
		s.holding = s.holding || !proto.Equal(&s.secure[i].Spec, &desired.Spec)
	}
	return nil
}

func (r *Reconciler) reconcileCopy(ctx context.Context, s *copied, certificate resources.Certificate) (*resources.Problem, error) {
	name, copies := resources.CopyName(gateway.VirtualServiceName(s.Namespace, s.Name), certificate.Secret), r.copyKind()
	existing, err := copies.Own(name)
	if err != nil {
		return inTheWay(err)
	}
	if existing != nil {
		s.copies[name] = existing
	}
	pair, problem, err := r.pairOf(&s.asked, certificate)
	if err != nil || problem != nil {
		return problem, err
	}
	desired := resources.SecretCopy(s.Ingress, s.tenantName(), certificate, pair)
	_, changed, err := copies.Ensure(ctx, desired)
	if unlessOvertaken(err) != nil {
		return inTheWay(err)
	}
	s.copies[name] = desired
	if doubts := resources.Doubts(pair.Leaf, certificate.Hosts, r.clock.Now()); changed && doubts != "" {
		controller.GetEventRecorder(ctx).Eventf(s.Ingress, corev1.EventTypeWarning, "CertificateDoubtful",
			"%s.secretName: the certificate of Secret %s is served, but clients will refuse it: %s", certificate.Field, certificate.Secret, doubts)
	}
	return nil, nil
}

// inTheWay is an error, or the Problem that it stands for: that a copy's name is taken.
func inTheWay(err error) (*resources.Problem, error) {
	var other *accessor.NotOwnedError
	if !errors.As(err, &other) {
		return nil, err
	}
	return &resources.Problem{Reason: "NotOwned", Message: fmt.Sprintf(
		"Secret %s/%s is in the way and not Sluice's; delete it", other.Namespace, other.Name)}, nil
}

// pairOf reads the pair of a Secret that the Ingress names.
func (r *Reconciler) pairOf(s *asked, certificate resources.Certificate) (tlssecret.Pair, *resources.Problem, error) {
	name := types.NamespacedName{Namespace: s.Namespace, Name: certificate.Secret}
	if err := r.tracker.TrackReference(tracker.Reference{
		APIVersion: "v1", Kind: "Secret", Namespace: name.Namespace, Name: name.Name,
	}, s.Ingress); err != nil {
		return tlssecret.Pair{}, nil, fmt.Errorf("tracking secret %s: %w", name, err)
	}
	secret, err := r.secrets.Secrets(name.Namespace).Get(name.Name)
	if apierrs.IsNotFound(err) {
		return tlssecret.Pair{}, &resources.Problem{Reason: "SecretNotFound", Message: fmt.Sprintf(
			"%s.secretName: there is no Secret %s of type %s; create it", certificate.Field, name, corev1.SecretTypeTLS)}, nil
	}
	if err != nil {
		return tlssecret.Pair{}, nil, fmt.Errorf("getting secret %s: %w", name, err)
	}
	pair, err := tlssecret.Parse(secret)
	if err != nil {
		return tlssecret.Pair{}, &resources.Problem{Reason: "SecretInvalid", Message: fmt.Sprintf(
			"%s.secretName: Secret %s can't be served: %v; put a certificate and its own key there", certificate.Field, name, err)}, nil
	}
	return pair, nil, nil
}

// reconcileSecureGateways writes the Istio Gateways of the Ingress' certificates.
// Their routes are written before: a host that has a server without routes is not
// found.
func (r *Reconciler) reconcileSecureGateways(ctx context.Context, w *written) (*exposed, error) {
	for _, desired := range w.secure {
		if _, _, err := r.secureGatewayKind().Ensure(ctx, desired); unlessOvertaken(err) != nil {
			return nil, err
		}
	}
	return &exposed{*w}, nil
}

// tidy deletes the Istio Gateways that serve the Ingress no more, and then the
// copies that none of them shows. The VirtualService is bound to them until they
// are gone, and nothing goes before the routes have arrived.
func (r *Reconciler) tidy(ctx context.Context, s *whole) error {
	if !s.arrived {
		return nil
	}
	wanted := map[string]bool{}
	for _, own := range s.secure {
		wanted[own.Name] = true
	}
	key := keyOf(s.Ingress)
	stale, err := r.ownGateways(key)
	if err != nil {
		return err
	}
	kept := maps.Clone(s.copies)
	for _, own := range stale {
		for _, server := range own.Spec.Servers {
			kept[gateway.SecretOf(server.GetTls().GetCredentialName())] = nil
		}
	}
	stale = slices.DeleteFunc(stale, func(own *istiov1.Gateway) bool { return wanted[own.Name] })
	if err := removeAll(ctx, r.secureGatewayKind(), stale); err != nil {
		return err
	}
	copies, err := r.ownCopies(key)
	if err != nil {
		return err
	}
	return removeAll(ctx, r.copyKind(), slices.DeleteFunc(copies, func(copied *corev1.Secret) bool {
		_, ok := kept[copied.Name]
		return ok
	}))
}

// ownGateways lists the Istio Gateways that were made for an Ingress.
func (r *Reconciler) ownGateways(ing types.NamespacedName) ([]*istiov1.Gateway, error) {
	found, err := r.gateways.Gateways(gateway.Namespace).List(labels.SelectorFromSet(resources.OwnerLabels(ing)))
	if err != nil {
		return nil, fmt.Errorf("listing the istio gateways of %s: %w", ing, err)
	}
	slices.SortFunc(found, func(a, b *istiov1.Gateway) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// ownCopies lists the copies of Secrets that were made for an Ingress.
func (r *Reconciler) ownCopies(ing types.NamespacedName) ([]*corev1.Secret, error) {
	found, err := r.secrets.Secrets(gateway.Namespace).List(labels.SelectorFromSet(resources.OwnerLabels(ing)))
	if err != nil {
		return nil, fmt.Errorf("listing the secrets of %s: %w", ing, err)
	}
	slices.SortFunc(found, func(a, b *corev1.Secret) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// removeAll deletes objects that were listed.
func removeAll[T accessor.Object[T]](ctx context.Context, kind accessor.Kind[T], listed []T) error {
	for _, object := range listed {
		if _, err := kind.Remove(ctx, object.GetName()); err != nil {
			return err
		}
	}
	return nil
}

// ownedBy tells whether an Istio Gateway was made for an Ingress.
func ownedBy(object *istiov1.Gateway, ing *v1alpha1.Ingress) bool {
	return labels.SelectorFromSet(resources.OwnerLabels(keyOf(ing))).Matches(labels.Set(object.Labels))
}
