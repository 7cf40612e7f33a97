package tenant

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	istioapi "istio.io/api/networking/v1alpha3"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istiov1listers "istio.io/client-go/pkg/listers/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	appsv1listers "k8s.io/client-go/listers/apps/v1"
	autoscalingv2listers "k8s.io/client-go/listers/autoscaling/v2"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	networkingfake "knative.dev/networking/pkg/client/clientset/versioned/fake"
	networkinglisters "knative.dev/networking/pkg/client/listers/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/logging"
	logtesting "knative.dev/pkg/logging/testing"
	pkgreconciler "knative.dev/pkg/reconciler"
	rtesting "knative.dev/pkg/reconciler/testing"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/routing"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
	tenantreconciler "sluice.dev/sluice/reconciler/client/injection/reconciler/sluice/v1alpha1/tenant"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/tenant/resources"
)

const (
	key       = "search"
	own       = "tenant-search"
	finalizer = "tenants.sluice.dev"
	// uncached is, of a row's other data, an object that there is and that the cache
	// doesn't have yet.
	uncached = "uncached"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// drain is two minutes of connections and Knative's default of five for requests.
	drain = 7 * time.Minute
)

func at(after time.Duration) metav1.Time { return metav1.NewTime(start.Add(after)) }

func TestReconcile(t *testing.T) {
	var table rtesting.TableTest
	for _, rows := range []rtesting.TableTest{lifeRows(), moveRows(), namespaceRows(), domainRows(), certificateRows(), endRows()} {
		table = append(table, rows...)
	}
	for i := range table {
		table[i].SkipNamespaceValidation = true
		table[i].CmpOpts = []cmp.Option{protocmp.Transform()}
		if table[i].Key == "" {
			table[i].Key = key
		}
	}
	table.Test(t, factory)
}

// lifeRows take a shared tenant from its creation to rest.
func lifeRows() rtesting.TableTest {
	address := services(gateway.Shared)
	const unbuilt = "Waiting for gateway shared to be built; its pods are started once its limits' slots are there."
	return rtesting.TableTest{{
		Name: "bad key", Key: "too/many/parts",
	}, {
		Name: "gone",
	}, {
		Name:        "new",
		Objects:     objects(tenant(func(t *v1alpha1.Tenant) { t.Finalizers = nil })),
		WantPatches: []clientgotesting.PatchActionImpl{patch(`{"metadata":{"finalizers":["tenants.sluice.dev"],"resourceVersion":""}}`)},
		WantCreates: []runtime.Object{address[0], address[1]},
		WantEvents: []string{
			rtesting.Eventf(corev1.EventTypeNormal, "FinalizerUpdate", "Updated %q finalizers", key),
			normal("NamespaceHeld", "Namespace search is Held"),
			rtesting.Eventf(corev1.EventTypeWarning, "NoGatewayPods", "%s", unbuilt),
		},
		WantStatusUpdates: status(tenant(observed, begun, holds(v1alpha1.NamespaceHeld, 0), func(t *v1alpha1.Tenant) {
			t.Status.MarkAddress(own, "", "tenant-search-local.sluice-gateways.svc.cluster.local")
			t.Status.MarkNamespacesHeld(nil)
			t.Status.MarkNoGatewayPods(unbuilt)
		})),
	}, {
		Name:    "at rest, nothing is written",
		Objects: objects(resting(), addressed(gateway.Shared), deployment(gateway.Shared, 2)),
	}, {
		Name: "what its Models add up to",
		Objects: objects(resting(), addressed(gateway.Shared), deployment(gateway.Shared, 2), []runtime.Object{
			model("a"), model("b"), rateLimit("a", "12500m"), rateLimit("b", "30"),
		}),
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) {
			t.Status.Models, t.Status.RequestsPerSecond = 2, &v1alpha1.Rate{Quantity: resource.MustParse("42500m")}
		})),
	}, {
		Name:    "above a cap that was lowered",
		Objects: objects(resting(modelsCap(1)), addressed(gateway.Shared), deployment(gateway.Shared, 2), []runtime.Object{model("a"), model("b")}),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "OverCaps",
			"there are 2 Models, spec.limits.models is 1. What was there before goes on; what is new is refused.")},
		WantStatusUpdates: status(resting(modelsCap(1), func(t *v1alpha1.Tenant) {
			t.Status.Models = 2
			t.Status.MarkCaps([]string{"there are 2 Models, spec.limits.models is 1"}, nil)
		})),
	}, {
		Name: "what no cap can hold is named",
		Objects: objects(resting(modelsCap(2)), addressed(gateway.Shared), deployment(gateway.Shared, 2), []runtime.Object{
			model("a"), refusedIngress(v1alpha1.ReasonTenantCapped, "plain"), refusedIngress("HostNotAvailable", "another"),
		}),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, v1alpha1.ReasonTenantCapped,
			"Only Models can be held to spec.limits, so these 1 Ingresses are not served: search/plain. "+
				"Make them Models, or have them served by another ingress class.")},
		WantStatusUpdates: status(resting(modelsCap(2), func(t *v1alpha1.Tenant) {
			t.Status.Models = 1
			t.Status.MarkCaps(nil, []string{"search/plain"})
		})),
	}, {
		Name:        "a Service that was changed is put back, its node ports kept",
		Objects:     objects(resting(), deployment(gateway.Shared, 2), addressed(gateway.Shared, changed)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: addressed(gateway.Shared)[0]}, {Object: addressed(gateway.Shared)[1]}},
	}, {
		Name:    "somebody else's Service is left alone",
		Objects: objects(resting(), deployment(gateway.Shared, 2), addressed(gateway.Shared, func(s *corev1.Service) { s.Labels = nil })),
		WantErr: true,
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "InternalError",
			"Service sluice-gateways/tenant-search is not this tenant's: delete it, or rename the tenant")},
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) {
			t.Status.MarkAddressNotWritten(errors.New("Service sluice-gateways/tenant-search is not this tenant's: delete it, or rename the tenant"))
		})),
	}, {
		Name:       "no pod is left",
		Objects:    objects(resting(), addressed(gateway.Shared), deployment(gateway.Shared, 0)),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "NoGatewayPods", "Waiting for the pods of gateway shared: 0 of 1 are ready.")},
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) {
			t.Status.GatewayPods = 0
			t.Status.MarkNoGatewayPods("Waiting for the pods of gateway shared: 0 of 1 are ready.")
		})),
	}, {
		Name:              "the status was changed by another",
		Objects:           objects(resting(), addressed(gateway.Shared), deployment(gateway.Shared, 3)),
		WithReactors:      []clientgotesting.ReactionFunc{conflicting},
		WantErr:           true,
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) { t.Status.GatewayPods = 3 })),
	}}
}

