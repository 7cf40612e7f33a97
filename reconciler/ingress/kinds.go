package ingress

import (
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/accessor"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// owner is that of all that serves Ingresses; names say which of them.
var owner = accessor.Labelled(map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy})

// managed tells whether Sluice made an object.
func managed(object metav1.Object) bool { return owner.Owns(object) }

func (r *Reconciler) virtualServiceKind() accessor.Kind[*istiov1.VirtualService] {
	return accessor.Kind[*istiov1.VirtualService]{
		Name:    "VirtualService",
		Get:     r.virtualServices.VirtualServices(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1().VirtualServices(gateway.Namespace),
		Owner:   owner,
		Content: accessor.Message(func(vs *istiov1.VirtualService) *istioapi.VirtualService { return &vs.Spec }),
	}
}

func (r *Reconciler) secureGatewayKind() accessor.Kind[*istiov1.Gateway] {
	return accessor.Kind[*istiov1.Gateway]{
		Name:    "Gateway",
		Get:     r.gateways.Gateways(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1().Gateways(gateway.Namespace),
		Owner:   owner,
		Content: accessor.Message(func(g *istiov1.Gateway) *istioapi.Gateway { return &g.Spec }),
	}
}

func (r *Reconciler) splitKind() accessor.Kind[*istiov1alpha3.EnvoyFilter] {
	return accessor.Kind[*istiov1alpha3.EnvoyFilter]{
		Name:    "EnvoyFilter",
		Get:     r.splits.EnvoyFilters(gateway.Namespace).Get,
		Client:  r.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace),
		Owner:   owner,
		Content: accessor.Message(func(f *istiov1alpha3.EnvoyFilter) *istioapi.EnvoyFilter { return &f.Spec }),
	}
}

func (r *Reconciler) copyKind() accessor.Kind[*corev1.Secret] {
	return accessor.Kind[*corev1.Secret]{
		Name:    "Secret",
		Get:     r.secrets.Secrets(gateway.Namespace).Get,
		Client:  r.kube.CoreV1().Secrets(gateway.Namespace),
		Owner:   owner,
		Content: accessor.Content[*corev1.Secret]{Adopt: func(existing, desired *corev1.Secret) { existing.Data = desired.Data }},
	}
}

// unlessOvertaken leaves out the error of a write that a cache was behind for: what was
// written a moment ago, most often by us, has an event that brings us back.
func unlessOvertaken(err error) error {
	if apierrs.IsConflict(err) || apierrs.IsAlreadyExists(err) {
		return nil
	}
	return err
}
