package ingress

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/tracker"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

// reconcileCopies copies the Secrets that the Ingress names to where the gateways
// read them. One that is missing or broken leaves its last good copy in place.
func (r *Reconciler) reconcileCopies(ctx context.Context, s *serving) error {
	certificates, problem := resources.Certificates(s.Ingress)
	s.certificates, s.problem = certificates, cmp.Or(problem, s.problem)
	s.copies = map[string]*corev1.Secret{}
	for _, certificate := range s.certificates {
		problem, err := r.reconcileCopy(ctx, s, certificate)
		if err != nil {
			return err
		}
		if s.problem == nil {
			s.problem = problem
		}
	}
	s.secure = s.secureGateways()
	return r.holdHosts(s)
}

// holdHosts has the Ingress' Istio Gateways serve the hosts that they have served,
// until the routes have arrived where another certificate is shown for them: clients
// choose a server by its hosts before they get to its routes.
func (r *Reconciler) holdHosts(s *serving) error {
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

func (r *Reconciler) reconcileCopy(ctx context.Context, s *serving, certificate resources.Certificate) (*resources.Problem, error) {
	name := resources.CopyName(gateway.VirtualServiceName(s.Namespace, s.Name), certificate.Secret)
	existing, err := r.secrets.Secrets(gateway.Namespace).Get(name)
	switch {
	case apierrs.IsNotFound(err):
		existing = nil
	case err != nil:
		return nil, fmt.Errorf("getting secret %s/%s: %w", gateway.Namespace, name, err)
	case !managed(existing):
		return &resources.Problem{Reason: "NotOwned", Message: fmt.Sprintf(
			"Secret %s/%s is in the way and not Sluice's; delete it", gateway.Namespace, name)}, nil
	default:
		s.copies[name] = existing
	}
	pair, problem, err := r.pairOf(s, certificate)
	if err != nil || problem != nil {
		return problem, err
	}
	desired := resources.SecretCopy(s.Ingress, s.tenantName(), certificate, pair)
	s.copies[name] = desired
	if existing != nil && equality.Semantic.DeepEqual(existing.Data, desired.Data) && resources.SameLabels(existing.Labels, desired.Labels) {
		return nil, nil
	}
	if doubts := resources.Doubts(pair.Leaf, certificate.Hosts, r.clock.Now()); doubts != "" {
		controller.GetEventRecorder(ctx).Eventf(s.Ingress, corev1.EventTypeWarning, "CertificateDoubtful",
			"%s.secretName: the certificate of Secret %s is served, but clients will refuse it: %s", certificate.Field, certificate.Secret, doubts)
	}
	return nil, r.writeCopy(ctx, existing, desired)
}

// pairOf reads the pair of a Secret that the Ingress names.
func (r *Reconciler) pairOf(s *serving, certificate resources.Certificate) (tlssecret.Pair, *resources.Problem, error) {
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

func (r *Reconciler) writeCopy(ctx context.Context, existing, desired *corev1.Secret) error {
	client := r.kube.CoreV1().Secrets(gateway.Namespace)
	if existing == nil {
		if _, err := client.Create(ctx, desired, metav1.CreateOptions{}); err != nil && !ownWrite(err) {
			return fmt.Errorf("creating secret %s/%s: %w", gateway.Namespace, desired.Name, err)
		}
		return nil
	}
	updated := existing.DeepCopy()
	updated.Data, updated.Labels = desired.Data, desired.Labels
	if _, err := client.Update(ctx, updated, metav1.UpdateOptions{}); err != nil && !ownWrite(err) {
		return fmt.Errorf("updating secret %s/%s: %w", gateway.Namespace, desired.Name, err)
	}
	return nil
}

// reconcileSecureGateways writes the Istio Gateways of the Ingress' certificates.
// Their routes are written before: a host that has a server without routes is not
// found.
func (r *Reconciler) reconcileSecureGateways(ctx context.Context, s *serving) error {
	for _, desired := range s.secure {
		existing, err := r.gateways.Gateways(gateway.Namespace).Get(desired.Name)
		if apierrs.IsNotFound(err) {
			existing, err = nil, nil
		}
		if err == nil {
			err = r.writeSecureGateway(ctx, existing, desired)
		}
		if err != nil {
			return fmt.Errorf("reconciling istio gateway %s: %w", desired.Name, err)
		}
	}
	return nil
}

func (r *Reconciler) writeSecureGateway(ctx context.Context, existing, desired *istiov1.Gateway) error {
	client := r.istio.NetworkingV1().Gateways(gateway.Namespace)
	switch {
	case existing == nil:
		if _, err := client.Create(ctx, desired, metav1.CreateOptions{}); err != nil && !ownWrite(err) {
			return fmt.Errorf("creating it: %w", err)
		}
	case !managed(existing):
		return fmt.Errorf("it exists and is not labelled %s=%s: delete it", sluice.ManagedByLabelKey, sluice.ManagedBy)
	case !proto.Equal(&existing.Spec, &desired.Spec) || !resources.SameLabels(existing.Labels, desired.Labels):
		updated := existing.DeepCopy()
		desired.Spec.DeepCopyInto(&updated.Spec)
		updated.Labels = desired.Labels
		if _, err := client.Update(ctx, updated, metav1.UpdateOptions{}); err != nil && !ownWrite(err) {
			return fmt.Errorf("updating it: %w", err)
		}
	}
	return nil
}

// tidy deletes the Istio Gateways that serve the Ingress no more, and then the
// copies that none of them shows. The VirtualService is bound to them until they
// are gone.
func (r *Reconciler) tidy(ctx context.Context, s *serving) error {
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
	if err := r.deleteGateways(ctx, stale); err != nil {
		return err
	}
	copies, err := r.ownCopies(key)
	if err != nil {
		return err
	}
	return r.deleteCopies(ctx, slices.DeleteFunc(copies, func(copied *corev1.Secret) bool {
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

func (r *Reconciler) deleteGateways(ctx context.Context, list []*istiov1.Gateway) error {
	for _, own := range list {
		err := r.istio.NetworkingV1().Gateways(gateway.Namespace).Delete(ctx, own.Name, metav1.DeleteOptions{})
		if err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("deleting istio gateway %s: %w", own.Name, err)
		}
	}
	return nil
}

func (r *Reconciler) deleteCopies(ctx context.Context, list []*corev1.Secret) error {
	for _, copied := range list {
		err := r.kube.CoreV1().Secrets(gateway.Namespace).Delete(ctx, copied.Name, metav1.DeleteOptions{})
		if err != nil && !apierrs.IsNotFound(err) {
			return fmt.Errorf("deleting secret %s/%s: %w", gateway.Namespace, copied.Name, err)
		}
	}
	return nil
}

// ownedBy tells whether an Istio Gateway was made for an Ingress.
func ownedBy(object *istiov1.Gateway, ing *v1alpha1.Ingress) bool {
	return labels.SelectorFromSet(resources.OwnerLabels(keyOf(ing))).Matches(labels.Set(object.Labels))
}

// ownWrite tells of an error that comes from a write of our own of a moment ago;
// its event comes and brings us back.
func ownWrite(err error) bool { return apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) }

// managed tells whether Sluice made an object.
func managed(object metav1.Object) bool {
	return object.GetLabels()[sluice.ManagedByLabelKey] == sluice.ManagedBy
}