// moveRows are single steps of a move; TestWalk has them in a row.
func moveRows() rtesting.TableTest {
	preparing := resting(dedicated, moving(v1alpha1.MovePreparing, "Waiting for gateway tenant-search to be built; its pods are started once its limits' slots are there."))
	attaching := func(message string) *v1alpha1.Tenant {
		return resting(dedicated, moving(v1alpha1.MoveAttaching, message), attached(gateway.Shared, own))
	}
	switching := resting(dedicated, moving(v1alpha1.MoveSwitching, ""), attached(gateway.Shared, own))
	both := objects(deployment(gateway.Shared, 2), deployment(own, 2))
	const unseen = "Waiting to see on shared and tenant-search: address of search.ranker, limit search/ranker, route search.ranker."
	return rtesting.TableTest{{
		Name:              "a gateway of its own is asked for",
		Objects:           objects(resting(func(t *v1alpha1.Tenant) { t.Spec.Gateway.Mode = v1alpha1.GatewayDedicated }), addressed(gateway.Shared), deployment(gateway.Shared, 2)),
		WantEvents:        []string{normal("MovePreparing", "Preparing, from gateway shared to tenant-search")},
		WantStatusUpdates: status(resting(dedicated, moving(v1alpha1.MovePreparing, ""))),
	}, {
		Name:    "its image can't be had, and the tenant stays served",
		Objects: objects(preparing, addressed(gateway.Shared), deployment(gateway.Shared, 2), deployment(own, 0), pod(own, "own-1", "ImagePullBackOff")),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "GatewayNotStarting",
			"Gateway tenant-search has 0 of 1 pods ready: ImagePullBackOff. Until then the tenant is served by gateway shared.")},
		WantStatusUpdates: status(resting(dedicated, moving(v1alpha1.MovePreparing, "Gateway tenant-search has 0 of 1 pods ready: ImagePullBackOff."),
			func(t *v1alpha1.Tenant) {
				t.Status.MarkGatewayFailed("Gateway tenant-search has 0 of 1 pods ready: ImagePullBackOff.")
			})),
	}, {
		Name:              "its pods are there",
		Objects:           objects(preparing, addressed(gateway.Shared), both),
		WantEvents:        []string{normal("MoveAttaching", "Attaching, from gateway shared to tenant-search")},
		WantStatusUpdates: status(attaching("")),
	}, {
		Name: "what isn't seen yet is waited for",
		Objects: objects(attaching(""), addressed(gateway.Shared), both, []runtime.Object{
			route("shared"), ingress(gateway.Shared), rateLimit("ranker", "50", gateway.Shared)}),
		WantStatusUpdates: status(resting(dedicated, moving(v1alpha1.MoveAttaching, unseen), attached(gateway.Shared, own), limitsSum("50"))),
	}, {
		Name: "everything is seen",
		Objects: objects(attaching(""), addressed(gateway.Shared), both, []runtime.Object{
			route("shared,tenant-search"), ingress(own), rateLimit("ranker", "50", gateway.Shared, own)}),
		WantEvents:        []string{normal("MoveSwitching", "Switching, from gateway shared to tenant-search")},
		WantStatusUpdates: status(resting(dedicated, moving(v1alpha1.MoveSwitching, ""), attached(gateway.Shared, own), limitsSum("50"))),
	}, {
		Name:        "the address is switched",
		Objects:     objects(switching, addressed(gateway.Shared), both, endpoints(gateway.Shared)),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: addressed(own)[0]}, {Object: addressed(own)[1]}},
	}, {
		Name:        "the address was switched by half",
		Objects:     objects(switching, addressed(own)[0], addressed(gateway.Shared)[1], both),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: addressed(own)[1]}},
	}, {
		Name:    "the endpoints follow later",
		Objects: objects(switching, addressed(own), both, endpoints(gateway.Shared)),
		WantStatusUpdates: status(resting(dedicated, attached(gateway.Shared, own),
			moving(v1alpha1.MoveSwitching, "Waiting for the endpoints of the address to be pods of gateway tenant-search alone."))),
	}, {
		Name:    "the address has been switched",
		Objects: objects(switching, addressed(own), both, endpoints(own)),
		WantErr: false,
		WantEvents: []string{
			normal("AddressSwitched", "The address leads to gateway tenant-search"),
			normal("MoveDraining", "Draining, from gateway shared to tenant-search"),
		},
		WantStatusUpdates: status(resting(dedicated, draining(""))),
	}, {
		Name:    "it drains",
		Objects: objects(resting(dedicated, draining("")), addressed(own), both, endpoints(own), revision(nil)),
		WantErr: true, // looks again in time
		WantStatusUpdates: status(resting(dedicated, draining(
			"Until 2026-03-01T12:07:00Z, requests may come by connections that were made before the address led to gateway tenant-search alone."))),
	}, {
		Name: "it has drained",
		Objects: objects(resting(dedicated, draining("x"), func(t *v1alpha1.Tenant) { since := at(-drain); t.Status.GatewaySince = &since }),
			addressed(own), both, endpoints(own), revision(nil)),
		WantEvents: []string{normal("MoveFinished", "Gateway tenant-search alone serves the tenant")},
		WantStatusUpdates: status(resting(dedicated, attached(own), func(t *v1alpha1.Tenant) {
			since := at(-drain)
			t.Status.Gateway, t.Status.GatewaySince = own, &since
		})),
	}, {
		Name: "it has not drained for a revision of longer requests",
		Objects: objects(resting(dedicated, draining(""), func(t *v1alpha1.Tenant) { since := at(-drain); t.Status.GatewaySince = &since }),
			addressed(own), both, endpoints(own), revision(ptr(int64(301)))),
		WantErr: true,
		WantStatusUpdates: status(resting(dedicated, draining(
			"Until 2026-03-01T12:00:01Z, requests may come by connections that were made before the address led to gateway tenant-search alone."),
			func(t *v1alpha1.Tenant) { since := at(-drain); t.Status.GatewaySince = &since })),
	}, {
		Name:    "an autoscaler without figures",
		Objects: objects(resting(dedicated, settled, replicas(1, 3)), addressed(own), both, autoscaler("False", "FailedGetResourceMetric")),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "NoMetrics", "The gateway keeps its least number of pods, because the cluster has no figures "+
			"of their CPU: install a metrics API (metrics-server, for one), or set spec.gateway.replicas.max to min. m")},
		WantStatusUpdates: status(resting(dedicated, settled, replicas(1, 3), func(t *v1alpha1.Tenant) {
			t.Status.MarkNotScaling("NoMetrics", "The gateway keeps its least number of pods, because the cluster has no figures "+
				"of their CPU: install a metrics API (metrics-server, for one), or set spec.gateway.replicas.max to min. m")
		})),
	}}
}

