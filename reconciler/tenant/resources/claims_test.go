package resources

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"pgregory.net/rapid"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func tenant(name string, changes ...func(*v1alpha1.Tenant)) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: *at(0)}}
	t.Status = served(shared, shared)
	for _, change := range changes {
		change(t)
	}
	return t
}

func names(names ...string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.Spec.Namespaces.Names = names }
}

func selecting(key, value string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		t.Spec.Namespaces.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
}

func holds(phase v1alpha1.NamespacePhase, names ...string) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) {
		for _, name := range names {
			t.Status.Namespaces = append(t.Status.Namespaces, v1alpha1.TenantNamespace{Name: name, Phase: phase, Since: *at(-time.Minute)})
		}
	}
}

func createdAt(after time.Duration) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.CreationTimestamp = *at(after) }
}

func deleted(t *v1alpha1.Tenant) { t.DeletionTimestamp = at(0) }

func dedicated(t *v1alpha1.Tenant) { t.Spec.Gateway.Mode = v1alpha1.GatewayDedicated }

func ownGateway(t *v1alpha1.Tenant) {
	dedicated(t)
	t.Status = served("tenant-"+t.Name, "tenant-"+t.Name)
}

func namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

func TestClaim(t *testing.T) {
	for _, test := range []struct {
		name       string
		tenant     *v1alpha1.Tenant
		others     []*v1alpha1.Tenant
		namespaces []*corev1.Namespace
		mine       []string
		lost       map[string]string
		missing    []string
	}{{
		name: "names, existing or not", tenant: tenant("a", names("x", "y")), namespaces: []*corev1.Namespace{namespace("x"), namespace("z")},
		mine: []string{"x"}, missing: []string{"y"},
	}, {
		name: "a selector, or a name", tenant: tenant("a", names("x"), selecting("team", "a")),
		namespaces: []*corev1.Namespace{namespace("x"), namespace("y", "team", "a"), namespace("z", "team", "b")},
		mine:       []string{"x", "y"},
	}, {
		name: "an empty selector picks nothing", tenant: tenant("a", func(t *v1alpha1.Tenant) { t.Spec.Namespaces.Selector = &metav1.LabelSelector{} }),
		namespaces: []*corev1.Namespace{namespace("x")},
	}, {
		name: "the platform's are nobody's", tenant: tenant("a", names("knative-serving"), selecting("team", "a")),
		namespaces: []*corev1.Namespace{namespace("knative-serving"), namespace("kube-system", "team", "a"), namespace("sluice-gateways", "team", "a")},
	}, {
		name: "held by a younger one", tenant: tenant("a", names("x")),
		others:     []*v1alpha1.Tenant{tenant("b", createdAt(time.Hour), holds(v1alpha1.NamespaceHeld, "x"))},
		namespaces: []*corev1.Namespace{namespace("x")}, lost: map[string]string{"x": "b"},
	}, {
		name: "held while it leaves", tenant: tenant("a", names("x")),
		others:     []*v1alpha1.Tenant{tenant("b", deleted, holds(v1alpha1.NamespaceLeaving, "x"))},
		namespaces: []*corev1.Namespace{namespace("x")}, lost: map[string]string{"x": "b"},
	}, {
		name: "wanted by an older one", tenant: tenant("a", createdAt(time.Hour), names("x")),
		others:     []*v1alpha1.Tenant{tenant("b", selecting("team", "b"))},
		namespaces: []*corev1.Namespace{namespace("x", "team", "b")}, lost: map[string]string{"x": "b"},
	}, {
		name: "wanted by an older one that goes", tenant: tenant("a", createdAt(time.Hour), names("x")),
		others:     []*v1alpha1.Tenant{tenant("b", deleted, names("x"))},
		namespaces: []*corev1.Namespace{namespace("x")}, mine: []string{"x"},
	}, {
		name: "of one age, names decide", tenant: tenant("a", names("x")), others: []*v1alpha1.Tenant{tenant("b", names("x"))},
		namespaces: []*corev1.Namespace{namespace("x")}, mine: []string{"x"},
	}, {
		name: "held by both, the older keeps it", tenant: tenant("a", createdAt(time.Hour), names("x"), holds(v1alpha1.NamespaceHeld, "x")),
		others:     []*v1alpha1.Tenant{tenant("b", names("x"), holds(v1alpha1.NamespaceHeld, "x"))},
		namespaces: []*corev1.Namespace{namespace("x")}, lost: map[string]string{"x": "b"},
	}, {
		name: "being deleted, it asks for nothing", tenant: tenant("a", deleted, names("x"), holds(v1alpha1.NamespaceHeld, "x")),
		namespaces: []*corev1.Namespace{namespace("x")},
	}} {
		t.Run(test.name, func(t *testing.T) {
			got := Claim(test.tenant, append(test.others, test.tenant), test.namespaces)
			if mine := sets.List(got.Mine); !slices.Equal(mine, test.mine) {
				t.Errorf("mine: %v, want %v", mine, test.mine)
			}
			if len(got.Lost)+len(test.lost) > 0 && !cmp.Equal(got.Lost, test.lost) {
				t.Errorf("lost: %v, want %v", got.Lost, test.lost)
			}
			if !slices.Equal(got.Missing, test.missing) {
				t.Errorf("missing: %v, want %v", got.Missing, test.missing)
			}
		})
	}
}

