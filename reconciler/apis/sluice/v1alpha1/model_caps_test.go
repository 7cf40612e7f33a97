package v1alpha1

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/pkg/apis"
	"pgregory.net/rapid"
)

func TestCapsOfATenant(t *testing.T) {
	t.Parallel()
	upTo := func(replicas int32) func(*Model) {
		return scaling(func(a *AutoscalingSpec) { a.MaxReplicas = &replicas })
	}
	twoModels := TenantLimits{Models: ptr(int32(2))}
	nineReplicas := TenantLimits{MaxReplicas: ptr(int32(9))}
	cases := []struct {
		name   string
		limits TenantLimits
		others []func(*Model)
		change func(*Model)
		before func(*Model) // nil for a creation
		path   string       // "" for admitted
		says   []string
	}{
		{name: "no cap", others: []func(*Model){upTo(0), upTo(0)}, change: upTo(0)},
		{name: "the last Model", limits: twoModels, others: []func(*Model){upTo(0)}, change: upTo(0)},
		{
			name: "one Model more", limits: twoModels, others: []func(*Model){upTo(0), upTo(0)}, change: upTo(0),
			path: "metadata.namespace", says: []string{`tenant "acme" may have 2 Models`, "has 2", "spec.limits.models", "delete one"},
		},
		{name: "too many Models already, one is changed", limits: twoModels, others: []func(*Model){upTo(0), upTo(0)}, change: upTo(5), before: upTo(4)},
		{name: "the last replicas", limits: nineReplicas, others: []func(*Model){upTo(4), upTo(2)}, change: upTo(3)},
		{
			name: "one replica more", limits: nineReplicas, others: []func(*Model){upTo(4), upTo(2)}, change: upTo(4),
			path: "spec.autoscaling.maxReplicas",
			says: []string{"from 1 to 3, is 4", `tenant "acme" may have 9 replicas`, "spec.limits.maxReplicas", "claim 6", "lower"},
		},
		{
			name: "one replica more, by annotation", limits: nineReplicas, others: []func(*Model){upTo(6)}, change: both(upTo(1), annotated("max-scale", "4")),
			path: "metadata.annotations[autoscaling.knative.dev/max-scale]", says: []string{"from 1 to 3, is 4"},
		},
		{name: "no more than the annotation says", limits: nineReplicas, others: []func(*Model){upTo(6)}, change: both(upTo(100), annotated("maxScale", "3"))},
		{
			name: "nothing left", limits: nineReplicas, others: []func(*Model){upTo(9)}, change: upTo(1),
			path: "spec.autoscaling.maxReplicas", says: []string{"nothing is left, is 1", "claim 9", "lower"},
		},
		{
			name: "no bound", limits: nineReplicas, change: func(*Model) {},
			path: "spec.autoscaling.maxReplicas", says: []string{"from 1 to 9, is not set"},
		},
		{name: "no bound, in words", limits: nineReplicas, change: upTo(0), path: "spec.autoscaling.maxReplicas", says: []string{"is not set"}},
		{
			name: "another Model has no bound", limits: nineReplicas, others: []func(*Model){upTo(2), upTo(0)}, change: upTo(1),
			path: "spec.autoscaling.maxReplicas", says: []string{"claim more, 1 of them having no bound", "first: search/other-1"},
		},
		{
			name: "raised too far", limits: nineReplicas, others: []func(*Model){upTo(6)}, before: upTo(3), change: upTo(4),
			path: "spec.autoscaling.maxReplicas", says: []string{"from 1 to 3, is 4"},
		},
		{
			name: "a bound removed", limits: nineReplicas, others: []func(*Model){upTo(6)}, before: upTo(3), change: func(*Model) {},
			path: "spec.autoscaling.maxReplicas", says: []string{"is not set"},
		},
		{name: "raised as far as there is room", limits: nineReplicas, others: []func(*Model){upTo(6)}, before: upTo(1), change: upTo(3)},
		{name: "lowered, if not enough", limits: nineReplicas, others: []func(*Model){upTo(8)}, before: upTo(6), change: upTo(5)},
		{name: "unchanged while above", limits: nineReplicas, others: []func(*Model){upTo(8)}, before: upTo(6), change: both(upTo(6), rate("40"))},
		{name: "a bound set, if not enough", limits: nineReplicas, others: []func(*Model){upTo(8)}, before: upTo(0), change: upTo(50)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			acme := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: TenantSpec{Limits: c.limits}}
			var models []*Model
			for i, change := range c.others {
				other := validModel()
				other.Name = fmt.Sprint("other-", i)
				change(other)
				models = append(models, other)
			}
			ctx := apis.WithinCreate(context.Background())
			if c.before != nil {
				before := validModel()
				c.before(before)
				models = append(models, before)
				ctx = apis.WithinUpdate(context.Background(), before)
			}
			ctx = WithNeighbours(ctx, func(string) (*Tenant, []*Model, error) { return acme, models, nil })
			err := errorsOf(ctx, c.change)
			if c.path == "" && err != nil {
				t.Fatal("unexpected error:", err)
			}
			for _, says := range c.says {
				if len(err.WrappedErrors()) != 1 || !slices.Equal(err.WrappedErrors()[0].Paths, []string{c.path}) || !strings.Contains(err.Error(), says) {
					t.Errorf("got %v\nwant an error at %s that says %q", err, c.path, says)
				}
			}
		})
	}
}

