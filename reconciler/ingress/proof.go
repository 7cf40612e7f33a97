package ingress

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/controller"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/routing"
	"sluice.dev/sluice/reconciler/ingress/resources"
)

const (
	// newPodPatience is how long an Ingress that is ready stays so while a gateway
	// pod that came later is asked. Such a pod is not ready before it has its routes,
	// so all but a broken one prove within it, and the readiness of every Model does
	// not flap with each gateway pod.
	newPodPatience = 10 * time.Second
	// stepPatience is how long the next step of a change of routes waits for every
	// gateway pod to have taken the last, and for endpoints of the Services that
	// requests are to go to. What is broken must not hold up all.
	stepPatience = 5 * time.Second
)

// sight is what is seen of a VirtualService on the gateways.
type sight struct {
	claim Claim
	proof Proof
}

// secured tells whether each pod of a gateway serves a host over HTTPS.
func (s sight) secured(host, on string) bool {
	return s.proof.complete() && slices.ContainsFunc(s.claim.Questions, func(q Question) bool {
		return q.Gateway == on && q.Host == host && q.Certificate != ""
	})
}

// pods counts those of a gateway.
func (s sight) pods(of string) int {
	n := 0
	for _, pod := range s.claim.Pods {
		if pod.Gateway == of {
			n++
		}
	}
	return n
}

// look has a VirtualService proved on every ready pod of the gateways that it is
// bound to. That there is none is a complete proof.
func (r *Reconciler) look(ctx context.Context, s *copied, vs *istiov1.VirtualService) (sight, error) {
	if vs == nil {
		return sight{proof: Proof{Since: r.clock.Now()}}, nil
	}
	claim := Claim{Key: keyOf(s.Ingress), Generation: resources.Generation(vs), Split: resources.SplitDigest(s.splitBy)}
	wanted, asked := sets.New(s.binding().IstioGateways(s.Ingress)...), sets.New[string]()
	for _, name := range vs.Spec.Gateways {
		istioGateway, err := r.istioGateway(s, name)
		if err != nil {
			return sight{}, err
		}
		if istioGateway == nil {
			if wanted.Has(name) {
				claim.Missing = append(claim.Missing, "Istio Gateway "+name)
			}
			continue // one that is left behind answers nobody
		}
		questions, missing, err := r.questions(s, istioGateway, vs.Spec.Hosts)
		if err != nil {
			return sight{}, err
		}
		if missing != "" {
			claim.Missing = append(claim.Missing, missing)
		}
		claim.Questions = append(claim.Questions, questions...)
		if on := istioGateway.Spec.Selector[gateway.LabelKey]; !asked.Has(on) {
			asked.Insert(on)
			pods, err := gatewayPods(r.pods, on)
			if err != nil {
				return sight{}, err
			}
			claim.Pods = append(claim.Pods, pods...)
		}
	}
	claim.Questions = shown(claim.Questions)
	return sight{claim: claim, proof: r.prover.Prove(ctx, claim)}, nil
}

// prove marks the Ingress ready if its requests go where they should on every
// ready gateway pod, and records on the VirtualService where they do.
func (r *Reconciler) prove(ctx context.Context, s *whole) error {
	now, err := r.look(ctx, &s.copied, s.step.VirtualService)
	if err != nil {
		return err
	}
	ing, pending, since := s.Ingress, now.proof.Pending, r.clock.Since(now.proof.Since)
	switch {
	case slices.Contains(s.held, s.front()):
		if !wasReady(ing) { // one that is, is served at the address that it had
			s.markUnlimited(v1alpha1.IngressConditionLoadBalancerReady)
		}
	case now.pods(s.front()) == 0:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NoGatewayPod",
			"Gateway %s has no ready pod.", s.front())
	case s.step.Standing, s.step.Routed && now.proof.complete() && !s.holding:
		routing.Publish(ing, s.address())
		r.stopwatch.ready(keyOf(ing), ing.Generation)
	case wasReady(ing) && !s.resplit && since < newPodPatience:
		return controller.NewRequeueAfter(newPodPatience - since)
	case !s.step.Routed:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "Preparing",
			"Waiting for %d gateway pods to know the new backends before requests go there.", len(now.claim.Pods))
		return controller.NewRequeueAfter(stepPatience)
	case len(now.claim.Missing) > 0:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "Missing",
			"Waiting for %s.%s", strings.Join(now.claim.Missing, ", "), s.seeTenant())
	default:
		manage(ing).MarkUnknown(v1alpha1.IngressConditionLoadBalancerReady, "NotProved",
			"Waiting for %d of %d gateway pods to serve this generation: %s.",
			len(pending), len(now.claim.Pods), strings.TrimRight(strings.Join(first(pending, 10), ", "), "."))
	}
	return r.record(ctx, &s.written, now)
}

// record says in the status of the VirtualService on which gateways it is proved,
// for whoever waits to send requests there.
func (r *Reconciler) record(ctx context.Context, s *written, now sight) error {
	existing := s.existing
	if existing == nil || !proto.Equal(&existing.Spec, &s.step.VirtualService.Spec) {
		return nil // proved once its event has come
	}
	gateways := s.gateways()
	if !now.proof.complete() || slices.ContainsFunc(gateways, func(name string) bool { return now.pods(name) == 0 }) {
		gateways = nil
	}
	updated := existing.DeepCopy()
	if !routing.Record(updated, gateways, r.clock.Now()) {
		return nil
	}
	_, err := r.istio.NetworkingV1().VirtualServices(gateway.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil && !apierrs.IsConflict(err) { // its event brings us back
		return fmt.Errorf("recording the proof of virtual service %s: %w", existing.Name, err)
	}
	return nil
}

// wasReady tells whether this very generation was proved before.
func wasReady(ing *v1alpha1.Ingress) bool {
	return ing.Status.ObservedGeneration == ing.Generation &&
		ing.Status.GetCondition(v1alpha1.IngressConditionLoadBalancerReady).IsTrue()
}
