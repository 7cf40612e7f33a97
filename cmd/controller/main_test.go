package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/system"
	filteredserving "knative.dev/serving/pkg/client/injection/informers/factory/filtered"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/revisionscale"
)

// Every object is watched once in the process, whichever reconcilers ask for it, and was
// listed when start returns, which is before anything is reconciled.
func TestEachObjectIsWatchedOnce(t *testing.T) {
	t.Setenv("KUBE_FEATURE_WatchListClient", "false") // lists tell watches from each other
	t.Setenv(system.NamespaceEnvKey, sluice.SystemNamespace)
	api := &cluster{}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)

	ctx, start := injection.EnableInjectionOrDie(filteredserving.WithSelectors(t.Context(), revisionscale.Selector),
		&rest.Config{Host: server.URL, QPS: 1000, Burst: 1000})
	cmw := configmap.NewStaticWatcher(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config-gateway"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "config-warm-up"}})
	for _, controller := range controllers(environment{KnativeServingNamespace: "knative-serving"}) {
		controller(ctx, cmw)
	}
	start()

	api.mu.Lock()
	defer api.mu.Unlock()
	var among []string
	for i, one := range api.listed {
		if one.namespace == gateway.Namespace {
			among = append(among, strings.TrimSpace(one.resource+" "+one.selector))
		}
		for j, other := range api.listed {
			if i != j && one.covers(other) {
				t.Errorf("what is watched as %q is watched as %q, too", other, one)
			}
		}
	}
	slices.Sort(among)
	if diff := cmp.Diff([]string{
		"apps/deployments",
		"autoscaling/horizontalpodautoscalers",
		"networking.istio.io/envoyfilters !" + gateway.SlotLabelKey,
		"networking.istio.io/envoyfilters " + gateway.SlotLabelKey,
		"networking.istio.io/gateways",
		"networking.istio.io/virtualservices",
		"policy/poddisruptionbudgets",
		"v1/pods " + gateway.LabelKey,
		"v1/serviceaccounts",
	}, among); diff != "" {
		t.Errorf("watched among the gateways (-want +got):\n%s", diff)
	}
}

// watched is what a watch sees: a resource, in one namespace or in all, and of it what
// is selected, or all.
type watched struct{ resource, namespace, selector string }

// covers is true if all that another one sees is seen.
func (w watched) covers(other watched) bool {
	return w.resource == other.resource && (w.namespace == "" || w.namespace == other.namespace) &&
		(w.selector == "" || w.selector == other.selector)
}

// cluster is an API server that has a probe token and nothing else, and keeps what is listed.
type cluster struct {
	mu     sync.Mutex
	listed []watched
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var answer any
	switch {
	case r.URL.Query().Get("watch") == "true":
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	case strings.HasSuffix(r.URL.Path, "/"+gateway.ProbeTokenSecret):
		answer = corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			Data:     map[string][]byte{gateway.ProbeTokenKey: []byte(strings.Repeat("0", 64))},
		}
	default:
		c.mu.Lock()
		c.listed = append(c.listed, watchedBy(r))
		c.mu.Unlock()
		list := metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []metav1.PartialObjectMetadata{}}
		if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
			list.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}
		}
		answer = list
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// watchedBy reads a path /api/v1… or /apis/<group>/<version>…, which goes on with
// /namespaces/<namespace>/<resource> or /<resource>.
func watchedBy(r *http.Request) watched {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := len(parts) - 1
	out := watched{
		resource: parts[1] + "/" + parts[last],
		selector: r.URL.Query().Get("labelSelector") + r.URL.Query().Get("fieldSelector"),
	}
	if last >= 4 && parts[last-2] == "namespaces" {
		out.namespace = parts[last-1]
	}
	return out
}