func TestCapsOfNobody(t *testing.T) {
	t.Parallel()
	nobody := WithNeighbours(context.Background(), func(string) (*Tenant, []*Model, error) { return nil, nil, nil })
	if err := errorsOf(nobody, func(*Model) {}); err != nil {
		t.Error("unexpected error:", err)
	}
	unknown := WithNeighbours(context.Background(), func(string) (*Tenant, []*Model, error) { return nil, nil, errors.New("no index") })
	if err := errorsOf(unknown, func(*Model) {}); err == nil || !strings.Contains(err.Error(), "no index") {
		t.Errorf("got %v, want a refusal: it can't be told whether there is a cap", err)
	}
}

func TestWarningOfIdleReplicas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, rate string
		replicas    int32
		says        string // "" for no warning
	}{
		{limit: "100", rate: "50", replicas: 4},
		{limit: "100", rate: "50", replicas: 5, says: `maxReplicas of 5 can serve 250 requests per second, but all Models of tenant "acme" together are admitted 100`},
		{limit: "100", rate: "200"},
		{limit: "100", rate: "201", says: "one replica can serve 201"},
	} {
		acme := &Tenant{ObjectMeta: metav1.ObjectMeta{Name: "acme"}, Spec: TenantSpec{Limits: TenantLimits{RequestsPerSecond: quantity(c.limit)}}}
		ctx := WithNeighbours(context.Background(), func(string) (*Tenant, []*Model, error) { return acme, nil, nil })
		change := both(rate(c.rate), scaling(func(a *AutoscalingSpec) { a.MaxReplicas = &c.replicas }))
		got := warningsBySluice(validate(ctx, change).Filter(apis.WarningLevel))
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s requests per second, %d times, cap %s: warnings = %q, want %q", c.rate, c.replicas, c.limit, got, c.says)
		}
	}
}

// capped is a tenant whose Models are admitted by webhooks that may not see all of
// them yet, and are let have more by a reconciler that does.
type capped struct {
	tenant  *Tenant
	models  map[string]*Model
	inForce map[string]int64
}

func (c *capped) claim(name string) CapClaim {
	claim := CapClaim{Model: c.models[name]}
	if replicas, ok := c.inForce[name]; ok {
		claim.InForce = &replicas
	}
	return claim
}

func (c *capped) names() []string { return slices.Sorted(maps.Keys(c.models)) }

func (c *capped) claims() []CapClaim {
	var all []CapClaim
	for _, name := range c.names() {
		all = append(all, c.claim(name))
	}
	return all
}

// write is a creation or an update that a webhook admits by what it sees.
func (c *capped) write(m *Model, sees []*Model) {
	ctx := apis.WithinCreate(context.Background())
	if before, ok := c.models[m.Name]; ok {
		ctx = apis.WithinUpdate(context.Background(), before)
	}
	ctx = WithNeighbours(ctx, func(string) (*Tenant, []*Model, error) { return c.tenant, sees, nil })
	if m.validateCaps(ctx) == nil {
		c.models[m.Name] = m
	}
}

// reconcile tells whether the Model was let have all that it asks for.
func (c *capped) reconcile(name string) bool {
	claim := c.claim(name)
	if c.tenant.RefuseGrowth(claim, c.claims()) != nil {
		return false
	}
	c.inForce[name] = claim.MaxReplicas()
	return true
}

func (c *capped) forget(name string) {
	delete(c.models, name)
	delete(c.inForce, name)
}

// taken is the sum of what is in force; one without a bound is more than any cap.
func (c *capped) taken() (models, replicas int64) {
	for _, has := range c.inForce {
		replicas += min(has, 1<<32)
	}
	return int64(len(c.inForce)), replicas
}

// within tells whether what is in force is within both caps.
func (c *capped) within() bool {
	limits, above := c.tenant.Spec.Limits, func(limit *int32, sum int64) bool { return limit != nil && sum > int64(*limit) }
	models, replicas := c.taken()
	return !above(limits.Models, models) && !above(limits.MaxReplicas, replicas)
}

func drawModel(t *rapid.T) *Model {
	m := &Model{ObjectMeta: metav1.ObjectMeta{
		Namespace:         rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"),
		CreationTimestamp: metav1.Unix(rapid.Int64Range(1, 3).Draw(t, "created"), 0),
	}}
	m.Name = rapid.StringMatching("[a-f]").Draw(t, "name")
	m.Spec.Autoscaling.MaxReplicas = ptr(rapid.Int32Range(0, 6).Draw(t, "maxReplicas"))
	return m
}

func drawLimits(t *rapid.T) TenantLimits {
	number := rapid.Ptr(rapid.Int32Range(1, 8), true)
	return TenantLimits{Models: number.Draw(t, "models"), MaxReplicas: number.Draw(t, "replicas")}
}