func TestNamespaces(t *testing.T) {
	for _, test := range []struct {
		name   string
		tenant *v1alpha1.Tenant
		mine   string
		seen   func(*Traffic)
		want   string // phase, and since when in seconds where it isn't a minute ago
		again  time.Duration
	}{
		{name: "joins the shared gateway at once", tenant: tenant("a"), mine: "x", want: "x Held 0"},
		{name: "joins a gateway of the tenant's own", tenant: tenant("a", ownGateway), mine: "x", want: "x Joining 0"},
		{name: "nothing is served there", tenant: tenant("a", ownGateway), mine: "x", seen: idle, want: "x Held 0"},
		{name: "joins during a move", tenant: tenant("a", func(t *v1alpha1.Tenant) {
			t.Status = moving(both(shared), v1alpha1.MoveAttaching, shared, "tenant-a")
		}), mine: "x", want: "x Joining 0"},
		{name: "joins, not proved yet", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceJoining, "x")), mine: "x", want: "x Joining"},
		{name: "joins, proved now", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceJoining, "x")), mine: "x", seen: proved,
			want: "x Joining served 0", again: drains},
		{name: "joins, proved before", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceJoining, "x"), servedSince(-time.Minute)), mine: "x",
			want: "x Joining served -60", again: drains - time.Minute},
		{name: "has joined", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceJoining, "x"), servedSince(-drains)), mine: "x", want: "x Held 0"},
		{name: "is held", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceHeld, "x")), mine: "x", want: "x Held"},
		{name: "leaves the shared gateway at once", tenant: tenant("a", holds(v1alpha1.NamespaceHeld, "x"))},
		{name: "leaves while another gateway is wanted", tenant: tenant("a", dedicated, holds(v1alpha1.NamespaceHeld, "x")), want: "x Leaving 0"},
		{name: "leaves a tenant that goes", tenant: tenant("a", deleted, holds(v1alpha1.NamespaceHeld, "x")), want: "x Leaving 0"},
		{name: "leaves a tenant that goes, idle", tenant: tenant("a", deleted, holds(v1alpha1.NamespaceHeld, "x")), seen: idle},
		{name: "leaves a gateway of the tenant's own", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceHeld, "x")), seen: proved, want: "x Leaving 0"},
		{name: "leaves, proved now", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceLeaving, "x")), seen: proved,
			want: "x Leaving served 0", again: drains},
		{name: "has left", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceLeaving, "x"), servedSince(-drains))},
		{name: "is wanted again", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceLeaving, "x"), servedSince(-drains)), mine: "x", want: "x Joining 0"},
		{name: "isn't wanted after all", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceJoining, "x"), servedSince(-drains)), want: "x Leaving 0"},
		{name: "vanishes", tenant: tenant("a", ownGateway, holds(v1alpha1.NamespaceHeld, "x")), seen: func(s *Traffic) { s.Exist.Delete("x") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := Traffic{Now: start, Exist: sets.New("x"), Idle: sets.New[string](), Proved: sets.New[string](), Drain: drains}
			if test.seen != nil {
				test.seen(&seen)
			}
			claims := Claims{Mine: sets.New[string]()}
			if test.mine != "" {
				claims.Mine.Insert(test.mine)
			}
			got, again := Namespaces(test.tenant, claims, seen)
			if text := showNamespaces(got); text != test.want || again != test.again {
				t.Errorf("got %q again in %s, want %q again in %s", text, again, test.want, test.again)
			}
		})
	}
}

