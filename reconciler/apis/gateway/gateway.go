// Package gateway holds the names that the parts of a tenant gateway share: its
// namespace and labels, its entries and ports, and the fixed slots that carry
// rate limits. The gateway's builder, the ingress and the limiter agree through
// it and through nothing else.
package gateway

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	istio "istio.io/client-go/pkg/apis/networking/v1alpha3"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/pkg/network"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

const (
	// Namespace is where every gateway runs and every VirtualService is written.
	// Gateway hosts are "./…": what is written elsewhere attaches nowhere.
	Namespace = "sluice-gateways"
	// Shared is the gateway that serves every namespace of no Dedicated tenant.
	Shared = "shared"
	// tenantPrefix begins the names of tenants' gateways and Services.
	tenantPrefix = "tenant-"
	// credentialPrefix begins the names by which Istio Gateways name Secrets.
	credentialPrefix = "kubernetes-gateway://" + Namespace + "/"
	// LabelKey is on a gateway's pods, Services and EnvoyFilters: its name. Both
	// Istio selectors and our own listings go by it.
	LabelKey = sluice.GroupName + "/gateway"

	// SlotsLabelKey is on a gateway's pods, and on the EnvoyFilters that reach them by
	// it: how many slots each entry of theirs has.
	SlotsLabelKey = sluice.GroupName + "/slots"
	// SlotLabelKey is on every slot's EnvoyFilter: its number.
	SlotLabelKey = sluice.GroupName + "/slot"
)

// Entry is one way into a gateway. Envoy gives each entry's HTTP connection
// manager token buckets of its own, so a limit is divided among them.
type Entry struct {
	// Name is part of extension and object names.
	Name string
	// Port is the port the entry's listener binds in the pod.
	Port uint32
}

var (
	// External is the plain-HTTP entry for callers outside the cluster.
	External = Entry{Name: "http", Port: 8080}
	// Secure is the HTTPS entry for callers outside the cluster. Each certificate
	// has a filter chain of its own there, so a connection manager and token
	// buckets too; a host is served by one of them. It listens from the first
	// certificate on.
	Secure = Entry{Name: "https", Port: 8443}
	// Local is the entry for callers inside the cluster.
	Local = Entry{Name: "local", Port: 8081}
)

// Entries lists every entry of a gateway, in a fixed order.
func Entries() []Entry { return []Entry{External, Secure, Local} }

// OfTenant is the name of a Dedicated tenant's gateway, and of the Service that
// is every tenant's address, wherever it leads.
func OfTenant(tenant string) string { return tenantPrefix + tenant }

// LocalName is the name of the cluster-local Istio Gateway of a gateway, and of
// the cluster-local Service beside an address.
func LocalName(name string) string { return name + "-local" }

// SecureName is the name of the Istio Gateway by which a gateway serves HTTPS for
// its owner: an address of OfTenant, or a VirtualService of VirtualServiceName.
// Neither an address nor a gateway holds a dot, so no two owners share one.
func SecureName(owner, gateway string) string { return owner + "." + gateway }

// OwnerOf returns the owner of an object that is named as by SecureName: with a dot, and
// none behind it. False if a name has none.
func OwnerOf(name string) (owner string, ok bool) {
	dot := strings.LastIndex(name, ".")
	if dot < 0 {
		return "", false
	}
	return name[:dot], true
}

// CredentialName is how an Istio Gateway in Namespace names a Secret there. Told
// the plain name, istiod asks that a gateway's pods may list the namespace's
// Secrets, and serves them any, other tenants' too. In this form it asks for no
// right and serves a pod only those that Gateways selecting it name.
func CredentialName(secret string) string { return credentialPrefix + secret }

// SecretOf is the Secret that a name of CredentialName's form stands for, "" if it
// stands for none.
func SecretOf(credentialName string) string {
	secret, ok := strings.CutPrefix(credentialName, credentialPrefix)
	if !ok {
		return ""
	}
	return secret
}

// An entry has DefaultSlots slots where config-gateway doesn't say otherwise, and at
// most MaxSlots. A Model's descriptor lives in one of them; changing it refills only
// that slot's buckets. Each slot is a filter that every request passes: more of them
// isolate better and cost more.
const (
	DefaultSlots = 4
	MaxSlots     = 16
)

// PodSelector picks those pods of a gateway whose entries have that many slots. The
// number never changes in a pod's life: another one comes with other pods.
func PodSelector(gateway string, slots int) map[string]string {
	return map[string]string{LabelKey: gateway, SlotsLabelKey: strconv.Itoa(slots)}
}

// SlotsOf is the number of slots that an object's labels tell, 0 if they tell none
// that there can be.
func SlotsOf(labels map[string]string) int {
	n, err := strconv.Atoi(labels[SlotsLabelKey])
	if err != nil || n < 1 || n > MaxSlots {
		return 0
	}
	return n
}

// ExtensionName is the name of a slot's filter, unique within a pod:
// "sluice.limit.<entry>.<slot>".
func ExtensionName(entry Entry, slot int) string {
	return fmt.Sprintf("sluice.limit.%s.%d", entry.Name, slot)
}

// SlotResource is the kind of object that supplies a slot.
var SlotResource = istio.SchemeGroupVersion.WithResource("envoyfilters")

// SlotObjectName is the name of the one EnvoyFilter that supplies a slot, at every
// entry, to those pods of a gateway that have that many. Two objects of one extension
// name would make Envoy refuse them all, so nobody but the limiter writes it, and
// under this name alone.
func SlotObjectName(gateway string, slots, slot int) string {
	return fmt.Sprintf("%s-limit-%d-%d", gateway, slots, slot)
}