// A webhook that sees all Models lets no creation beyond a cap, in any order.
func TestNoOrderOfCreationsExceedsACap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := &capped{tenant: &Tenant{Spec: TenantSpec{Limits: drawLimits(t)}}, models: map[string]*Model{}}
		for _, m := range rapid.SliceOfNDistinct(rapid.Custom(drawModel), 1, 6, func(m *Model) string { return m.Name }).Draw(t, "models") {
			c.write(m, slices.Collect(maps.Values(c.models)))
		}
		c.inForce = map[string]int64{}
		for name, m := range c.models {
			c.inForce[name] = m.MaxReplicas()
		}
		if !c.within() {
			t.Fatalf("admitted %v under %+v", c.inForce, c.tenant.Spec.Limits)
		}
	})
}

// Whatever is created, changed, deleted and capped, in whatever order, and however
// much each webhook sees of it: nothing grows beyond a cap, and nothing that runs is
// taken away but by what its own Model asks for.
func TestNothingGrowsBeyondACap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := &capped{tenant: &Tenant{}, models: map[string]*Model{}, inForce: map[string]int64{}}
		some := func(t *rapid.T) string {
			if len(c.models) == 0 {
				t.Skip("no Model")
			}
			return rapid.SampledFrom(c.names()).Draw(t, "which")
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				m, sees := drawModel(t), []*Model{}
				if before, ok := c.models[m.Name]; ok {
					m.Namespace, m.CreationTimestamp = before.Namespace, before.CreationTimestamp
				}
				for _, name := range c.names() {
					if rapid.Bool().Draw(t, "seen") {
						sees = append(sees, c.models[name])
					}
				}
				c.write(m, sees)
			},
			"delete": func(t *rapid.T) { c.forget(some(t)) },
			"cap":    func(t *rapid.T) { c.tenant.Spec.Limits = drawLimits(t) },
			"reconcile": func(t *rapid.T) {
				name := some(t)
				had, there := c.inForce[name]
				modelsBefore, replicasBefore := c.taken()
				let := c.reconcile(name)
				models, replicas := c.taken()
				limits := c.tenant.Spec.Limits
				if limits.Models != nil && models > modelsBefore && models > int64(*limits.Models) {
					t.Fatalf("%d Models, cap %d", models, *limits.Models)
				}
				if limits.MaxReplicas != nil && replicas > replicasBefore && replicas > int64(*limits.MaxReplicas) {
					t.Fatalf("%d replicas, cap %d", replicas, *limits.MaxReplicas)
				}
				if has := c.inForce[name]; there && has < had && has != c.models[name].MaxReplicas() {
					t.Fatalf("%s had %d replicas and was left %d", name, had, has)
				}
				if there && !let && c.models[name].MaxReplicas() <= had {
					t.Fatalf("%s asks for no more than it has and was refused", name)
				}
			},
		})
	})
}

// The youngest is refused though it would fit beside the one of middle age.
func TestTheOldestGrowsFirst(t *testing.T) {
	t.Parallel()
	of := func(name string, age int64, replicas int32) CapClaim {
		m := validModel()
		m.Name, m.CreationTimestamp, m.Spec.Autoscaling.MaxReplicas = name, metav1.Unix(100-age, 0), &replicas
		return CapClaim{Model: m}
	}
	oldest, middle, youngest := of("z", 3, 6), of("y", 2, 3), of("x", 1, 3)
	all := []CapClaim{youngest, middle, oldest}
	acme := &Tenant{Spec: TenantSpec{Limits: TenantLimits{MaxReplicas: ptr(int32(6))}}}
	if err := acme.RefuseGrowth(oldest, all); err != nil {
		t.Error("the oldest is refused:", err)
	}
	if acme.RefuseGrowth(middle, all) == nil || acme.RefuseGrowth(youngest, all) == nil {
		t.Error("a younger Model takes the oldest's replicas")
	}
}

// Models that all passed the webhook before any was seen get the same, in whatever
// order they are reconciled: the older first, and all that there is room for.
func TestOrderOfReconcilingDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		models := map[string]*Model{}
		for _, m := range rapid.SliceOfN(rapid.Custom(drawModel), 1, 6).Draw(t, "models") {
			models[m.Name] = m
		}
		tenant := &Tenant{Spec: TenantSpec{Limits: drawLimits(t)}}
		settle := func(order []string) map[string]int64 {
			c := &capped{tenant: tenant, models: models, inForce: map[string]int64{}}
			for _, name := range order {
				c.reconcile(name)
			}
			return c.inForce
		}
		byAge := slices.SortedFunc(maps.Keys(models), func(a, b string) int {
			x, y := models[a], models[b]
			return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(a, b))
		})
		want := map[string]int64{}
		for _, name := range byAge {
			c := &capped{tenant: tenant, models: models, inForce: maps.Clone(want)}
			c.inForce[name] = models[name].MaxReplicas()
			if c.within() {
				want[name] = models[name].MaxReplicas()
			}
		}
		if got := settle(rapid.Permutation(byAge).Draw(t, "order")); !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
