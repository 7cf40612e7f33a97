package model

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	servinglisters "knative.dev/serving/pkg/client/listers/serving/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tenancy"
	sluicelisters "sluice.dev/sluice/reconciler/client/listers/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/model/resources"
)

func TestTenantEnqueuesItsModels(t *testing.T) {
	t.Parallel()
	in := func(namespace string) func(*v1alpha1.Model) {
		return func(m *v1alpha1.Model) { m.Namespace = namespace }
	}
	f := newFixture(t)
	for _, m := range []*v1alpha1.Model{model(), model(in("stays")), model(in("comes")), model(in("elsewhere"))} {
		f.add(t, f.models, m)
	}
	holding := func(changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
		both := func(t *v1alpha1.Tenant) {
			t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: namespace}, {Name: "stays"}}
		}
		return tenant(append([]func(*v1alpha1.Tenant){both}, changes...)...)
	}
	all := []string{"search/ranker", "stays/ranker"}
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.Tenant)
		want   []string
	}{
		{"nothing", func(*v1alpha1.Tenant) {}, nil},
		{"how many requests are admitted", func(t *v1alpha1.Tenant) { t.Status.Models, t.Status.GatewayPods = 2, 3 }, nil},
		{"a cap", func(t *v1alpha1.Tenant) { t.Spec.Limits.Models = ptr(int32(3)) }, all},
		{"gateways", func(t *v1alpha1.Tenant) { t.Status.Attached = []string{"shared", "tenant-acme"} }, all},
		{"a namespace that comes, and one that goes", func(t *v1alpha1.Tenant) {
			t.Status.Namespaces = []v1alpha1.TenantNamespace{{Name: "comes"}, {Name: "stays"}}
		}, []string{"comes/ranker", "search/ranker", "stays/ranker"}},
		{"a phase", func(t *v1alpha1.Tenant) { t.Status.Namespaces[0].Phase = v1alpha1.NamespaceLeaving }, all},
		{"the certificate", func(t *v1alpha1.Tenant) {
			t.Status.Conditions = duckv1.Conditions{{Type: v1alpha1.TenantConditionCertificateReady, Status: corev1.ConditionTrue}}
		}, all},
		{"another condition", func(t *v1alpha1.Tenant) {
			t.Status.Conditions = duckv1.Conditions{{Type: v1alpha1.TenantConditionGatewayReady, Status: corev1.ConditionTrue}}
		}, nil},
	} {
		f.w.whenTenantChanges(f.enqueue).OnUpdate(holding(), holding(c.change))
		f.enqueued(t, c.name, c.want)
	}
	f.w.whenTenantChanges(f.enqueue).OnAdd(holding(), true)
	f.enqueued(t, "the tenant appears", all)
	f.w.whenTenantChanges(f.enqueue).OnDelete(cache.DeletedFinalStateUnknown{Key: "acme", Obj: holding()})
	f.enqueued(t, "the tenant is gone", all)
}

func TestRoomEnqueuesWhoWaits(t *testing.T) {
	t.Parallel()
	called := func(name string, replicas int32) *v1alpha1.Model {
		return model(func(m *v1alpha1.Model) {
			m.Name, m.UID, m.Spec.Autoscaling.MaxReplicas = name, "", &replicas
		})
	}
	f := newFixture(t)
	f.add(t, f.tenants, tenant(func(t *v1alpha1.Tenant) { t.Spec.Limits.MaxReplicas = ptr(int32(9)) }))
	f.add(t, f.models, called("waits", 5))
	f.add(t, f.models, called("runs", 5))
	f.add(t, f.services, resources.Service(called("runs", 5), nil))
	f.add(t, f.models, called("grows", 6))
	f.add(t, f.services, resources.Service(called("grows", 5), nil))
	waiting, other := []string{"search/grows", "search/waits"}, called("other", 4)

	handler := f.w.whenRoomIsLeft(f.enqueue)
	handler.OnAdd(other, false)
	f.enqueued(t, "another Model comes", nil)
	handler.OnUpdate(called("other", 4), called("other", 5))
	f.enqueued(t, "another Model wants more", nil)
	handler.OnUpdate(called("other", 4), called("other", 3))
	f.enqueued(t, "another Model wants less", waiting)
	handler.OnUpdate(revision(first), bounded(first, "5"))
	f.enqueued(t, "a revision is bounded", waiting)
	handler.OnUpdate(bounded(first, "5"), bounded(first, "6"))
	f.enqueued(t, "a revision may have more", nil)
	handler.OnDelete(other)
	f.enqueued(t, "another Model is gone", waiting)
	handler.OnDelete(cache.DeletedFinalStateUnknown{Key: "search/other", Obj: other})
	f.enqueued(t, "another Model is gone, which was missed", waiting)
	other.Namespace = "elsewhere"
	handler.OnDelete(other)
	f.enqueued(t, "a Model of no tenant is gone", nil)
}

