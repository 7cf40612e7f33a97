// Package routing is what the reconciler of Ingresses tells others of the routes that it
// serves, and how they read it: on which gateways a VirtualService was proved, and at
// which address an Ingress is published.
package routing

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	metav1alpha1 "istio.io/api/meta/v1alpha1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
)

// provedCondition is the condition of a VirtualService that carries its Proof. It is
// there from the first time on that the VirtualService was proved, names the gateways in
// its message, and speaks of the generation that the status observed. istiod takes no
// notice of it.
const provedCondition = "Proved"

// separator is between gateways, whose names are DNS labels.
const separator = ','

// Proof is what was seen of a VirtualService.
type Proof struct {
	// Gateways are those of which each ready pod was seen to serve it as it is now;
	// none while it isn't served so on every one that is to serve it.
	Gateways []string
	// Ever tells that it was once, be it as it was before.
	Ever bool
}

// On tells whether it was seen on all of some gateways.
func (p Proof) On(gateways []string) bool {
	return !slices.ContainsFunc(gateways, func(name string) bool { return !slices.Contains(p.Gateways, name) })
}

// ProofOf returns what was seen of a VirtualService.
func ProofOf(vs *istiov1.VirtualService) Proof {
	i := slices.IndexFunc(vs.Status.Conditions, isProof)
	if i < 0 {
		return Proof{}
	}
	proof, condition := Proof{Ever: true}, vs.Status.Conditions[i]
	if condition.GetStatus() == string(corev1.ConditionTrue) && vs.Status.ObservedGeneration == vs.Generation {
		proof.Gateways = strings.FieldsFunc(condition.GetMessage(), func(r rune) bool { return r == separator })
	}
	return proof
}

// Record writes into a VirtualService's status on which gateways it was seen as it is,
// and tells whether that changed anything. None is what its status says already of one
// that was not proved since it changed.
func Record(vs *istiov1.VirtualService, gateways []string, at time.Time) bool {
	if slices.Equal(ProofOf(vs).Gateways, gateways) {
		return false
	}
	condition := &metav1alpha1.IstioCondition{
		Type: provedCondition, Status: string(corev1.ConditionTrue), Reason: "Served",
		Message: strings.Join(gateways, string(separator)), LastTransitionTime: timestamppb.New(at),
	}
	if len(gateways) == 0 {
		// Which pods lag is in the Ingress' own status; here it would be written often.
		condition.Status, condition.Reason = string(corev1.ConditionFalse), "Waiting"
	}
	vs.Status.ObservedGeneration = vs.Generation
	vs.Status.Conditions = append(slices.DeleteFunc(vs.Status.Conditions, isProof), condition)
	return true
}

func isProof(condition *metav1alpha1.IstioCondition) bool {
	return condition.GetType() == provedCondition
}