func namespaceRows() rtesting.TableTest {
	other := tenant(func(t *v1alpha1.Tenant) {
		t.Name = "ads"
		t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: "search", Phase: v1alpha1.NamespaceHeld}}
	})
	const lost = `Namespace "search" is tenant "ads"'s. Take it from that tenant's spec.namespaces, or from this one's.`
	return rtesting.TableTest{{
		Name:       "another tenant has it",
		Objects:    objects(resting(func(t *v1alpha1.Tenant) { t.Status.Namespaces = nil }), other, addressed(gateway.Shared), deployment(gateway.Shared, 2)),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "HeldByAnother", "%s", lost)},
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) {
			t.Status.Namespaces = nil
			t.Status.MarkNamespacesLost(map[string]string{"search": "ads"})
		})),
	}, {
		Name:       "one comes to be selected",
		Objects:    objects(resting(selecting), namespace("dev", "team", "search"), addressed(gateway.Shared), deployment(gateway.Shared, 2)),
		WantEvents: []string{normal("NamespaceHeld", "Namespace dev is Held")},
		WantStatusUpdates: status(resting(selecting, func(t *v1alpha1.Tenant) {
			t.Status.Namespaces = append([]v1alpha1.TenantNamespace{{Name: "dev", Phase: v1alpha1.NamespaceHeld, Since: at(0)}}, t.Status.Namespaces...)
		})),
	}, {
		Name: "one is named that doesn't exist",
		Objects: objects(resting(func(t *v1alpha1.Tenant) { t.Spec.Namespaces.Names = append(t.Spec.Namespaces.Names, "later") }),
			addressed(gateway.Shared), deployment(gateway.Shared, 2)),
		WantStatusUpdates: status(resting(func(t *v1alpha1.Tenant) {
			t.Spec.Namespaces.Names = append(t.Spec.Namespaces.Names, "later")
			t.Status.MarkNamespacesHeld([]string{"later"})
		})),
	}, {
		Name: "what is served leaves a gateway of the tenant's own in time",
		Objects: objects(resting(dedicated, settled, func(t *v1alpha1.Tenant) { t.Spec.Namespaces.Names = []string{"else"} }),
			addressed(own), deployment(own, 2), []runtime.Object{route("shared,tenant-search"), ingress(gateway.Shared)}),
		WantEvents: []string{normal("NamespaceLeaving", "Namespace search is Leaving")},
		WantStatusUpdates: status(resting(dedicated, settled, holds(v1alpha1.NamespaceLeaving, 0), func(t *v1alpha1.Tenant) {
			t.Spec.Namespaces.Names = []string{"else"}
			t.Status.MarkNamespacesHeld([]string{"else"})
		})),
	}}
}

