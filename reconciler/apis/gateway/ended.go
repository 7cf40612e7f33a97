package gateway

import "strings"

const (
	// EndedMetric counts the requests of clients as they end, by EntryTag, RouteTag, ClusterTag and
	// OutcomeTag.
	EndedMetric = "istio_sluice_ended"
	// ClusterTag is Envoy's name of where a request was led.
	ClusterTag = "cluster"
	// OutcomeTag is how a request ended.
	OutcomeTag = "outcome"
)

// How a request ended, by OutcomeTag.
const (
	// OutcomeOK has a status below 400.
	OutcomeOK = "ok"
	// OutcomeClientError has one from 400 to 499, and wasn't refused.
	OutcomeClientError = "client_error"
	// OutcomeServerError has one of 500 or above.
	OutcomeServerError = "server_error"
	// OutcomeRefused was refused by a limit.
	OutcomeRefused = "refused"
	// OutcomeLeft had no answer: its caller left before.
	OutcomeLeft = "left"
)

// RevisionOf is the revision that a cluster of RevisionClusters leads to; false for any other.
func RevisionOf(cluster string) (namespace, revision string, ok bool) {
	direction, host, ok := strings.Cut(cluster, "||")
	if !ok || !strings.HasPrefix(direction, "outbound|") {
		return "", "", false
	}
	parts := strings.SplitN(host, ".", 4) //nolint:mnd // revision, namespace, "svc" and the cluster's domain
	if len(parts) < 3 || parts[2] != "svc" {
		return "", "", false
	}
	return parts[1], parts[0], true
}
