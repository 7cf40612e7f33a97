package trigger

import (
	"strings"
	"testing"

	"k8s.io/client-go/tools/cache"
	_ "knative.dev/eventing/pkg/client/injection/client/fake"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	_ "knative.dev/pkg/client/injection/kube/client/fake"
	"knative.dev/pkg/configmap"
	rtesting "knative.dev/pkg/reconciler/testing"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/inferencetrigger/fake"
	_ "sluice.dev/sluice/reconciler/client/injection/informers/sluice/v1alpha1/model/fake"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
)

func TestNewController(t *testing.T) {
	ctx, _ := rtesting.SetupFakeContext(t)
	if NewController(function)(ctx, configmap.NewStaticWatcher()) == nil {
		t.Error("no controller")
	}
}

// Any Model of the namespace may be the one that is meant; what else becomes of one isn't told.
func TestWhenModelChanges(t *testing.T) {
	t.Parallel()
	known := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	other := score(func(t *v1alpha1.InferenceTrigger) { t.Namespace = "ads" })
	for _, of := range []*v1alpha1.InferenceTrigger{score(), other} {
		if err := known.Add(of); err != nil {
			t.Fatal(err)
		}
	}
	var enqueued []string
	handler := whenModelChanges(sluicelisters.NewInferenceTriggerLister(known), func(of any) {
		enqueued = append(enqueued, of.(*v1alpha1.InferenceTrigger).Namespace)
	})
	unready := model("ranker", func(m *v1alpha1.Model) { m.Status.Address = nil })
	elsewhere := model("ranker", func(m *v1alpha1.Model) { m.Status.Address = &duckv1.Addressable{URL: apis.HTTP("elsewhere")} })
	failing := func(why string) *v1alpha1.Model {
		return model("ranker", func(m *v1alpha1.Model) {
			m.Status.InitializeConditions()
			m.GetConditionSet().Manage(&m.Status).MarkFalse(v1alpha1.ModelConditionRevisionReady, "ImageMissing", "%s", why)
		})
	}
	for what, test := range map[string]struct {
		change func()
		want   string
	}{
		"comes":             {func() { handler.OnAdd(model("ranker"), false) }, namespace},
		"goes":              {func() { handler.OnDelete(cache.DeletedFinalStateUnknown{Key: "search/ranker", Obj: model("ranker")}) }, namespace},
		"gets an address":   {func() { handler.OnUpdate(unready, model("ranker")) }, namespace},
		"gets another":      {func() { handler.OnUpdate(elsewhere, model("ranker")) }, namespace},
		"stops being Ready": {func() { handler.OnUpdate(model("ranker"), failing("x")) }, namespace},
		"is Ready again":    {func() { handler.OnUpdate(failing("x"), model("ranker")) }, namespace},
		"says another why":  {func() { handler.OnUpdate(failing("x"), failing("y")) }, namespace},
		"says the same why": {func() { handler.OnUpdate(failing("x"), failing("x")) }, ""},
		"has more replicas": {func() {
			handler.OnUpdate(model("ranker"), model("ranker", func(m *v1alpha1.Model) { m.Status.ReadyReplicas = 3 }))
		}, ""},
	} {
		enqueued = nil
		test.change()
		if got := strings.Join(enqueued, " "); got != test.want {
			t.Errorf("a Model that %s: enqueued %q, want %q", what, got, test.want)
		}
	}
}