func domainRows() rtesting.TableTest {
	with := func(data map[string]string) *corev1.ConfigMap {
		cm := domains()
		for key, value := range data {
			cm.Data[key] = value
		}
		return cm
	}
	mine := map[string]string{"search.example.com": tenancy.DomainEntry("search")}
	older := tenant(func(t *v1alpha1.Tenant) {
		t.Name, t.CreationTimestamp, t.Spec.Domain = "ads", at(-time.Hour), "example.com"
	})
	const (
		notOwned = `"search.example.com" is, or holds, "%s", which ConfigMap knative-serving/config-domain gives to others than this tenant. ` +
			"Choose another, such as one below it, or remove it there."
		overlaps     = `"search.example.com" overlaps with "example.com", the domain of tenant "ads". Choose one beside it.`
		servesOthers = "Namespaces that are not this tenant's have hosts under \"search.example.com\" already, which it would take from them. " +
			"Choose another, or have the tenant hold those namespaces; `kubectl get kingress -A` lists hosts."
	)
	rest := objects(addressed(gateway.Shared), deployment(gateway.Shared, 2))
	// others are served at a host under the domain.
	others := ingress(gateway.Shared)
	others.Namespace, others.Spec.Rules = "others", []netv1alpha1.IngressRule{{Hosts: []string{"ranker.search.example.com"}}}
	refuses := func(name string, of []runtime.Object, reason, message string) rtesting.TableRow {
		return rtesting.TableRow{
			Name:              name,
			Objects:           of,
			WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, reason, "%s", message)},
			WantStatusUpdates: status(resting(takenUp, refused(reason, message))),
		}
	}
	unknown := refuses("though the cache doesn't know them yet", objects(resting(awaiting), rest, others), "ServesOthers", servesOthers)
	unknown.OtherTestData = map[string]any{uncached: others}
	withdrawn := refuses("one in force goes when Knative has it for all", objects(resting(domain, takenUp), rest, with(mine), with(map[string]string{
		"k.search.example.com": "", "search.example.com": tenancy.DomainEntry("search"),
	})), "NotOwned", fmt.Sprintf(notOwned, "k.search.example.com"))
	withdrawn.WantUpdates = []clientgotesting.UpdateActionImpl{{Object: with(map[string]string{"k.search.example.com": ""})}}
	return rtesting.TableTest{{
		Name:              "a domain",
		Objects:           objects(resting(awaiting), rest),
		WantUpdates:       []clientgotesting.UpdateActionImpl{{Object: with(mine)}},
		WantStatusUpdates: status(resting(takenUp, domain)),
	}, {
		Name:    "a domain that is there, whatever else is",
		Objects: objects(resting(domain), rest, with(map[string]string{"search.example.com": `{"selector": {"sluice.dev/tenant": "search"}}`, "x.com": "{"})),
	}, {
		Name:        "another domain than before",
		Objects:     objects(resting(domain), rest, with(map[string]string{"old.com": tenancy.DomainEntry("search")})),
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: with(mine)}},
	}, {
		Name:              "of a status from before it said which domain is in force",
		Objects:           objects(resting(domain, func(t *v1alpha1.Tenant) { t.Status.Domain = "" }), rest, with(mine), others),
		WantStatusUpdates: status(resting(domain)),
	}, {
		Name:    "who names a host of it later changes nothing",
		Objects: objects(resting(domain), rest, with(mine), others),
	},
		refuses("Knative has the domain for all", objects(resting(awaiting), rest, with(map[string]string{"search.example.com": ""})),
			"NotOwned", fmt.Sprintf(notOwned, "search.example.com")),
		withdrawn,
		refuses("a domain in another tenant's", objects(resting(awaiting), older, rest), "HeldByAnother", overlaps),
		refuses("a domain that others are served at", objects(resting(awaiting), rest, others), "ServesOthers", servesOthers),
		unknown,
	}
}

