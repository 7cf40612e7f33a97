package gateway

import "strings"

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
