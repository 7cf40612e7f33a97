package gateway

import (
	"testing"

	"knative.dev/networking/pkg/apis/networking"
)

// Each cluster of a revision's is known for that revision's, and nothing else is.
func TestRevisionOf(t *testing.T) {
	for _, cluster := range RevisionClusters("team", "m-00001", networking.ProtocolType("")) {
		if namespace, revision, ok := RevisionOf(cluster); namespace != "team" || revision != "m-00001" || !ok {
			t.Errorf("%s is of %s/%s, %v", cluster, namespace, revision, ok)
		}
	}
	for _, cluster := range []string{"", "-", "PassthroughCluster", "outbound|80||example.com", "inbound|80||m-00001.team.svc.cluster.local"} {
		if _, _, ok := RevisionOf(cluster); ok {
			t.Errorf("%q is taken for a revision's", cluster)
		}
	}
}