func certificateRows() rtesting.TableTest {
	secret, expired := certificate(start.Add(time.Hour)), certificate(start.Add(-time.Minute))
	granted := domains()
	granted.Data["search.example.com"] = tenancy.DomainEntry("search")
	rest := objects(addressed(gateway.Shared), deployment(gateway.Shared, 2), granted)
	copied, server := secretCopy(secret), resources.SecureGateways(resting(domain), []string{gateway.Shared})[0]
	failed := func(reason, message string) *v1alpha1.Tenant {
		return resting(domain, tls, func(t *v1alpha1.Tenant) { t.Status.MarkCertificateFailed(reason, "%s", message) })
	}
	odd := certificateBy(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), start.Add(time.Hour))
	broken := secret.DeepCopy()
	broken.Data[corev1.TLSPrivateKeyKey] = []byte("none")
	const (
		missing = "There is no Secret search/tls of type kubernetes.io/tls: create it. What was served before goes on."
		invalid = "Secret search/tls: reading tls.key: tls: failed to find any PEM data in key input. " +
			"Put another certificate there; what was served before goes on."
		strange = "Secret search/tls: reading tls.crt: the certificate's key is Ed25519, and must be RSA of 2048 to 8192 bits, " +
			"or ECDSA on P-256, P-384 or P-521. Put another certificate there; what was served before goes on."
		tooLate = "Secret search/tls: the certificate has expired: it was good until 2026-03-01T11:59:00Z. " +
			"Put another certificate there; what was served before goes on."
		notOurs = "Secret ads/tls is not the tenant's: spec.tls.secretNamespace must be sluice-system or a namespace that it holds."
	)
	foreign := func(t *v1alpha1.Tenant) { t.Spec.TLS.SecretNamespace = "ads" }
	return rtesting.TableTest{{
		Name:        "a certificate",
		Objects:     objects(resting(domain, tls), rest, secret),
		WantErr:     true, // looks again when it expires
		WantCreates: []runtime.Object{copied, server},
	}, {
		Name:        "a certificate that is new",
		Objects:     objects(resting(domain, tls), rest, secret, secretCopy(expired), server),
		WantErr:     true,
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: copied}},
	}, {
		Name:              "no Secret",
		Objects:           objects(resting(domain, tls), rest),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, "SecretNotFound", "%s", missing)},
		WantStatusUpdates: status(failed("SecretNotFound", missing)),
	}, {
		Name:              "no Secret any more, the last copy is served",
		Objects:           objects(resting(domain, tls), rest, copied, server),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, "SecretNotFound", "%s", missing)},
		WantStatusUpdates: status(failed("SecretNotFound", missing)),
	}, {
		Name:              "a broken certificate, the last copy is served",
		Objects:           objects(resting(domain, tls), rest, broken, copied, server),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, "CertificateInvalid", "%s", invalid)},
		WantStatusUpdates: status(failed("CertificateInvalid", invalid)),
	}, {
		Name:              "a certificate of a kind that isn't served, neither",
		Objects:           objects(resting(domain, tls), rest, odd, copied, server),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, "CertificateInvalid", "%s", strange)},
		WantStatusUpdates: status(failed("CertificateInvalid", strange)),
	}, {
		Name:              "a certificate that has expired",
		Objects:           objects(resting(domain, tls), rest, expired),
		WantEvents:        []string{rtesting.Eventf(corev1.EventTypeWarning, "CertificateExpired", "%s", tooLate)},
		WantStatusUpdates: status(failed("CertificateExpired", tooLate)),
	}, {
		Name:       "another's Secret",
		Objects:    objects(resting(domain, tls, foreign), rest, secret),
		WantEvents: []string{rtesting.Eventf(corev1.EventTypeWarning, "SecretNotAllowed", "%s", notOurs)},
		WantStatusUpdates: status(resting(domain, tls, foreign, func(t *v1alpha1.Tenant) {
			t.Status.MarkCertificateFailed("SecretNotAllowed", "%s", notOurs)
		})),
	}, {
		Name:    "a certificate no longer asked for, and still bound",
		Objects: objects(resting(domain), rest, secret, copied, server, boundTo(server)),
		WantErr: true, // looks again
	}, {
		Name:        "a certificate no longer asked for, nor bound",
		Objects:     objects(resting(domain), rest, secret, copied, server),
		WantDeletes: []clientgotesting.DeleteActionImpl{remove("gateways", server.Name), remove("secrets", own)},
	}, {
		Name: "HTTPS is served on the gateway to come before routes are",
		Objects: objects(resting(domain, tls, dedicated, moving(v1alpha1.MovePreparing, "Waiting for gateway tenant-search to be built; its pods are started once its limits' slots are there.")),
			rest, secret, copied, server),
		WantErr:     true,
		WantCreates: []runtime.Object{resources.SecureGateways(resting(domain), []string{own})[0]},
	}}
}

// endRows delete a tenant.
func endRows() rtesting.TableTest {
	leaving := resting(deleted, holds(v1alpha1.NamespaceLeaving, -time.Minute))
	granted := domains()
	granted.Data["search.example.com"] = tenancy.DomainEntry("search")
	ended := resting(deleted, func(t *v1alpha1.Tenant) { t.Status.Namespaces = nil })
	return rtesting.TableTest{{
		Name:              "a tenant that serves lets its namespaces go first",
		Objects:           objects(resting(deleted), addressed(gateway.Shared), deployment(gateway.Shared, 2), []runtime.Object{route("shared"), ingress(own)}),
		WantErr:           true, // keeps the finalizer
		WantEvents:        []string{normal("NamespaceLeaving", "Namespace search is Leaving")},
		WantStatusUpdates: status(resting(deleted, holds(v1alpha1.NamespaceLeaving, 0))),
	}, {
		Name: "its certificate is served to the end, whoever has the Secret's namespace",
		Objects: objects(resting(domain, tls, deleted, holds(v1alpha1.NamespaceLeaving, -time.Minute), func(t *v1alpha1.Tenant) { t.Spec.TLS.SecretNamespace = "ads" }),
			addressed(gateway.Shared), deployment(gateway.Shared, 2), granted, secretCopy(certificate(start)),
			[]runtime.Object{resources.SecureGateways(resting(domain), []string{gateway.Shared})[0], route("shared"), ingress(own)}),
		WantErr: true,
	}, {
		Name:    "the other address is not published yet",
		Objects: objects(leaving, addressed(gateway.Shared), deployment(gateway.Shared, 2), []runtime.Object{route("shared"), ingress(own)}),
		WantErr: true,
	}, {
		Name: "the other address is published",
		Objects: objects(leaving, addressed(gateway.Shared), deployment(gateway.Shared, 2),
			[]runtime.Object{route("shared"), ingress(gateway.Shared), revision(nil)}),
		WantErr: true,
		WantStatusUpdates: status(resting(deleted, holds(v1alpha1.NamespaceLeaving, -time.Minute), func(t *v1alpha1.Tenant) {
			served := at(0)
			t.Status.Namespaces[0].Served = &served
		})),
	}, {
		Name:    "a gateway of its own is left first",
		Objects: objects(resting(deleted, dedicated, settled), addressed(own), deployment(own, 2), deployment(gateway.Shared, 2)),
		WantErr: true,
		WantEvents: []string{
			normal("MovePreparing", "Preparing, from gateway tenant-search to shared"),
			normal("NamespaceReleased", "Namespace search is no longer the tenant's"),
		},
		WantStatusUpdates: status(resting(deleted, dedicated, settled, func(t *v1alpha1.Tenant) {
			t.Status.Namespaces = nil
			t.Status.Move = &v1alpha1.TenantMove{From: own, To: gateway.Shared, Phase: v1alpha1.MovePreparing, Since: at(0)}
			t.Status.MarkGatewayPending("Preparing", "")
			t.Status.MarkScaling("NotNeeded", "The shared gateway's pods are ConfigMap config-gateway's.")
		})),
	}, {
		Name: "at last, all that is its own goes",
		Objects: objects(ended, addressed(gateway.Shared), deployment(gateway.Shared, 2), granted,
			secretCopy(certificate(start))),
		WantDeletes: []clientgotesting.DeleteActionImpl{remove("services", own), remove("services", own+"-local"), remove("secrets", own)},
		WantUpdates: []clientgotesting.UpdateActionImpl{{Object: domains()}},
		WantPatches: []clientgotesting.PatchActionImpl{patch(`{"metadata":{"finalizers":[],"resourceVersion":""}}`)},
		WantEvents:  []string{rtesting.Eventf(corev1.EventTypeNormal, "FinalizerUpdate", "Updated %q finalizers", key)},
	}}
}