// ProbeVirtualService is the name, in Namespace, of the virtual service that
// answers at ProbeHost and nowhere else.
func ProbeVirtualService(gateway string) string { return gateway + "-limits" }

// ProbeHost is the host of the probe-only virtual service of a gateway. A request
// to it never reaches a Model; see functions/limit for what it proves.
func ProbeHost(gateway string) string { return "limits." + gateway + ".gateway.sluice.internal" }

// SlotHeader selects, on the probe host only, the slot that a proof asks about.
const SlotHeader = "x-sluice-slot"

// GenerationHeader is the response header by which a slot tells which content it
// enforces.
const GenerationHeader = "x-sluice-generation"

// MarkHeader is the request header, the mark, by which a batch says that it is one: its
// name. At the entry for callers inside the cluster, requests with it are limited by what
// the others leave, where a limit has a bucket for them.
const MarkHeader = "sluice-batch"

const (
	// ProbeTokenSecret is the Secret that, in Sluice's own namespace, holds under ProbeTokenKey the
	// random token of this installation. A request whose path begins with it is
	// our own prober's: answered by the gateway itself and not limited.
	ProbeTokenSecret = "sluice-probe-token"
	// ProbeTokenKey is the key within ProbeTokenSecret.
	ProbeTokenKey = "token"
)

// ProbePath is where the paths of our own prober begin, with that token.
func ProbePath(token string) string { return "/.well-known/sluice/" + token }

// ProbePrefix begins the paths that no limit is for, below a ProbePath. The gateway itself
// answers all of them, at every host: so whoever comes to know the token gets nothing of a
// Model by it.
func ProbePrefix(probePath string) string { return probePath + "/" }

// KeptPath is a path that nobody asks for, where backends can be named beside the routes
// of requests. A limit is for it as for any other.
func KeptPath(probePath string) string { return probePath + "-backends" }

const (
	// StatsPort is where every gateway pod shows its counters.
	StatsPort = 15090
	// OfferedMetric counts the requests that arrived, by RouteTag and EntryTag.
	OfferedMetric = "istio_sluice_offered"
	// MarkedMetric counts those of them that carry the mark, by the same tags.
	MarkedMetric = "istio_sluice_marked"
	// RefusedMetric counts those that a limit refused, by the same tags, too.
	RefusedMetric = "istio_sluice_refused"
	// CompletedMetric counts the requests that were let through and have ended, as they end, by
	// the same tags: no streams, and nothing that the gateway answers by its routes alone, as
	// redirects.
	CompletedMetric = "istio_sluice_completed"
	// ErrorsMetric counts those of them that were answered with a status of 500 or above.
	ErrorsMetric = "istio_sluice_errors"
	// DurationMetric is a histogram, in milliseconds, of how long those took that
	// CompletedMetric counts. Envoy shows of it what came by its last flush.
	DurationMetric = "istio_sluice_duration_milliseconds"
	// EndedMetric counts every request of clients as it ends, by the same tags and by ClusterTag
	// and OutcomeTag.
	EndedMetric = "istio_sluice_ended"
	// ClusterTag is where the request's route led, one of RevisionClusters for a revision's; ""
	// where no route was for it.
	ClusterTag = "cluster"
	// OutcomeTag is the request's Outcome.
	OutcomeTag = "outcome"
	// RouteTag is the route's VirtualServiceMetadata.
	RouteTag = "route"
	// EntryTag is the name of the Entry.
	EntryTag = "entry"
)

// Scoped is a metric as Envoy names it, which joins scope and name by a dot; it becomes an
// underscore again where the metric is shown.
func Scoped(metric string) (scope, name string) {
	scope, name, _ = strings.Cut(metric, "_")
	return scope, name
}

// VirtualServiceMetadata is what Envoy's route metadata says (key "istio",
// path "config") on every route of the VirtualService of that name in Namespace.
func VirtualServiceMetadata(name string) string {
	return "/apis/networking.istio.io/v1/namespaces/" + Namespace + "/virtual-service/" + name
}

// RevisionClusters are the names that Envoy can have for where a route to a revision
// leads: one by the revision's protocol, several while that isn't known.
func RevisionClusters(namespace, revision string, protocol networking.ProtocolType) []string {
	protocols := []networking.ProtocolType{networking.ProtocolHTTP1, networking.ProtocolH2C}
	if slices.Contains(protocols, protocol) {
		protocols = []networking.ProtocolType{protocol}
	}
	clusters := make([]string, 0, len(protocols))
	for _, p := range protocols {
		clusters = append(clusters, fmt.Sprintf("outbound|%d||%s", networking.ServicePort(p), network.GetServiceHostname(revision, namespace)))
	}
	return clusters
}

// VirtualServiceName is the name of the VirtualService that serves an Ingress.
// Namespaces hold no dot, so no two Ingresses share one.
func VirtualServiceName(ingressNamespace, ingressName string) string {
	return ingressNamespace + "." + ingressName
}

// IngressOf returns the Ingress that the VirtualService of a name serves; false if it
// serves none.
func IngressOf(virtualService string) (namespace, name string, ok bool) {
	return strings.Cut(virtualService, ".")
}

// Outcome is what became of a request.
type Outcome string

// A request has one of these.
const (
	// OutcomeOK is an answer below 400.
	OutcomeOK Outcome = "ok"
	// OutcomeClientError is one of 400 to 499 that no limit gave.
	OutcomeClientError Outcome = "client_error"
	// OutcomeServerError is one of 500 or above.
	OutcomeServerError Outcome = "server_error"
	// OutcomeRefused is a limit's.
	OutcomeRefused Outcome = "refused"
	// OutcomeLeft is none: the caller left before it began.
	OutcomeLeft Outcome = "left"
)