// fixture has caches that a test fills, what enqueues by them, and what it enqueued.
type fixture struct {
	w                                  *wake
	models, services, tenants, touched cache.Indexer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	indexer := func() cache.Indexer {
		return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	}
	f := &fixture{models: indexer(), services: indexer(), tenants: indexer(), touched: indexer()}
	if err := tenancy.Index(f.tenants); err != nil {
		t.Fatal(err)
	}
	of := sluicelisters.NewModelLister(f.models)
	f.w = &wake{models: of, caps: &caps{
		services:  servinglisters.NewServiceLister(f.services),
		revisions: servinglisters.NewRevisionLister(indexer()),
		models:    of,
		tenants:   f.tenants,
	}}
	return f
}

func (f *fixture) add(t *testing.T, to cache.Indexer, object metav1.Object) {
	t.Helper()
	if err := to.Add(object); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) enqueue(object any) { _ = f.touched.Add(object) }

// enqueued compares what was enqueued since it was asked last.
func (f *fixture) enqueued(t *testing.T, when string, want []string) {
	t.Helper()
	got := f.touched.ListKeys()
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%s: enqueued %v, want %v", when, got, want)
	}
	if err := f.touched.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
}

// A replica that starts for a caller changes much that only status tells of.
func TestStatusWaitsForReplicasToSettle(t *testing.T) {
	t.Parallel()
	complete := func(m *v1alpha1.Model) {
		m.Status.Rollout = &v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutComplete}
		m.Status.Conditions = duckv1.Conditions{{Type: v1alpha1.ModelConditionReady, Status: corev1.ConditionTrue}}
		m.Status.ObservedGeneration = m.Generation
	}
	limit := func(changes ...func(*v1alpha1.RateLimit)) *v1alpha1.RateLimit {
		l := &v1alpha1.RateLimit{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{sluice.ModelLabelKey: name}, Generation: 1}}
		for _, change := range changes {
			change(l)
		}
		return l
	}
	follows := func(l *v1alpha1.RateLimit) {
		l.Status.Revisions = []v1alpha1.RevisionCapacity{{Name: "ranker-1", Ready: 1}}
	}
	fails := func(l *v1alpha1.RateLimit) {
		l.Status.Conditions = duckv1.Conditions{{Type: v1alpha1.ModelConditionReady, Status: corev1.ConditionFalse}}
	}
	breached := func(l *v1alpha1.RateLimit) {
		l.Status.Breach = &v1alpha1.RateLimitBreach{Reason: v1alpha1.BreachLatency}
	}
	for _, c := range []struct {
		name            string
		model           func(*v1alpha1.Model)
		replicas, limit time.Duration
	}{
		{"complete", func(*v1alpha1.Model) {}, settle, settle},
		{"rolling out", func(m *v1alpha1.Model) { m.Status.Rollout.Phase = v1alpha1.RolloutProgressing }, 0, 0},
		{"keeping warm", func(m *v1alpha1.Model) { m.Status.Rollout.Phase = v1alpha1.RolloutKeepingWarm }, 0, 0},
		{"changed", func(m *v1alpha1.Model) { m.Generation++ }, 0, 0},
		{"not ready", func(m *v1alpha1.Model) { m.Status.Conditions[0].Status = corev1.ConditionUnknown }, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.add(t, f.models, model(complete, c.model))
			var waits []time.Duration
			enqueue := func(key types.NamespacedName, wait time.Duration) {
				if key != (types.NamespacedName{Namespace: namespace, Name: name}) {
					t.Errorf("enqueued %v", key)
				}
				waits = append(waits, wait)
			}
			f.w.whenReplicasChange(enqueue).OnUpdate(limit(), limit())
			limits := f.w.whenLimitChanges(enqueue)
			limits.OnUpdate(limit(), limit(follows))
			limits.OnUpdate(limit(follows), limit(follows, fails))
			limits.OnUpdate(limit(follows), limit(follows, breached))
			limits.OnAdd(limit(), false)
			limits.OnDelete(cache.DeletedFinalStateUnknown{Obj: limit()})
			if want := []time.Duration{c.replicas, c.limit, 0, 0, 0, 0}; !slices.Equal(waits, want) {
				t.Errorf("waits %v, want %v", waits, want)
			}
		})
	}
}