type sender struct {
	err  error
	sent []cloudevents.Event
}

func (s *sender) Send(_ context.Context, e cloudevents.Event) error {
	if s.err == nil {
		s.sent = append(s.sent, e)
	}
	return s.err
}

// scheme has the kinds of every fake. Making one takes as long as a row.
var scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		kubefake.AddToScheme, istiov1.AddToScheme, sluicefake.AddToScheme, servingfake.AddToScheme, networkingfake.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
})

// factory builds the reconciler over fakes that hold the row's objects.
func factory(t *testing.T, row *rtesting.TableRow) (controller.Reconciler, rtesting.ActionRecorderList, rtesting.EventList) {
	t.Helper()
	o := rtesting.NewObjectSorter(scheme())
	o.AddObjects(row.Objects...)
	c := clients{
		kube:   kubefake.NewSimpleClientset(o.ObjectsForSchemeFunc(kubefake.AddToScheme)...),
		istio:  istiofake.NewSimpleClientset(o.ObjectsForSchemeFunc(istiov1.AddToScheme)...),
		sluice: sluicefake.NewSimpleClientset(o.ObjectsForSchemeFunc(sluicefake.AddToScheme)...),

		networking: networkingfake.NewSimpleClientset(o.ObjectsForSchemeFunc(networkingfake.AddToScheme)...),
	}
	if object, ok := row.OtherTestData[uncached].(runtime.Object); ok {
		if err := o.IndexerForObjectType(object).Delete(object); err != nil {
			t.Fatal(err)
		}
	}
	for _, reactor := range row.WithReactors {
		c.sluice.PrependReactor("*", "*", reactor)
	}
	recorder := record.NewFakeRecorder(20)
	ctx := controller.WithEventRecorder(logging.WithLogger(context.Background(), logtesting.TestLogger(t)), recorder)
	row.Ctx = ctx
	r := c.reconciler(t, o.IndexerForObjectType, &sender{err: errors.New("the broker is down")}, start)
	return lead(ctx, t, c, recorder, r), rtesting.ActionRecorderList{c.kube, c.istio, c.sluice}, rtesting.EventList{Recorder: recorder}
}

type clients struct {
	kube   *kubefake.Clientset
	istio  *istiofake.Clientset
	sluice *sluicefake.Clientset
	// networking is only read.
	networking *networkingfake.Clientset
}

// reconciler reads from indexers of each kind, and writes to the fakes.
func (c clients) reconciler(t *testing.T, of func(runtime.Object) cache.Indexer, events Sender, now time.Time) *Reconciler {
	t.Helper()
	routes := of(&istiov1.VirtualService{})
	if err := routes.AddIndexers(cache.Indexers{servedIndex: indexServed, boundIndex: indexBound}); err != nil {
		t.Fatal(err)
	}
	return &Reconciler{
		sluice: c.sluice, kube: c.kube, istio: c.istio, networking: c.networking, sender: events, clock: clocktesting.NewFakePassiveClock(now),
		servingNamespace: "knative-serving",
		tenants:          sluicelisters.NewTenantLister(of(&v1alpha1.Tenant{})),
		models:           sluicelisters.NewModelLister(of(&v1alpha1.Model{})),
		rateLimits:       sluicelisters.NewRateLimitLister(of(&v1alpha1.RateLimit{})),
		namespaces:       corev1listers.NewNamespaceLister(of(&corev1.Namespace{})),
		revisions:        servinglisters.NewRevisionLister(of(&servingv1.Revision{})),
		ingresses:        networkinglisters.NewIngressLister(of(&netv1alpha1.Ingress{})),
		domains:          corev1listers.NewConfigMapLister(of(&corev1.ConfigMap{})),
		certificates:     corev1listers.NewSecretLister(of(&corev1.Secret{})),
		virtualServices:  routes,
		istioGateways:    istiov1listers.NewGatewayLister(of(&istiov1.Gateway{})),
		services:         corev1listers.NewServiceLister(of(&corev1.Service{})),
		endpointSlices:   discoveryv1listers.NewEndpointSliceLister(of(&discoveryv1.EndpointSlice{})),
		pods:             corev1listers.NewPodLister(of(&corev1.Pod{})),
		deployments:      appsv1listers.NewDeploymentLister(of(&appsv1.Deployment{})),
		autoscalers:      autoscalingv2listers.NewHorizontalPodAutoscalerLister(of(&autoscalingv2.HorizontalPodAutoscaler{})),
	}
}