func idle(s *Traffic)   { s.Idle.Insert("x") }
func proved(s *Traffic) { s.Proved.Insert("x") }

func servedSince(after time.Duration) func(*v1alpha1.Tenant) {
	return func(t *v1alpha1.Tenant) { t.Status.Namespaces[0].Served = at(after) }
}

func showNamespaces(namespaces []v1alpha1.TenantNamespace) string {
	out := ""
	for _, ns := range namespaces {
		out += ns.Name + " " + string(ns.Phase)
		if !ns.Since.Equal(at(-time.Minute)) {
			out += fmt.Sprintf(" %g", ns.Since.Sub(start).Seconds())
		}
		if ns.Served != nil {
			out += fmt.Sprintf(" served %g", ns.Served.Sub(start).Seconds())
		}
	}
	return out
}

// Whatever tenants ask for, in whatever order they are reconciled: a namespace is
// one tenant's at most, stays with it for as long as it asks for it, and is
// somebody's in the end if anybody asks for it.
func TestANamespaceIsOneTenants(t *testing.T) {
	all := []*corev1.Namespace{namespace("x", "team", "a"), namespace("y", "team", "b"), namespace("z")}
	exist := sets.New("x", "y", "z")
	rapid.Check(t, func(t *rapid.T) {
		tenants := make([]*v1alpha1.Tenant, 3)
		wanted := func(label string) func(*v1alpha1.Tenant) {
			return names(rapid.SliceOfDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), rapid.ID[string]).Draw(t, label)...)
		}
		for i := range tenants {
			tenants[i] = tenant(string(rune('a'+i)), createdAt(time.Duration(rapid.IntRange(0, 1).Draw(t, "age"))*time.Hour), wanted("names"))
			if rapid.Bool().Draw(t, "own gateway") {
				ownGateway(tenants[i])
			}
		}
		now := start
		reconcile := func(i int) {
			before := tenants[i].DeepCopy()
			claims := Claim(tenants[i], tenants, all)
			tenants[i].Status.Namespaces, _ = Namespaces(tenants[i], claims, Traffic{Now: now, Exist: exist, Proved: exist, Drain: drains})
			for _, name := range before.Spec.Namespaces.Names {
				if before.Holds(name) && !tenants[i].Holds(name) {
					t.Fatalf("%s lost %s, which it still asks for", before.Name, name)
				}
			}
			for _, ns := range all {
				if holders := slices.DeleteFunc(slices.Clone(tenants), func(t *v1alpha1.Tenant) bool { return !t.Holds(ns.Name) }); len(holders) > 1 {
					t.Fatalf("%s is held by %s and %s", ns.Name, holders[0].Name, holders[1].Name)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"reconcile": func(t *rapid.T) { reconcile(rapid.IntRange(0, 2).Draw(t, "tenant")) },
			"change":    func(t *rapid.T) { wanted("names")(tenants[rapid.IntRange(0, 2).Draw(t, "tenant")]) },
			"time":      func(*rapid.T) { now = now.Add(drains / 2) },
		})
		for range 4 {
			now = now.Add(drains)
			for i := range tenants {
				reconcile(i)
			}
		}
		for _, ns := range all {
			asked := slices.ContainsFunc(tenants, func(t *v1alpha1.Tenant) bool { return slices.Contains(t.Spec.Namespaces.Names, ns.Name) })
			if held := slices.ContainsFunc(tenants, func(t *v1alpha1.Tenant) bool { return t.Holds(ns.Name) }); asked != held {
				t.Fatalf("%s: asked for %t, held %t", ns.Name, asked, held)
			}
		}
	})
}