func lead(ctx context.Context, t *testing.T, c clients, recorder record.EventRecorder, r *Reconciler) controller.Reconciler {
	t.Helper()
	reconciler := tenantreconciler.NewReconciler(ctx, logging.FromContext(ctx), c.sluice, r.tenants, recorder, r,
		controller.Options{SkipStatusUpdates: true, FinalizerName: finalizer})
	if leader, ok := reconciler.(pkgreconciler.LeaderAware); ok {
		if err := leader.Promote(pkgreconciler.UniversalBucket(), func(pkgreconciler.Bucket, types.NamespacedName) {}); err != nil {
			t.Fatal(err)
		}
	}
	return reconciler
}

func conflicting(action clientgotesting.Action) (bool, runtime.Object, error) {
	return action.Matches("update", "tenants/status"), nil, apierrs.NewConflict(v1alpha1.Resource("tenants"), key, errors.New("stale"))
}

// objects flattens what a row holds, beside the namespace and Knative's ConfigMap
// that every row has. Of two of one name the later one counts.
func objects(of ...any) []runtime.Object {
	byKey := map[string]int{}
	out := []runtime.Object{}
	var add func(any)
	add = func(item any) {
		switch item := item.(type) {
		case []runtime.Object:
			for _, object := range item {
				add(object)
			}
		case []*corev1.Service:
			for _, service := range item {
				add(service)
			}
		case runtime.Object:
			meta := item.(metav1.Object)
			id := fmt.Sprintf("%T %s/%s", item, meta.GetNamespace(), meta.GetName())
			if i, ok := byKey[id]; ok {
				out[i] = item
				return
			}
			byKey[id] = len(out)
			out = append(out, item)
		}
	}
	add(namespace("search"))
	add(domains())
	for _, item := range of {
		add(item)
	}
	return out
}

func status(t *v1alpha1.Tenant) []clientgotesting.UpdateActionImpl {
	return []clientgotesting.UpdateActionImpl{{Object: t}}
}

func patch(text string) clientgotesting.PatchActionImpl {
	return clientgotesting.PatchActionImpl{Name: key, Patch: []byte(text)}
}

func remove(resource, name string) clientgotesting.DeleteActionImpl {
	d := clientgotesting.DeleteActionImpl{Name: name}
	d.Resource.Resource = resource
	return d
}

func normal(reason, message string) string {
	return rtesting.Eventf(corev1.EventTypeNormal, reason, "%s", message)
}

func tenant(changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{
		ObjectMeta: metav1.ObjectMeta{Name: key, Generation: 1, CreationTimestamp: at(0), Finalizers: []string{finalizer}},
		Spec:       v1alpha1.TenantSpec{Namespaces: v1alpha1.TenantNamespaces{Names: []string{"search"}}},
	}
	t.SetDefaults(context.Background())
	for _, change := range changes {
		change(t)
	}
	return t
}

// resting is a shared tenant that nothing is left to do for.
func resting(changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	return tenant(append([]func(*v1alpha1.Tenant){observed, holds(v1alpha1.NamespaceHeld, -time.Hour), func(t *v1alpha1.Tenant) {
		since := at(-time.Hour)
		t.Status.Gateway, t.Status.GatewaySince, t.Status.Attached, t.Status.GatewayPods = gateway.Shared, &since, []string{gateway.Shared}, 2
		t.Status.MarkAddress(own, "192.0.2.1", "tenant-search-local.sluice-gateways.svc.cluster.local")
		t.Status.MarkGatewayReady()
		t.Status.MarkNamespacesHeld(nil)
	}}, changes...)...)
}

func observed(t *v1alpha1.Tenant) {
	t.Status.InitializeConditions()
	t.Status.ObservedGeneration = 1
	t.Status.MarkDomainReady(t.Spec.Domain)
	t.Status.MarkCertificateReady(nil)
	t.Status.MarkScaling("NotNeeded", "The shared gateway's pods are ConfigMap config-gateway's.")
	t.Status.MarkCaps(nil, nil)
}

// begun is what a first reconciliation makes of a status.
func begun(t *v1alpha1.Tenant) {
	since := at(0)
	t.Status.Gateway, t.Status.GatewaySince, t.Status.Attached = gateway.Shared, &since, []string{gateway.Shared}
}

func holds(phase v1alpha1.NamespacePhase, after time.Duration) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: "search", Phase: phase, Since: at(after)}}
	}
}

func dedicated(t *v1alpha1.Tenant) {
	t.Spec.Gateway.Mode = v1alpha1.GatewayDedicated
	t.Status.MarkScaling("NotNeeded", "The gateway always has the same number of pods.")
}

func moving(phase v1alpha1.MovePhase, message string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Status.Move = &v1alpha1.TenantMove{From: gateway.Shared, To: own, Phase: phase, Message: message, Since: at(0)}
		t.Status.MarkGatewayPending(string(phase), message)
	}
}

func attached(gateways ...string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.Status.Attached = gateways }
}

// draining is a status whose address was switched just now.
func draining(message string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		moving(v1alpha1.MoveDraining, message)(t)
		since := at(0)
		t.Status.Gateway, t.Status.GatewaySince, t.Status.Attached = own, &since, []string{gateway.Shared, own}
		t.Status.MarkGatewayReady()
	}
}

// settled is a status that has come to a gateway of the tenant's own.
func settled(t *v1alpha1.Tenant) { t.Status.Gateway, t.Status.Attached = own, []string{own} }

func deleted(t *v1alpha1.Tenant) { now := at(0); t.DeletionTimestamp = &now }

func asking(t *v1alpha1.Tenant) { t.Spec.Domain = "search.example.com" }

// domain is in force.
func domain(t *v1alpha1.Tenant) {
	asking(t)
	t.Status.MarkDomainReady(t.Spec.Domain)
}

// awaiting is a domain that was asked for and is not decided.
func awaiting(t *v1alpha1.Tenant) {
	asking(t)
	t.Generation = 2
}

// refused is a domain that is another's, for a reason.
func refused(reason, message string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		asking(t)
		t.Status.MarkDomainRefused(reason, message)
	}
}

// takenUp is a status that speaks of the change that awaiting made.
func takenUp(t *v1alpha1.Tenant) { t.Generation, t.Status.ObservedGeneration = 2, 2 }

func tls(t *v1alpha1.Tenant) {
	t.Spec.TLS = &v1alpha1.TenantTLS{SecretName: "tls", SecretNamespace: "search", HTTPProtocol: v1alpha1.HTTPRedirected}
}

func selecting(t *v1alpha1.Tenant) {
	t.Spec.Namespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "search"}}
}

func modelsCap(n int32) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.Spec.Limits.Models = &n }
}

func replicas(least, most int32) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.Spec.Gateway.Replicas = v1alpha1.GatewayReplicas{Min: &least, Max: &most} }
}

func limitsSum(text string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Status.RequestsPerSecond = &v1alpha1.Rate{Quantity: resource.MustParse(text)}
	}
}

func ptr[T any](v T) *T { return &v }

func services(selects string) []*corev1.Service { return resources.Services(tenant(), selects) }

// addressed are Services as the cluster completes them.
func addressed(selects string, changes ...func(*corev1.Service)) []*corev1.Service {
	both := services(selects)
	both[0].Spec.Ports[0].NodePort, both[0].Spec.Ports[1].NodePort = 30080, 30443
	both[0].Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	for _, service := range both {
		service.Spec.ClusterIP = "10.96.0.1"
		for _, change := range changes {
			change(service)
		}
	}
	return both
}

func changed(s *corev1.Service) {
	s.Spec.Selector = map[string]string{"app": "else"}
	s.Spec.Ports[0].Port = 81
}

func namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

func domains() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "knative-serving", Name: "config-domain"},
		Data:       map[string]string{"example.org": ""},
	}
}

func deployment(name string, ready int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: map[string]string{gateway.LabelKey: name}},
		Status:     appsv1.DeploymentStatus{ReadyReplicas: ready},
	}
}

func pod(of, name, waits string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: map[string]string{gateway.LabelKey: of}}}
	if waits != "" {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waits}}}}
	}
	return p
}

// endpoints are those of both Services, and the pod that they name.
func endpoints(of string) []runtime.Object {
	out := []runtime.Object{pod(of, of+"-1", "")}
	for _, service := range services(of) {
		out = append(out, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: service.Name + "-1", Labels: map[string]string{
				discoveryv1.LabelServiceName: service.Name, sluice.TenantLabelKey: key}},
			Endpoints: []discoveryv1.Endpoint{{TargetRef: &corev1.ObjectReference{Name: of + "-1"}}},
		})
	}
	return out
}

func route(provedOn string) *istiov1.VirtualService {
	vs := &istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "search.ranker"}}
	routing.Record(vs, strings.Split(provedOn, ","), start)
	return vs
}

func boundTo(server *istiov1.Gateway) *istiov1.VirtualService {
	return &istiov1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: "search.ranker"},
		Spec:       istioapi.VirtualService{Gateways: []string{gateway.Namespace + "/" + server.Name}},
	}
}

func refusedIngress(reason, name string) *netv1alpha1.Ingress {
	ing := ingress(gateway.Shared)
	ing.Name = name
	ing.Status.Conditions = duckv1.Conditions{
		{Type: apis.ConditionReady, Status: corev1.ConditionFalse, Reason: reason},
		{Type: netv1alpha1.IngressConditionNetworkConfigured, Status: corev1.ConditionFalse, Reason: reason},
	}
	return ing
}

func ingress(address string) *netv1alpha1.Ingress {
	ing := &netv1alpha1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "ranker", Annotations: map[string]string{
			"networking.knative.dev/ingress.class": sluice.IngressClassName}},
	}
	ing.Status.MarkNetworkConfigured()
	routing.Publish(ing, address)
	return ing
}

func model(name string) *v1alpha1.Model {
	return &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: name}}
}

func rateLimit(name, limit string, gateways ...string) *v1alpha1.RateLimit {
	l := &v1alpha1.RateLimit{
		ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: name},
		Spec:       v1alpha1.RateLimitSpec{Gateways: gateways, VirtualService: "search." + name},
	}
	l.Status.Limit = &v1alpha1.LimitStatus{RequestsPerSecond: v1alpha1.Rate{Quantity: resource.MustParse(limit)}}
	l.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: corev1.ConditionTrue}}
	return l
}

func revision(timeout *int64) *servingv1.Revision {
	r := &servingv1.Revision{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "ranker-00001"}}
	r.Spec.TimeoutSeconds = timeout
	return r
}

func autoscaler(active corev1.ConditionStatus, reason string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: own},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
			{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue},
			{Type: autoscalingv2.ScalingActive, Status: active, Reason: reason, Message: "m"}}},
	}
}
